"""What the engine gives to a workflow: steps that happen once, events, cancellation, decisions."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from crossport import errors
from crossport.model.record import record
from crossport.model.run import Act, Created, Event

__all__ = ["NO_RETRY", "Ledger", "Retry", "RunContext", "Tries"]

T = TypeVar("T")


def _none() -> int:
    return 0


@record()
class Retry:
    """How often a step that raised an error with action RETRY is tried, and the seconds between.

    The pause doubles up to ``longest_pause_s``. ``headway`` tells how far the step got so far: after a try
    that got further than all before it, count and pause begin anew.
    """

    attempts: int = 1
    pause_s: float = 0.5
    longest_pause_s: float = 15.0
    headway: Callable[[], int] = _none


NO_RETRY = Retry()


class Tries:
    """The tries of one step, counted as its ``Retry`` says."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._reached = retry.headway()
        self.in_vain = 0

    def pause_s(self, error: errors.Error) -> float | None:
        """Return how long to wait before the next try, now that one ended with ``error``; None: no more."""
        retry, reached = self._retry, self._retry.headway()
        if reached > self._reached:
            self._reached, self.in_vain = reached, 0
        self.in_vain += 1
        if error.action is not errors.Action.RETRY or self.in_vain >= retry.attempts:
            return None
        return min(retry.pause_s * 2 ** (self.in_vain - 1), retry.longest_pause_s)


class RunContext(Protocol):
    """One execution of one run. A workflow does nothing to the world but through ``step``."""

    run: str
    epoch: int
    """Of this execution: higher after every takeover and restart."""

    def act(self, step: str) -> Act:
        """Return the name in which a step acts."""
        ...

    async def step(
        self,
        name: str,
        call: Callable[[], Awaitable[T]],
        *,
        result: type[T],
        retry: Retry = NO_RETRY,
        cancellable: bool = False,
    ) -> T:
        """Return what ``call`` returned, now or in an earlier execution: a finished step is not run again.

        ``name`` is unique within the run. The result is kept as JSON of ``result``. An errors.Error that
        is final is kept too, and raised again in later executions. ``cancellable`` interrupts the call
        when the run is cancelled; the others are finished first. Raises errors.Cancelled, before the call,
        when cancelling was asked and ``protect`` is not in force.

        A workflow comes to its steps in the same order in every execution. Steps may go on side by side
        when they are begun together (``asyncio.gather``) and each branch is one step.
        """
        ...

    def protect(self) -> None:
        """From here on the run cannot be cancelled: it is rolling back, or past the commit."""
        ...

    async def emit(self, event: Event) -> None:
        """Tell the run's story. Progress may be thinned out; everything else is kept."""
        ...

    async def decision(self, topic: str, timeout_s: float, *, asking: int = 0) -> str | None:
        """Wait for a person's answer to ``topic``; None when the time is over. Survives restarts.

        One topic may be asked several times, each time under another number ``asking``: an answer that came
        early, or between two askings, holds for all that follow. With no time the run does not wait at all.
        """
        ...


class Ledger(Protocol):
    """What runs have created, written down before it is created. Durable on return."""

    async def intend(self, thing: Created) -> None:
        """Write down that ``thing`` (by run, cloud, kind, name) is about to be made. May be called twice."""
        ...

    async def settle(self, thing: Created) -> None:
        """Write down the entry's new state, id and note."""
        ...

    async def entries(self, run: str, cloud: str = "") -> tuple[Created, ...]:
        """Return the run's entries in the order in which they were intended."""
        ...

    async def forget(self, run: str) -> None:
        """Drop all entries of a run of which nothing stands any more. May be called twice."""
        ...
