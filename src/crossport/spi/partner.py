"""What a site knows of its partners, and how it speaks with them."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from crossport.model.partner import Partner

__all__ = ["Answer", "Converse", "Lines", "PartnerLink", "PartnerOperations", "Partners"]


class Partners(Protocol):
    """The sites that this one knows."""

    async def partners(self) -> tuple[Partner, ...]:
        """Return all, by name, in whatever state."""
        ...

    async def partner(self, name: str) -> Partner:
        """Return one that is trusted now.

        Raise NotFound ``partner.unknown``, Refused ``partner.unconfirmed`` for one that is only invited,
        ``partner.revoked`` for one that is trusted no longer, and ``partner.stale`` for one of which it was
        not heard for too long which of its keys are revoked.
        """
        ...


class Lines(Protocol):
    """Lines in both directions, in order. After an error no more can be sent or received."""

    async def send(self, line: bytes) -> None:
        """Send a line: no newline in it, at most 512 KiB. Raise Unavailable ``partner.away``."""
        ...

    async def receive(self) -> bytes | None:
        """Return the next line, None when the partner has ended well.

        Raise the error with which it ended, and Unavailable ``partner.away`` when the link is cut.
        """
        ...


class PartnerLink(Protocol):
    """How this site asks its partners. It never waits for ever."""

    async def call(self, partner: str, operation: str, body: bytes) -> bytes:
        """Return the partner's answer to one request.

        Raise the error that the partner answered, Unavailable ``partner.away`` when it is not known whether
        it was asked, and what `Partners.partner` raises.
        """
        ...

    def stream(self, partner: str, operation: str, opening: bytes) -> AbstractAsyncContextManager[Lines]:
        """Give lines to and from the partner's handler of ``operation``; they end with the block.

        Raise on entry what `call` raises.
        """
        ...


Answer: TypeAlias = Callable[[Partner, bytes], Awaitable[bytes]]
"""Answers one request of a partner. A `crossport.errors.Error` that it raises is raised at the partner."""

Converse: TypeAlias = Callable[[Partner, bytes, Lines], Awaitable[None]]
"""Holds one conversation with a partner, given its opening. The lines end when it returns."""


class PartnerOperations(Protocol):
    """Where those who have something to say to partners say so, before the site listens."""

    def answer(self, operation: str, answer: Answer) -> None:
        """Let accepted partners call ``operation``. A name is given once."""
        ...

    def converse(self, operation: str, converse: Converse) -> None:
        """Let accepted partners open a stream for ``operation``. A name is given once."""
        ...
