"""What this site shows to partners: a certificate for a day of its own authority, and a new one in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from crossport.partner.handshake import CONTROL, INVITED
from crossport.spi.clock import Clock
from crossport.spi.secret import Secret

__all__ = ["Badge", "Issuer", "Shown"]

LIFETIME_S = 24 * 3600.0
RENEWAL_S = LIFETIME_S / 3


class _Leaf(Protocol):
    @property
    def certificate_pem(self) -> str: ...
    @property
    def key_pem(self) -> Secret: ...
    @property
    def expires(self) -> float: ...


class Issuer(Protocol):
    """The authority that vouches for this site to partners: ``identity.SiteIdentity``."""

    site: str

    @property
    def authority_pem(self) -> str:
        """Its certificate."""
        ...

    def issue(self, role: str, name: str, *, lifetime_s: float = 3600, hosts: Sequence[str] = ()) -> _Leaf:
        """Return a certificate with a new key."""
        ...


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate and its key. ``expires`` is in Unix seconds."""

    certificate: str
    key: Secret
    expires: float


class Badge:
    """Gives the certificate to show now. After `follow` it is another authority's."""

    def __init__(self, issuer: Issuer, clock: Clock) -> None:
        self.issuer = issuer
        self._clock = clock
        self._shown: Shown | None = None

    @property
    def site(self) -> str:
        """The site's name."""
        return self.issuer.site

    def follow(self, issuer: Issuer) -> None:
        """Show certificates of another authority from now on."""
        self.issuer = issuer
        self._shown = None

    def shown(self) -> Shown:
        """Return the certificate to show; it is the same one until a third of its life is left."""
        kept = self._shown
        # More than a whole life is left when the clock was set back: then it is not valid yet.
        if kept is None or not RENEWAL_S < kept.expires - self._clock.wall() <= LIFETIME_S:
            kept = self._shown = self._issued(CONTROL, "partners", LIFETIME_S)
        return kept

    def lent(self, invitation: str, lifetime_s: float) -> Shown:
        """Return what the holder of an invitation shows; it opens nothing but the exchange."""
        return self._issued(INVITED, invitation, lifetime_s)

    def _issued(self, role: str, name: str, lifetime_s: float) -> Shown:
        leaf = self.issuer.issue(role, name, lifetime_s=lifetime_s)
        return Shown(leaf.certificate_pem, leaf.key_pem, leaf.expires)
