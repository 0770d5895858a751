"""Where it is written down what is about to be done, and what came of it. No intent, no action."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from crossport.model.audit import AuditEntry, AuditResult, KeptRecord
from crossport.model.head import AuditProof, Head, SignedHead

__all__ = ["Audit", "AuditBook", "HeadSigner", "Heads", "Since"]

Since: TypeAlias = Callable[[int], Awaitable[tuple[str, ...] | None]]
"""Returns the proof (hex) that a log continues its first so many records; None where it is not at hand."""


class Audit(Protocol):
    """The audit log of a site. What is told here is durable on return, and is never changed.

    Whoever acts uses `crossport.audit.recorded.recorded`, which calls all of this in the right order.
    """

    async def intent(self, entry: AuditEntry) -> str:
        """Write down that something is about to be done; return the id for its outcome.

        Raise Unavailable ``audit.unwritten`` when that is impossible: then it must not be done.
        """
        ...

    async def outcome(self, id_: str, result: AuditResult) -> None:
        """Write down what came of the intent ``id_``, once.

        Raise Unavailable ``audit.unwritten``: it may have been done, and the log cannot tell. The same
        action may be tried again.
        """
        ...

    async def note(self, entry: AuditEntry, result: AuditResult) -> None:
        """Write down something that is over with its being told. Raise as `intent` does."""
        ...


class AuditBook(Protocol):
    """The audit log for whoever reads it."""

    async def records(
        self, *, after: int = -1, limit: int = 1000, run: str = "", action: str = ""
    ) -> tuple[KeptRecord, ...]:
        """Return records behind number ``after``: all, or those of one run or action."""
        ...

    async def proof(self, number: int) -> AuditProof:
        """Return a record, and that it is in the log now. Raise NotFound ``audit.record.unknown``."""
        ...

    async def tip(self) -> Head:
        """Return the head of the log as it is now, which nobody has signed."""
        ...

    async def consistency(self, first: int, second: int) -> tuple[str, ...]:
        """Return the proof (hex) that the first ``first`` records are the beginning of ``second``."""
        ...


class HeadSigner(Protocol):
    """Who signs heads, and never one that does not continue the last one that it signed for its site."""

    async def sign(self, head: Head, since: int, proof: Since) -> SignedHead:
        """Return the head, signed by this site; or countersigned, when it is of a partner and was believed.

        It was signed last for a log of ``since`` records, as far as the caller knows. When it was another
        one, and the proof since that is not at hand, that one is returned instead. Raise Refused with an
        ``audit.head.…`` code when it is smaller, another log, or from another time.
        """
        ...


class Heads(Protocol):
    """Heads that are kept: the site's own, those of partners, and what partners countersigned."""

    async def sign(self) -> SignedHead:
        """Sign the log as it is now, keep that, and return it. Raise what `HeadSigner.sign` does."""
        ...

    async def kept(self, site: str, *, after: int = -1, limit: int = 1000) -> tuple[SignedHead, ...]:
        """Return the heads of a site's log that are kept here, by size, beginning behind a size."""
        ...
