"""What goes on between partners by itself: each asks the other now and then what holds about it.

So a revoked key is known within the hour, a new authority or address comes without an invitation, and one
that does not answer for a day is stale.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from crossport import errors
from crossport.identity.link_authority import LinkAuthorities
from crossport.identity.partners import KeptPartners
from crossport.model import codec
from crossport.model.partner import Partner, PartnerState
from crossport.partner.badge import Badge
from crossport.partner.introduction import Introduction, learned
from crossport.partner.link import HttpsLink
from crossport.partner.word import OwnWord
from crossport.spi.clock import Clock

__all__ = ["ABOUT", "Rounds"]

ABOUT = "about"
"""The operation: each end's introduction for the other's."""
REFRESH_S = 3600.0
LOOK_S = 30.0
SOON, SOON_S = 3, 1.5


class Rounds:
    """Asks and answers `ABOUT`. ``relist`` lets the role document list the authorities that there are."""

    def __init__(
        self,
        book: KeptPartners,
        link: HttpsLink,
        word: OwnWord,
        own: tuple[LinkAuthorities, Badge],
        clock: Clock,
        relist: Callable[[], Awaitable[None]],
    ) -> None:
        self._book = book
        self._link = link
        self.word = word
        self._authorities, self._badge = own
        self._clock = clock
        self._relist = relist
        self._told: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._leaving = asyncio.Event()
        self._log: Any = structlog.get_logger("crossport.partner")

    async def answer(self, partner: Partner, body: bytes) -> bytes:
        """Hear a partner's word, and say this site's."""
        await self._heard(partner.name, codec.decoded(body, Introduction))
        return codec.encoded(await self.word.introduction()).encode()

    async def ask(self, partner: Partner) -> Partner:
        """Say this site's word to a partner, hear its own, and return the partner as it is by that."""
        own = await self.word.introduction()
        answer = await self._link.ask(partner, ABOUT, codec.encoded(own).encode())
        heard = await self._heard(partner.name, codec.decoded(answer, Introduction))
        self._told[partner.name] = (own.address, own.authorities)
        return heard

    async def rotate(self) -> tuple[str, ...]:
        """Add an authority, tell all partners, and show it if all know it; return those that do."""
        await self._authorities.add()
        await self._relist()
        told = [one.name for one in await self._accepted() if await self._asked(one)]
        await self._settle()
        return tuple(told)

    async def replace(self) -> tuple[str, ...]:
        """Show a new authority at once and revoke those before it; return which partners know that.

        One that is told neither now nor before will not believe this site until both exchange keys anew.
        """
        if not self._authorities.waiting:
            await self._authorities.add()
            await self._relist()
        known = [one for one in await self._accepted() if await self._asked(one)]
        await self._authorities.revoke()
        await self._relist()
        await self.follow()
        told = [one.name for one in known if await self._asked_soon(one)]
        self._log.warning("authority for partners revoked", told=told)
        return tuple(told)

    async def follow(self) -> None:
        """Show what another node decided to show."""
        await self._authorities.load()
        if self._badge.issuer is not self._authorities.shown:
            self._badge.follow(self._authorities.shown)

    async def run(self) -> None:
        """Ask whom it is time to ask, again and again, until `leave`."""
        self._leaving.clear()
        while not self._leaving.is_set():
            if self.word.address:
                await self.go()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._leaving.wait()

    def leave(self) -> None:
        """Ask nobody any more. Whom it asks just now it may still hear."""
        self._leaving.set()

    async def go(self) -> None:
        """Ask those that were not heard for an hour, and those that do not know what holds here now."""
        current = (self.word.address, self._authorities.told)
        for partner in await self._accepted():
            old = self._clock.wall() - partner.refreshed > REFRESH_S
            if old or self._told.get(partner.name) != current:
                await self._asked(partner)
        await self._settle()

    async def _settle(self) -> None:
        """Show the authority that waits once every partner knows it, or has been away for too long."""
        if not self._authorities.waiting:
            return
        current = (self.word.address, self._authorities.told)
        known = [self._told.get(one.name) == current for one in await self._accepted()]
        if all(known) or self._authorities.is_due:
            await self._authorities.switch()
            await self._relist()  # so that the role document says until when the ones before are good
            await self.follow()
            self._log.info("authority for partners changed", partners=len(known), away=known.count(False))

    async def _accepted(self) -> list[Partner]:
        return [one for one in await self._book.partners() if one.state is PartnerState.ACCEPTED]

    async def _asked(self, partner: Partner) -> bool:
        try:
            await self.ask(partner)
        except errors.Error as error:
            self._log.warning("partner not heard", partner=partner.name, code=error.code, text=error.text)
            return False
        return True

    async def _asked_soon(self, partner: Partner) -> bool:
        """Ask more than once: each node of the partner takes a moment to see what one of them heard."""
        for _ in range(SOON):
            if await self._asked(partner):
                return True
            await self._clock.sleep(SOON_S)
        return False

    async def _heard(self, name: str, said: Introduction) -> Partner:
        now = self._clock.wall()
        return await self._book.change(name, lambda known: learned(known, said, now))
