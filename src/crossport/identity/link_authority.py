"""The authorities that vouch for this site to its partners. At first that is the site's own authority.

One that follows it is made here, told to partners, shown once they know it, and the one before stays good for
as long as certificates of it live; a day later it is forgotten. What the site's own gateways trust is not
touched by that.
"""

from collections.abc import Callable
from dataclasses import replace

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
MANY = 64
"""Authorities at most that are listed; role documents have to hold them all."""
LEAD_S = 24 * 3600.0
"""How long a new authority waits for partners that are away. Whoever did not hear for so long is stale."""


@record()
class _Listed:
    """An authority by its fingerprint: told from ``since``, until ``until`` once another followed it.

    One that is ``revoked`` counts no more from ``until`` on, whatever it issued before.
    """

    fingerprint: str
    since: float
    until: float | None = None
    revoked: bool = False


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
        """The public keys of those that are not the site's own, as role documents list them.

        One that another followed is listed no longer than it takes until no certificate of it lives.
        """
        listed = {one.fingerprint: one for one in self._kept.listed}
        found: list[Key] = []
        for name, identity in self._known.items():
            if identity is not self._own:
                key, until = self._key(name, identity), listed[name].until
                ends = key.valid_until if until is None else min(key.valid_until, until + LEAD_S)
                found.append(replace(key, valid_until=ends))
        return tuple(found)

    @property
    def own_key(self) -> Key:
        """The same of the site's own authority. Revoked, it vouches for gateways alone."""
        return self._key(fingerprint(self._own.authority_pem), self._own)

    def _key(self, name: str, identity: SiteIdentity) -> Key:
        revoked = next(
            (one.until for one in self._kept.listed if one.fingerprint == name and one.revoked), None
        )
        return replace(identity.authority_key, revoked=revoked)

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
        listed = {one.fingerprint for one in kept.listed}
        self._known = {name: one for name, one in self._known.items() if name in listed or one is self._own}
        for one in kept.listed:
            if one.fingerprint not in self._known:
                secret = await self._secrets.fetch(_reference(one.fingerprint))
                self._known[one.fingerprint] = SiteIdentity.kept(self._own.site, secret, self._clock)
        self._kept = kept

    async def add(self) -> None:
        """Make one that is told from now on; raise Conflict ``partner.rotation.pending`` while one waits.

        Raise Conflict ``partner.authority.many`` where there are too many.
        """
        await self.load()
        if self.waiting:
            raise errors.Conflict(
                "partner.rotation.pending",
                "A new authority is told to partners already, and some do not know it yet.",
                remedy="It is used as soon as all know it, and in a day at the latest. See the site's log.",
            )
        await self._forget_over()
        if len(self._kept.listed) >= MANY:
            raise errors.Conflict(
                "partner.authority.many",
                f"There are {MANY} authorities for partners already.",
                remedy="Find out who replaces them so often. One is forgotten in two days after that.",
            )
        made, secret = SiteIdentity.made(self._own.site, self._clock)
        name = fingerprint(made.authority_pem)
        await self._secrets.put(_reference(name), secret)
        self._known[name] = made
        fresh = _Listed(fingerprint=name, since=self._clock.wall())
        await self._keep(_Kept(shown=self._kept.shown, listed=(*self._kept.listed, fresh)))

    async def _forget_over(self) -> None:
        """Forget those of which no certificate has lived for a day, but never the site's own, nor its end."""
        now, kept = self._clock.wall(), (fingerprint(self._own.authority_pem), self._kept.shown)
        over = [
            one.fingerprint
            for one in self._kept.listed
            if one.until is not None and one.until + LEAD_S <= now and one.fingerprint not in kept
        ]
        if not over:
            return
        listed = tuple(one for one in self._kept.listed if one.fingerprint not in over)
        await self._keep(replace(self._kept, listed=listed))
        for name in over:
            self._known.pop(name, None)
            await self._secrets.forget(_reference(name))

    async def switch(self) -> None:
        """Show the one that waits; those before it end when no certificate of them can live any more."""
        now, newest = self._clock.wall(), self._kept.listed[-1]
        listed = tuple(
            replace(one, until=one.until or now + MAX_LIFETIME_S) for one in self._kept.listed[:-1]
        )
        await self._keep(_Kept(shown=newest.fingerprint, listed=(*listed, newest)))

    async def revoke(self) -> None:
        """Show the one that waits, and let those before it count no more from now on."""
        now, newest = self._clock.wall(), self._kept.listed[-1]
        listed = tuple(
            replace(one, until=min(one.until or now, now), revoked=True) for one in self._kept.listed[:-1]
        )
        await self._keep(_Kept(shown=newest.fingerprint, listed=(*listed, newest)))

    async def _keep(self, kept: _Kept) -> None:
        await self._documents().put(_KIND, self._own.site, kept)
        self._kept = kept


def _reference(name: str) -> str:
    return f"site/partner-authority/{name}"
