"""What was accepted before, so that no image comes in twice and no older one after a newer."""

from typing import Annotated

from pydantic import Field

from crossport.model.certified import Seal
from crossport.model.record import record

__all__ = ["Newest", "Seen", "Spent"]


@record()
class Spent:
    """A nonce, and until when (Unix seconds) its seal could have been accepted."""

    nonce: str
    valid_until: float


@record()
class Newest:
    """The newest image of a VM that was accepted: when it was made, and its nonce."""

    site: str
    cloud: str
    vm: str
    made: float
    nonce: str = ""


@record()
class Seen:
    """All that has to be remembered. A nonce is forgotten when its seal is expired anyway.

    That of the newest image is not: whoever sets a clock back lets no image come in twice.
    """

    version: Annotated[int, Field(ge=1, le=1)] = 1
    spent: tuple[Spent, ...] = ()
    newest: tuple[Newest, ...] = ()

    def is_spent(self, nonce: str) -> bool:
        """Say whether an image with this nonce was accepted."""
        return any(each.nonce == nonce for each in (*self.spent, *self.newest))

    def newest_of(self, seal: Seal) -> float:
        """Return when the newest accepted image of the same VM was made, 0 for none."""
        return max((each.made for each in self.newest if _vm(each) == _subject(seal)), default=0.0)

    def after(self, seal: Seal, *, now: float) -> "Seen":
        """Return what is remembered once ``seal``, which none newer precedes, is accepted.

        Nonces that ended by ``now`` are dropped.
        """
        spent = tuple(each for each in self.spent if each.valid_until > now)
        newest = tuple(each for each in self.newest if _vm(each) != _subject(seal))
        site, cloud, vm = _subject(seal)
        return Seen(
            spent=(*spent, Spent(nonce=seal.nonce, valid_until=seal.valid_until)),
            newest=(*newest, Newest(site=site, cloud=cloud, vm=vm, made=seal.made, nonce=seal.nonce)),
        )


def _vm(newest: Newest) -> tuple[str, str, str]:
    return newest.site, newest.cloud, newest.vm


def _subject(seal: Seal) -> tuple[str, str, str]:
    return seal.site, seal.cloud, seal.manifest.vm
