"""What is said of one job, in order and once, over connections that may break: numbered, kept, repeated.

Each end keeps what it sent until the other says that it heard it. After a break both tell how far they heard,
and each sends the rest again.
"""

from typing import Any

from crossport import errors

__all__ = ["Inbox", "Outbox"]

_KEPT = 4096


class Outbox:
    """Messages on their way to the other end."""

    def __init__(self) -> None:
        self._next = 1
        self._kept: dict[int, dict[str, Any]] = {}

    def add(self, message: dict[str, Any], *, instead: bool = False) -> dict[str, Any]:
        """Keep a message and return it with its number.

        ``instead`` of the last one, where that is of the same kind and still here: an older progress
        says nothing that the newer does not. Raise Broken when the other end hears nothing for too long.
        """
        last = self._kept.get(self._next - 1)
        if instead and last is not None and last.get("instead"):
            del self._kept[self._next - 1]
        if len(self._kept) >= _KEPT:
            raise errors.Broken(
                "gateway.outbox.full",
                "The other end does not take what it is told.",
                remedy=errors.TRIED_AGAIN,
            )
        numbered = {**message, "number": self._next}
        self._kept[self._next] = {**numbered, "instead": True} if instead else numbered
        self._next += 1
        return numbered

    def heard(self, number: int) -> None:
        """Forget all up to ``number``."""
        self._kept = {each: message for each, message in self._kept.items() if each > number}

    def rest(self) -> tuple[dict[str, Any], ...]:
        """Return what was not heard yet, in order."""
        return tuple(
            {name: value for name, value in message.items() if name != "instead"}
            for message in self._kept.values()
        )


class Inbox:
    """What was heard of the other end: ``heard`` is the number of the last."""

    def __init__(self) -> None:
        self.heard = 0

    def take(self, number: int) -> bool:
        """Say whether the message of this number is new."""
        if number <= self.heard:
            return False
        self.heard = number
        return True
