"""This site's calls to its partners, over connections that are kept as long as the partner is trusted."""

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

from crossport import errors
from crossport.identity.partners import is_known
from crossport.model.partner import Partner
from crossport.partner.badge import Badge
from crossport.partner.dialling import Dial
from crossport.partner.handshake import is_issued_by, outlived
from crossport.partner.lines import TlsLines
from crossport.partner.reception import Book
from crossport.spi.partner import Lines

__all__ = ["HttpsLink"]


class HttpsLink:
    """A `crossport.spi.partner.PartnerLink`."""

    def __init__(self, book: Book, badge: Badge) -> None:
        self._book = book
        self._badge = badge
        self._dials: dict[str, Dial] = {}
        self._retired: list[tuple[str, Dial]] = []
        self._streams: dict[TlsLines, str] = {}

    async def call(self, partner: str, operation: str, body: bytes) -> bytes:
        """Return the partner's answer to one request."""
        try:
            return await self.ask(await self._book.partner(partner), operation, body)
        except errors.Unavailable:
            await self._book.partner(partner)  # it may be cut because it was just revoked: then that is said
            raise

    async def ask(self, partner: Partner, operation: str, body: bytes) -> bytes:
        """Do the same with one of whom the caller knows that it may be asked this."""
        return await (await self._dial(partner)).post(operation, body)

    @asynccontextmanager
    async def stream(self, partner: str, operation: str, opening: bytes) -> AsyncGenerator[Lines]:
        """Give lines to and from the partner's handler of ``operation``."""
        async with self.converse(await self._book.partner(partner), operation, opening) as lines:
            yield lines

    @asynccontextmanager
    async def converse(self, partner: Partner, operation: str, opening: bytes) -> AsyncGenerator[TlsLines]:
        """Do the same with one of whom the caller knows that it may be asked this."""
        async with (await self._dial(partner)).lines(operation, opening) as lines:
            self._streams[lines] = partner.name
            try:
                yield lines
            finally:
                del self._streams[lines]

    async def keep(self, partners: Iterable[Partner], now: float = 0.0) -> None:
        """End all connections to sites that are not among these, trusted or about to be.

        So end those that an authority vouched for which counts no more, and streams of which ``now`` (Unix
        seconds) is behind the end of the other end's certificate.
        """
        known = {one.name: one for one in partners if is_known(one)}
        for name in [name for name, dial in self._dials.items() if not _holds(dial, known.get(name))]:
            await self._dials.pop(name).close()
        for name, dial in self._retired:
            if not _holds(dial, known.get(name)):
                await dial.close()
        self._retired = [(name, dial) for name, dial in self._retired if dial.is_busy]
        for lines, name in tuple(self._streams.items()):
            if name not in known:
                await lines.close()
            elif why := _fault(lines, known[name], now):
                lines.cut(why)

    async def close(self) -> None:
        """End all connections."""
        await self.keep(())

    async def _dial(self, partner: Partner) -> Dial:
        """Return the way to a partner; a new one where its address, its authorities or our own changed."""
        made = (partner.address, partner.authorities, self._badge.shown().certificate)
        kept = self._dials.get(partner.name)
        if kept is not None and kept.made_of == made:
            return kept
        self._dials[partner.name] = fresh = Dial(
            partner.name, partner.address, partner.authorities, self._badge.shown()
        )
        if kept is not None:
            self._retired.append((partner.name, kept))
            await kept.retire()
        return fresh


def _holds(dial: Dial, partner: Partner | None) -> bool:
    """Say whether all that may have vouched for the other end of a dial's connections still do."""
    return partner is not None and set(dial.made_of[1]) <= set(partner.authorities)


def _fault(lines: TlsLines, partner: Partner, now: float) -> errors.Unavailable | None:
    """Return why a stream has to end, None when it may go on."""
    if not is_issued_by(lines.shown, partner.authorities):
        return errors.Unavailable(
            "partner.authority.gone",
            f"The authority that vouched for {partner.name} on this connection counts no more.",
            field="partner",
            remedy=errors.TRIED_AGAIN,
        )
    return outlived(partner.name, lines.shown, now)
