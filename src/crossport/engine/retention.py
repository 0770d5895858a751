"""Forget ended runs in time: with their stories, steps, decisions and ledgers.

A run is kept as long as something of it is not settled: what needs attention, things in its ledger that
were neither removed nor handed over, and whatever its kind knows besides.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

import sqlalchemy as sa
import structlog

from crossport.engine import run_rows
from crossport.engine.context import Place
from crossport.engine.schema import decisions, events, ledger, progress, runs
from crossport.engine.settings import EngineSettings, Kind
from crossport.model import codec
from crossport.model.run import Created, LedgerState, RunState

__all__ = ["ForgetBefore", "Retention"]

ForgetBefore: TypeAlias = Callable[[float], Awaitable[None]]
"""Forgets what was over before a moment, in Unix seconds, and is no run of the engine."""

DAY_S = 86400.0
PAGE = 200
OVER = tuple(state.value for state in RunState if state.final and state is not RunState.ATTENTION)
SETTLED = frozenset({LedgerState.REMOVED, LedgerState.KEPT})

log = structlog.get_logger("crossport.engine")


class Retention:
    """How long ended runs are kept, as the settings say."""

    def __init__(
        self,
        place: Place,
        kinds: Mapping[str, Kind],
        settings: EngineSettings,
        others: Sequence[ForgetBefore] = (),
    ) -> None:
        self._place = place
        self._kinds = kinds
        self._settings = settings
        self._others = others

    async def sweep(self) -> None:
        """Forget what is old enough, or too much, and settled. Any node may do it at any time."""
        if self._settings.keep_days:
            for forget in self._others:
                await forget(self._place.clock.wall() - self._settings.keep_days * DAY_S)
        number = 0
        while page := await self._place.database.run(lambda it, after=number: self._old(it, after)):
            for row in page:
                number = row.number
                await self._forget(row)

    def _old(self, connection: sa.Connection, after: int) -> list[sa.Row[tuple[object, ...]]]:
        """Return the next ended runs that are older than wanted, or more, the oldest first."""
        settings, over = self._settings, runs.c.state.in_(OVER)
        limits: list[sa.ColumnElement[bool]] = []
        if settings.keep_days:
            limits.append(runs.c.ended < self._place.clock.wall() - settings.keep_days * DAY_S)
        if settings.keep_count:
            newest = sa.select(runs.c.number).where(over).order_by(runs.c.number.desc())
            last = connection.execute(newest.offset(settings.keep_count).limit(1)).scalar()
            if last is not None:
                limits.append(runs.c.number <= last)
        if not limits:
            return []
        query = sa.select(runs).where(over, runs.c.number > after, sa.or_(*limits))
        return list(connection.execute(query.order_by(runs.c.number).limit(PAGE)).all())

    async def _forget(self, row: sa.Row[tuple[object, ...]]) -> None:
        run = str(row.id)
        if not await self._place.database.run(lambda it: _all_settled(it, run)):
            return
        kind = self._kinds.get(str(row.kind))
        if kind is None or (kind.forget and not await kind.forget(run_rows.record_of(row))):
            return
        await self._place.library.forget(run)  # first: without its steps a run's row can be forgotten again
        await self._place.database.run(lambda it: _delete(it, run))
        log.info("run.forgotten", run=run, kind=row.kind, state=row.state)


def _all_settled(connection: sa.Connection, run: str) -> bool:
    query = sa.select(ledger.c.created).where(ledger.c.run == run)
    return all(codec.decoded(text, Created).state in SETTLED for text in connection.execute(query).scalars())


def _delete(connection: sa.Connection, run: str) -> None:
    for table in (events, progress, ledger, decisions):
        connection.execute(sa.delete(table).where(table.c.run == run))
    connection.execute(sa.delete(runs).where(runs.c.id == run))
