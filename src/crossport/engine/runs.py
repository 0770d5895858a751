"""What is known about runs: their records, their stories, and following a story while it is told."""

from collections.abc import AsyncIterator

from crossport.model.record import record
from crossport.model.run import Event, RunRecord, RunState

__all__ = ["RunFilter", "RunPage", "Runs"]


@record()
class RunFilter:
    """Which runs; an empty field means all."""

    tenant: str = ""
    kind: str = ""
    subject: str = ""
    states: tuple[RunState, ...] = ()


@record()
class RunPage:
    """Some runs, the newest first. ``cursor`` leads to the next page, empty on the last."""

    runs: tuple[RunRecord, ...]
    cursor: str = ""


class Runs:
    """The runs in the database."""

    async def list(self, which: RunFilter = RunFilter(), *, cursor: str = "", limit: int = 100) -> RunPage:
        """Return a page of runs; raise Invalid ``run.cursor.invalid``."""
        raise NotImplementedError

    async def fetch(self, run_id: str) -> RunRecord:
        """Return the run; raise NotFound ``run.unknown``."""
        raise NotImplementedError

    async def request(self, run_id: str, type_: type) -> object:
        """Return what was asked for; raise NotFound ``run.unknown``."""
        raise NotImplementedError

    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> tuple[Event, ...]:
        """Return the numbered events after number ``after``, without progress."""
        raise NotImplementedError

    async def progress(self, run_id: str) -> tuple[Event, ...]:
        """Return the last progress of every artifact. Progress has number 0."""
        raise NotImplementedError

    def follow(self, run_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """Yield every numbered event after ``after`` once and in order, and progress as it comes.

        Ends when the run's state is final and all is told.
        """
        raise NotImplementedError
