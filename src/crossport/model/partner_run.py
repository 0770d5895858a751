"""Runs that partners execute and that have an end here, as the operator of this site sees them."""

from enum import StrEnum

from crossport.model.name import Name
from crossport.model.record import record

__all__ = ["CleanRequest", "PartnerRun", "PartnerRunState"]


class PartnerRunState(StrEnum):
    """What a partner's run means for what is here."""

    GOING_ON = "going-on"
    """It reads or writes here, and nothing of this site depends on it."""
    STOPPED = "source-stopped"
    """The VM here is off and fenced for it, and may come back."""
    RETAINED = "source-retained"
    """The VM here is off and fenced for good: its copy at the partner is the VM."""
    RETURNED = "source-returned"
    """The VM here is as it was before."""
    QUARANTINED = "copy-in-quarantine"
    """The copy here waits for what the source decides."""
    OPENED = "copy-opened"
    """The copy here is the VM."""
    DISCARDED = "copy-discarded"
    """The copy here was given up, and will not run."""


@record()
class PartnerRun:
    """One. ``id`` is this site's word for it, ``run`` the partner's; ``theirs`` its tenant, ``tenant`` ours.

    ``end`` is ``source`` or ``target``, empty before that is known; ``vm`` is ours, when one is known.
    ``stands`` says in words what is here because of it. ``over``: it was cleaned up and nothing is decided by
    it any more. Times are Unix seconds, 0 when not yet.
    """

    id: str
    partner: Name
    run: str
    theirs: Name
    tenant: Name
    cloud: Name
    end: str
    vm: str
    state: PartnerRunState
    over: bool
    begun: float
    ended: float = 0.0
    stands: tuple[str, ...] = ()


@record()
class CleanRequest:
    """Clean up after a partner's run; ``gone`` says that the partner will never go on with it."""

    gone: bool = False
