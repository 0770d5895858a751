"""Sign the audit log each hour, and soon after runs have ended; exchange the heads with partners."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable
from typing import Any, Protocol

import structlog

from crossport import errors
from crossport.app.site import OpenSite
from crossport.model.partner import Partner, PartnerState
from crossport.spi.clock import Clock
from crossport.spi.partner import PartnerLink, Partners

__all__ = ["EACH_S", "SETTLE_S", "Exchange", "audit_watched", "watch_audit"]

EACH_S = 3600.0
SETTLE_S = 10.0
"""Runs that end within this time of one another share one head."""

log: Any = structlog.get_logger("crossport.audit")


class Exchange(Protocol):
    """What is done with the heads of a site's log."""

    async def sign(self) -> object:
        """Sign the log as it is now."""
        ...

    async def exchange(self, partner: Partner, link: PartnerLink) -> None:
        """Exchange heads with a partner."""
        ...


@contextlib.asynccontextmanager
async def audit_watched(site: OpenSite, clock: Clock) -> AsyncGenerator[None]:
    """Watch the audit log of ``site`` until the block ends."""
    link = site.partners.link
    watching = asyncio.create_task(
        watch_audit(site.heads, (site.partners.book, link), site.control.run_ended, clock)
    )
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def watch_audit(
    heads: Exchange, partners: tuple[Partners, PartnerLink], ended: asyncio.Event, clock: Clock
) -> None:
    """Go on until cancelled. ``ended`` is set whenever a run has ended.

    What a partner refuses, or a log that does not continue what was signed, is told in the log of the
    server; the others are asked all the same, and it is tried again at the next time. A node that has not
    the signer says so once, and leaves all of it to the node that has.
    """
    book, link = partners
    elsewhere = False
    while True:
        await _first(ended, clock)
        await clock.sleep(SETTLE_S)
        ended.clear()
        if not await _is_signed(heads, told=elsewhere):
            elsewhere = True
            continue
        for one in await _known(book):
            if one.state is PartnerState.ACCEPTED:
                await _tried(one.name, heads.exchange(one, link))


async def _is_signed(heads: Exchange, *, told: bool) -> bool:
    """Sign; return False where another node has the signer, and say so unless that was ``told``."""
    try:
        await heads.sign()
    except errors.Error as error:
        if error.code != "key.signer.elsewhere":
            _tell("sign", error)
            return True
        if not told:
            log.info("audit.head.elsewhere", reason=error.text)
        return False
    return True


async def _known(book: Partners) -> tuple[Partner, ...]:
    try:
        return await book.partners()
    except errors.Error as error:
        _tell("partners", error)
        return ()


async def _first(ended: asyncio.Event, clock: Clock) -> None:
    """Return when a run has ended, or the hour is over."""
    waiting: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(ended.wait()),
        asyncio.ensure_future(clock.sleep(EACH_S)),
    ]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def _tried(what: str, doing: Awaitable[object]) -> None:
    try:
        await doing
    except errors.Error as error:
        _tell(what, error)


def _tell(what: str, error: errors.Error) -> None:
    log.warning("audit.head.failed", what=what, code=error.code, reason=error.text)
