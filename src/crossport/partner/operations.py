"""What partners may ask of this site: operations by name, each with who answers it."""

from collections.abc import Mapping
from typing import TypeVar

from crossport import errors
from crossport.spi.partner import Answer, Converse

__all__ = ["Operations"]

T = TypeVar("T")


class Operations:
    """A `crossport.spi.partner.PartnerOperations`, and for the listener the way to what was given."""

    def __init__(self) -> None:
        self._answers: dict[str, Answer] = {}
        self._conversations: dict[str, Converse] = {}

    def answer(self, operation: str, answer: Answer) -> None:
        """Let accepted partners call ``operation``."""
        _check_new(operation, self._answers)
        self._answers[operation] = answer

    def converse(self, operation: str, converse: Converse) -> None:
        """Let accepted partners open a stream for ``operation``."""
        _check_new(operation, self._conversations)
        self._conversations[operation] = converse

    def answering(self, operation: str) -> Answer:
        """Return who answers; raise NotFound ``partner.operation.unknown``."""
        return _known(operation, self._answers)

    def conversing(self, operation: str) -> Converse:
        """Return who converses; raise NotFound ``partner.operation.unknown``."""
        return _known(operation, self._conversations)

    def answers(self, operation: str) -> bool:
        """Say whether somebody answers."""
        return operation in self._answers

    def conversations(self, operation: str) -> bool:
        """Say whether somebody converses."""
        return operation in self._conversations


def _check_new(operation: str, known: Mapping[str, object]) -> None:
    if operation in known:
        raise errors.Broken(
            "partner.operation.taken", f"{operation} is answered already.", remedy=errors.REPORT
        )


def _known(operation: str, known: Mapping[str, T]) -> T:
    if operation not in known:
        raise errors.NotFound(
            "partner.operation.unknown",
            f"This site knows no operation {operation[:40]!r} for partners.",
            remedy=errors.SAME_RELEASE,
        )
    return known[operation]
