"""Where it is written down what is about to be done, and what came of it. No intent, no action."""

from typing import Protocol

from crossport.model.audit import AuditEntry, AuditResult

__all__ = ["Audit"]


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
