"""Run grants: by whose right a run goes on after the token or the call that began it."""

from enum import StrEnum

from crossport.model.federation import Ceilings, Subject, TrustRule
from crossport.model.record import record

__all__ = ["Begun", "GrantScope", "GrantState", "Granted", "Holder", "Loss", "RunGrant"]


class GrantState(StrEnum):
    """Whether a run may go on. One that is ``over`` has ended with its run."""

    HELD = "held"
    LOST = "lost"
    OVER = "over"


class Loss(StrEnum):
    """How a right was lost."""

    REVOKED = "revoked"
    EXPIRED = "expired"
    SIGN_IN = "sign-in-ended"
    RULE = "rule-removed"
    PROVIDER = "provider-removed"
    TENANT = "tenant-disallowed"
    PARTNER = "partner-untrusted"


@record()
class Holder:
    """Whom an identity provider knows, as that one acts here: the ``rule`` that let it in, its ceilings."""

    tenant: str
    subject: Subject
    rule: TrustRule
    ceilings: Ceilings = Ceilings()


@record()
class Begun:
    """What somebody begins: the ``run`` about a VM or a plan. Without a ``holder`` it needs no grant."""

    run: str
    about: str
    clouds: tuple[str, ...] = ()
    holder: Holder | None = None


@record()
class RunGrant:
    """The right of ``run``, by this site's word for it, to go on until ``until`` (Unix seconds).

    It is ``holder``'s, or that of tenant ``theirs`` of the site ``partner``, which executes the run and calls
    it ``called``; here either acts as ``tenant``. ``about`` is the VM, or the plan, and ``clouds`` are those
    it goes between, or the one that is this site's.

    ``lost`` is when the right was lost, by ``loss``, and ``by`` who took it; 0 and empty while it is held.
    ``late``: that was noticed behind the commit, which nobody takes back.
    """

    run: str
    tenant: str
    since: float
    until: float
    about: str = ""
    clouds: tuple[str, ...] = ()
    holder: Holder | None = None
    partner: str = ""
    theirs: str = ""
    called: str = ""
    state: GrantState = GrantState.HELD
    loss: Loss | None = None
    lost: float = 0.0
    by: str = ""
    late: bool = False


@record()
class Granted:
    """What a site tells the partner that executes a run: how its right here is lost, None while it holds.

    ``late``: that came behind the commit, and the run is to be finished.
    """

    loss: Loss | None = None
    late: bool = False


@record()
class GrantScope:
    """Which grants somebody sees: of one tenant, or with an empty one of all; None is everybody's."""

    tenant: str
    subject: Subject | None = None

    def has(self, grant: RunGrant) -> bool:
        """Say whether ``grant`` is among them."""
        if self.tenant not in ("", grant.tenant):
            return False
        return self.subject is None or (grant.holder is not None and grant.holder.subject == self.subject)
