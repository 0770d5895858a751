"""The authorities that vouch for this site to its partners. At first that is the site's own authority.

One that follows it is made here, told to partners, shown once they know it, and the one before stays good for
as long as certificates of it live. What the site's own gateways trust is not touched by that.
"""

from collections.abc import Callable

from crossport import errors
from crossport.identity.authority import MAX_LIFETIME_S, SiteIdentity
from crossport.identity.tls import fingerprint
from crossport.model.keyring import Key
from crossport.model.record import record
from crossport.spi.clock import Clock
from crossport.spi.document import Documents
from crossport.spi.secret import Secrets

__all__ = ["LinkAuthorities"]

_KIND = "partner-authority"
LEAD_S = 24 * 3600.0
"""How long a new authority waits for partners that are away. Whoever did not hear for so long is stale."""


@record()
class _Listed:
    """An authority by its fingerprint: told from ``since``, until ``until`` once another followed it."""

    fingerprint: str
    since: float
    until: float | None = None


@record()
class _Kept:
    """All that are listed, oldest first, and which of them is shown."""

    shown: str
    listed: tuple[_Listed, ...]


class LinkAuthorities:
    """Keeps them sealed among the site's secrets, so that all nodes have them. `load` comes first."""

    def __init__(
        self, own: SiteIdentity, secrets: Secrets, documents: Callable[[], Documents], clock: Clock
    ) -> None:
        self._secrets = secrets
        self._documents = documents
        self._clock = clock
        self._own = own
        self._known = {fingerprint(own.authority_pem): own}
        first = _Listed(fingerprint=fingerprint(own.authority_pem), since=clock.wall())
        self._kept = _Kept(shown=first.fingerprint, listed=(first,))

    @property
    def shown(self) -> SiteIdentity:
        """The one that issues what this site shows."""
        return self._known[self._kept.shown]

    @property
    def told(self) -> tuple[str, ...]:
        """The certificates (PEM) that partners are to believe, the one that is shown first."""
        now = self._clock.wall()
        good = [one.fingerprint for one in self._kept.listed if one.until is None or now < one.until]
        return tuple(
            self._known[one].authority_pem for one in sorted(good, key=lambda one: one != self._kept.shown)
        )

    @property
    def keys(self) -> tuple[Key, ...]:
        """The public keys of those that are not the site's own, as role documents list them."""
        return tuple(one.authority_key for one in self._known.values() if one is not self._own)

    @property
    def waiting(self) -> bool:
        """Whether one is told that is not shown yet."""
        return self._kept.listed[-1].fingerprint != self._kept.shown

    @property
    def is_due(self) -> bool:
        """Whether the one that waits has waited long enough."""
        return self.waiting and self._clock.wall() >= self._kept.listed[-1].since + LEAD_S

    async def load(self) -> None:
        """Take over what this or another node has kept."""
        try:
            kept = (await self._documents().fetch(_KIND, self._own.site, _Kept)).value
        except errors.NotFound:
            return
        for one in kept.listed:
            if one.fingerprint not in self._known:
                secret = await self._secrets.fetch(_reference(one.fingerprint))
                self._known[one.fingerprint] = SiteIdentity.kept(self._own.site, secret, self._clock)
        self._kept = kept

    async def add(self) -> None:
        """Make one that is told from now on; raise Conflict ``partner.rotation.pending`` while one waits."""
        await self.load()
        if self.waiting:
            raise errors.Conflict(
                "partner.rotation.pending",
                "A new authority is told to partners already, and some do not know it yet.",
                remedy="It is used as soon as all know it, and in a day at the latest. See the site's log.",
            )
        made, secret = SiteIdentity.made(self._own.site, self._clock)
        name = fingerprint(made.authority_pem)
        await self._secrets.put(_reference(name), secret)
        self._known[name] = made
        fresh = _Listed(fingerprint=name, since=self._clock.wall())
        await self._keep(_Kept(shown=self._kept.shown, listed=(*self._kept.listed, fresh)))

    async def switch(self) -> None:
        """Show the one that waits; those before it end when no certificate of them can live any more."""
        now, newest = self._clock.wall(), self._kept.listed[-1]
        listed = tuple(
            _Listed(fingerprint=one.fingerprint, since=one.since, until=one.until or now + MAX_LIFETIME_S)
            for one in self._kept.listed[:-1]
        )
        await self._keep(_Kept(shown=newest.fingerprint, listed=(*listed, newest)))

    async def _keep(self, kept: _Kept) -> None:
        await self._documents().put(_KIND, self._own.site, kept)
        self._kept = kept


def _reference(name: str) -> str:
    return f"site/partner-authority/{name}"
