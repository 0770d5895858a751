"""The site's book of partners, kept in its documents, so that all nodes of a site agree."""

import dataclasses
from collections.abc import Callable

from crossport import errors
from crossport.model.partner import Partner, PartnerState
from crossport.spi.clock import Clock
from crossport.spi.document import Documents

__all__ = ["STALE_S", "KeptPartners", "is_known", "require_trusted"]

_KIND = "partner"
STALE_S = 24 * 3600.0
"""How old what a partner says about its keys may be: then it is not known any more which are revoked."""


class KeptPartners:
    """A `crossport.spi.partner.Partners`. ``documents`` is asked at each use: the site opens them late."""

    def __init__(self, documents: Callable[[], Documents], clock: Clock) -> None:
        self._documents = documents
        self._clock = clock

    async def partners(self) -> tuple[Partner, ...]:
        """Return all, by name, in whatever state."""
        return tuple(one.value for one in await self._documents().list(_KIND, Partner))

    async def partner(self, name: str) -> Partner:
        """Return one that is trusted now."""
        found = await self.known(name)
        require_trusted(found, self._clock.wall())
        return found

    async def known(self, name: str) -> Partner:
        """Return one in whatever state; raise NotFound ``partner.unknown``."""
        try:
            return (await self._documents().fetch(_KIND, name, Partner)).value
        except errors.NotFound as error:
            raise errors.NotFound(
                "partner.unknown",
                f"This site has no partner {name}.",
                field="partner",
                remedy="See `crossport trust list`, or invite it with `crossport trust invite`.",
            ) from error

    async def add(self, partner: Partner) -> None:
        """Keep a new one; raise Conflict ``partner.known`` where there is one of that name."""
        try:
            await self._documents().put(_KIND, partner.name, partner, generation=0)
        except errors.Conflict as error:
            raise errors.Conflict(
                "partner.known",
                f"{partner.name} is known to this site already.",
                field="partner",
                remedy=f"See `crossport trust show {partner.name}`. To begin anew, forget it first: "
                f"crossport trust forget {partner.name}.",
            ) from error

    async def change(self, name: str, change: Callable[[Partner], Partner]) -> Partner:
        """Keep what ``change`` makes of a partner, called again where somebody else was faster."""
        while True:
            await self.known(name)
            kept = await self._documents().fetch(_KIND, name, Partner)
            made = dataclasses.replace(change(kept.value), changed=self._clock.wall())
            try:
                await self._documents().put(_KIND, name, made, generation=kept.generation)
            except errors.Conflict:
                continue
            return made

    async def forget(self, name: str) -> None:
        """Keep nothing of a partner any more; raise NotFound ``partner.unknown``."""
        await self.known(name)
        await self._documents().delete(_KIND, name)


def is_known(partner: Partner) -> bool:
    """Say whether a partner may connect: it is trusted, or about to be."""
    return partner.state in (PartnerState.INVITED, PartnerState.ACCEPTED)


def require_trusted(partner: Partner, now: float) -> None:
    """Raise Refused for a partner that may do nothing now."""
    if partner.state in (PartnerState.REVOKED, PartnerState.COMPROMISED):
        raise errors.Refused(
            "partner.revoked",
            f"{partner.name} is trusted no longer: it is {partner.state}.",
            field="partner",
            remedy="If it should be a partner again, its operator and you exchange an invitation anew.",
        )
    if partner.state is PartnerState.INVITED:
        raise errors.Refused(
            "partner.unconfirmed",
            f"{partner.name} exchanged keys, and nobody here has confirmed its fingerprint.",
            field="partner",
            remedy=f"Compare it with the partner's operator: crossport trust confirm {partner.name}.",
        )
    if now - partner.refreshed > STALE_S:
        raise errors.Refused(
            "partner.stale",
            f"{partner.name} was not heard for over a day: which of its keys are revoked is not known.",
            field="partner",
            remedy="It opens again by itself when the partner answers. Look at the link between both.",
        )
