"""What a lane of a sender will do next: tasks whose names are asked for before their turn comes.

On a link with a long round trip a sender that waits for each answer stands still most of the time. So the
next tasks are taken while names are under way: only as many as it takes for the names to be here in time.
"""

from collections import deque

from crossport.transfer import frame
from crossport.transfer.names import NAME
from crossport.transfer.plan import Deed, Task

__all__ = ["Ahead"]


class Ahead:
    """Tasks in the order they are done, at most ``most`` of them, and the names that have come for them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._wanted = 1
        self._tasks: deque[Task] = deque()
        self._names: dict[int, bytes] = {}

    def __bool__(self) -> bool:
        return bool(self._tasks)

    @property
    def has_room(self) -> bool:
        """Whether one more task is to be taken now."""
        return len(self._tasks) < self._wanted

    @property
    def is_ready(self) -> bool:
        """Whether the first task can be done now."""
        first = self._tasks[0]
        return first.deed is not Deed.COMPARE or first.first in self._names

    def add(self, task: Task) -> None:
        """Append a task."""
        self._tasks.append(task)

    def pop(self) -> Task:
        """Take the first task."""
        return self._tasks.popleft()

    def widen(self, *, more: bool) -> bool:
        """Look one task further ahead, if there are ``more``; say whether that is allowed."""
        if not more or self._wanted >= self._most:
            return False
        self._wanted += 1
        return True

    def answer(self, first: int, names: bytes) -> None:
        """Keep what HAVE says; raise Broken when it does not answer what was asked."""
        asked = next(
            (task for task in self._tasks if task.deed is Deed.COMPARE and task.first == first), None
        )
        if asked is None or first in self._names or len(names) != asked.count * NAME:
            raise frame.malformed("HAVE does not answer what was asked")
        self._names[first] = names

    def names(self, task: Task) -> bytes:
        """Return the names that came for a task that was taken, once."""
        return self._names.pop(task.first)
