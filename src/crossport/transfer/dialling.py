"""Which of two ends dials: the sender, or else the receiver. One that nobody reaches may still dial."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from crossport import errors
from crossport.model.artifact import Place

__all__ = ["Dialling"]

T = TypeVar("T")


class Dialling:
    """Remembers for pairs of places which end reached the other, so that nothing waits for it twice."""

    def __init__(self) -> None:
        self._sender_dials: dict[tuple[Place, Place], bool] = {}

    async def either(self, source: Place, target: Place, way: Callable[[bool], Awaitable[T]]) -> T:
        """Return what ``way`` returns, called with True where the sender dials.

        An end without an address is not dialled. Raise Unavailable (``transfer.peer.unreachable``) when
        neither end reaches the other, and whatever else ``way`` raises.
        """
        first = self._sender_dials.get((source, target), bool(target.address))
        ways = [one for one in (first, not first) if (target if one else source).address]
        unreachable: list[errors.Error] = []
        for sender_dials in ways or [first]:
            try:
                found = await way(sender_dials)
            except errors.Unavailable as error:
                if error.code != "transfer.peer.unreachable":
                    raise
                unreachable.append(error)
            else:
                self._sender_dials[source, target] = sender_dials
                return found
        if len(unreachable) == 1:
            raise unreachable[0]
        raise errors.Unavailable(
            "transfer.peer.unreachable",
            f"Neither end reaches the other. {' '.join(error.text for error in unreachable)}",
            remedy="Let one of the two be dialled from the other; in which direction does not matter.",
        )
