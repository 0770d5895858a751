"""Who decides what a caller may do."""

from collections.abc import Iterable
from typing import Protocol

from crossport.model.authorization import Decision, Question

__all__ = ["Authorizer"]


class Authorizer(Protocol):
    """Decides by rules that were checked when they were read. Pure: the same question has the same answer."""

    def require(self, operations: Iterable[str]) -> None:
        """Raise Broken (``authorization.operation.unruled``) naming an operation that no rule knows."""
        ...

    def permitting(self, operation: str) -> tuple[str, ...]:
        """Return the ids of the policies that permit ``operation`` to a caller with one right or another."""
        ...

    def decide(self, question: Question) -> Decision:
        """Answer; what nothing permits is denied. Raise Broken when a policy cannot be evaluated.

        Whoever catches that has no permission.
        """
        ...
