"""What follows the book of partners at every node: who was revoked anywhere loses its connections here."""

from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from crossport import errors
from crossport.partner.link import HttpsLink
from crossport.partner.listener import Listener
from crossport.partner.reception import Book
from crossport.spi.clock import Clock

__all__ = ["POLL_S", "Watch"]

POLL_S = 1.0
PATIENCE_S = 4.0
"""How long the book may not be read before nobody is let in any more: who is revoked is not known then."""


class Watch:
    """Keeps the listener and the link of a node to what the book says."""

    def __init__(
        self,
        book: Book,
        listener: Listener,
        link: HttpsLink,
        clock: Clock,
        follow: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """``follow`` lets the node show what another one of the site decided to show."""
        self._book = book
        self._listener = listener
        self._link = link
        self._clock = clock
        self._follow = follow
        self._log: Any = structlog.get_logger("crossport.partner")

    async def look(self) -> None:
        """Do now what the book says."""
        if self._follow is not None:
            await self._follow()
        partners, now = await self._book.partners(), self._clock.wall()
        self._listener.admit(partners, now)
        await self._link.keep(partners, now)

    async def run(self) -> None:
        """Do so again and again, until cancelled."""
        read = self._clock.monotonic()
        while True:
            try:
                await self.look()
                read = self._clock.monotonic()
            except errors.Unavailable as error:
                self._log.warning("book of partners not read", code=error.code)
                if self._clock.monotonic() - read > PATIENCE_S:
                    self._listener.shut()
                    await self._link.close()
            await self._clock.sleep(POLL_S)
