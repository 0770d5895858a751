"""What is known about runs: their records, their stories, and following a story while it is told."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa

from crossport import errors
from crossport.engine import run_rows
from crossport.engine.bell import Bells, rung
from crossport.engine.database import Database
from crossport.engine.schema import events, progress, runs
from crossport.model import codec
from crossport.model.record import record
from crossport.model.run import Event, RunRecord, RunState

__all__ = ["RunFilter", "RunPage", "Runs"]

T = TypeVar("T")


@record()
class RunFilter:
    """Which runs; an empty field means all."""

    tenant: str = ""
    kind: str = ""
    subject: str = ""
    states: tuple[RunState, ...] = ()


ALL = RunFilter()


@record()
class RunPage:
    """Some runs, the newest first. ``cursor`` leads to the next page, empty on the last."""

    runs: tuple[RunRecord, ...]
    cursor: str = ""


class Runs:
    """The runs in the database. ``look_s``: how soon a follower sees what another node wrote."""

    def __init__(self, database: Database, bells: Bells, look_s: float) -> None:
        self._database = database
        self._bells = bells
        self._look_s = look_s

    async def list(self, which: RunFilter = ALL, *, cursor: str = "", limit: int = 100) -> RunPage:
        """Return a page of runs, behind the run ``cursor``; raise NotFound ``run.cursor.invalid``."""
        query = _selected(which).order_by(runs.c.number.desc()).limit(limit + 1)

        def found(it: sa.Connection) -> Sequence[Any]:
            behind = query.where(runs.c.number < _position(it, cursor)) if cursor else query
            return it.execute(behind).all()

        rows = await self._database.run(found)
        page = tuple(run_rows.record_of(row) for row in rows[:limit])
        return RunPage(runs=page, cursor=page[-1].id if len(rows) > limit else "")

    async def fetch(self, run_id: str) -> RunRecord:
        """Return the run; raise NotFound ``run.unknown``."""
        return run_rows.record_of(await self._database.run(lambda it: run_rows.fetched(it, run_id)))

    async def request(self, run_id: str, type_: type[T]) -> T:
        """Return what was asked for; raise NotFound ``run.unknown``."""
        row = await self._database.run(lambda it: run_rows.fetched(it, run_id))
        return codec.decoded(row.request, type_)

    async def events(self, run_id: str, *, after: int = 0, limit: int = 500) -> tuple[Event, ...]:
        """Return the numbered events after number ``after``, without progress."""
        query = (
            sa.select(events.c.event)
            .where(events.c.run == run_id, events.c.number > after)
            .order_by(events.c.number)
            .limit(limit)
        )
        return await self._events(query)

    async def progress(self, run_id: str) -> tuple[Event, ...]:
        """Return the last progress of every artifact. Progress has number 0."""
        query = sa.select(progress.c.event).where(progress.c.run == run_id).order_by(progress.c.artifact)
        return await self._events(query)

    async def follow(self, run_id: str, *, after: int = 0) -> AsyncIterator[Event]:
        """Yield every numbered event after ``after`` once and in order, and progress as it comes.

        Ends when the run's state is final and all is told. Raise NotFound ``run.unknown``.
        """
        seen: frozenset[Event] = frozenset()
        with self._bells.listening(run_id) as bell:
            while True:
                final = (await self.fetch(run_id)).state.final
                latest = await self.progress(run_id)
                for event in latest:
                    if event not in seen:
                        yield event
                seen = frozenset(latest)
                while fresh := await self.events(run_id, after=after):
                    for event in fresh:
                        after = event.number
                        yield event
                if final:
                    return
                await rung(bell, self._look_s)

    async def _events(self, query: sa.Select[Any]) -> tuple[Event, ...]:
        texts = await self._database.run(lambda it: it.execute(query).scalars().all())
        return tuple(codec.decoded(text, Event) for text in texts)


def _selected(which: RunFilter) -> Any:
    query = sa.select(runs)
    for column, wanted in (
        (runs.c.tenant, which.tenant),
        (runs.c.kind, which.kind),
        (runs.c.subject, which.subject),
    ):
        if wanted:
            query = query.where(column == wanted)
    if which.states:
        query = query.where(runs.c.state.in_([state.value for state in which.states]))
    return query


def _position(it: sa.Connection, cursor: str) -> int:
    number = it.execute(sa.select(runs.c.number).where(runs.c.id == cursor)).scalar_one_or_none()
    if number is None:
        raise errors.NotFound(
            "run.cursor.invalid",
            f"There is no run {cursor} behind which the list could go on: it may be forgotten by now.",
            field="after",
            remedy="Begin anew, without it.",
        )
    return number
