"""Run workflows so that a crash of any process costs at most the step in flight.

One Engine per process: the library below keeps one instance per process. All methods are called on the
event loop that called ``open``; workflows run on it too.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

from crossport import errors
from crossport.engine.documents import Documents
from crossport.engine.runs import Runs
from crossport.engine.settings import EngineSettings, Kind, Limits
from crossport.model.run import RunRecord
from crossport.spi.clock import Clock
from crossport.spi.run import Ledger, RunContext

__all__ = ["Engine"]

Request = TypeVar("Request")
Report = TypeVar("Report")


class Engine:
    """Durable runs of registered kinds, on SQLite or PostgreSQL.

    Register every kind, then ``open``. ``ledger``, ``documents`` and ``runs`` may be used after ``open``.
    """

    ledger: Ledger
    documents: Documents
    runs: Runs

    def __init__(self, settings: EngineSettings, clock: Clock) -> None: ...

    def register(
        self,
        kind: str,
        workflow: Callable[[RunContext, Request], Awaitable[Report]],
        *,
        request: type[Request],
        report: type[Report],
        limits: Limits = Limits(),
        partition: Callable[[Request], str] | None = None,
    ) -> None:
        """Say how runs of ``kind`` are executed. Before ``open`` only.

        The workflow's outcome decides the run's state: the report's ``outcome`` if it has one, else done;
        errors.Cancelled cancelled, RolledBack rolled-back, Blocked blocked; anything else attention.
        """
        raise NotImplementedError

    async def open(self) -> Self:
        """Take the state directory, bring the tables up to date, continue what was interrupted.

        Raise Conflict ``state.owned`` if another process owns the directory, Conflict
        ``engine.database.newer`` if a newer version wrote the database, Unavailable
        ``engine.database.unreachable`` if it does not answer.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Stop executing; runs stay as they are and continue at the next ``open``. May be called twice."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def submit(
        self,
        kind: str,
        request: Any,
        *,
        run_id: str = "",
        tenant: str = "default",
        subject: str = "",
        labels: dict[str, str] | None = None,
    ) -> RunRecord:
        """Queue a run, durable on return. The same ``run_id`` with the same request gives the same run.

        Raise Conflict ``run.id.taken`` if ``run_id`` stands for another request.
        """
        raise NotImplementedError

    async def cancel(self, run_id: str) -> RunRecord:
        """Ask the run to stop; a queued run is cancelled at once. May be called twice.

        Raise NotFound ``run.unknown``, Conflict ``run.ended``, Conflict ``run.protected`` past the commit
        or while rolling back.
        """
        raise NotImplementedError

    async def decide(self, run_id: str, topic: str, answer: str) -> None:
        """Answer what the run waits for. The same answer may be given twice.

        Raise NotFound ``run.unknown``, Conflict ``decision.not_asked`` or ``decision.answered``.
        """
        raise NotImplementedError

    async def report(self, run_id: str) -> Any:
        """Return the run's report, None if it ended without one.

        Raise NotFound ``run.unknown``, Conflict ``run.going_on``.
        """
        raise NotImplementedError

    async def failure(self, run_id: str) -> errors.Error | None:
        """Return the error with which the run ended, None if there is none (yet)."""
        raise NotImplementedError

    async def resume(self, run_id: str) -> RunRecord:
        """Execute a run that needs attention again, from the step that failed last.

        Raise NotFound ``run.unknown``, Conflict ``run.not_resumable``.
        """
        raise NotImplementedError

    async def wait(self, run_id: str, timeout_s: float) -> RunRecord:
        """Return the run when its state is final, or as it is after ``timeout_s``."""
        raise NotImplementedError
