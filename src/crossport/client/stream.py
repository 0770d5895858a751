"""Read server-sent events: the lines of the stream into records."""

from collections.abc import Iterator

from crossport.model import codec
from crossport.model.run import Event, EventKind

__all__ = ["Reader"]


class Reader:
    """Takes the stream's lines one by one. ``last`` is the number of the last event that was complete.

    ``ended`` tells that it brought the run into a final state: nothing comes behind it.
    """

    def __init__(self, last: int = 0) -> None:
        self.last = last
        self.ended = False
        self._data: list[str] = []

    def take(self, line: str) -> Iterator[Event]:
        """Yield the event that ``line`` completes. Repeated events are left out; comments say nothing."""
        name, _, value = line.partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
        elif not line and self._data:
            event = codec.decoded("\n".join(self._data), Event)
            self._data = []
            # Progress has no number: it is not kept, and the newest is all that counts.
            if event.number == 0 or event.number > self.last:
                self.last = max(self.last, event.number)
                self.ended = event.kind is EventKind.STATE and event.state is not None and event.state.final
                yield event

    def reconnect(self) -> None:
        """Forget what came of an event that is not complete."""
        self._data = []
