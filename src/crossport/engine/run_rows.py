"""How a run changes in the database. Every function works within one transaction of the caller.

Whoever executes a run proves it with a Hold: the epoch of the execution and the lease of the node. What a
Hold wants to write is written only while both still stand in the database, so that an execution that was
taken over changes nothing any more.
"""

import json
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from crossport import errors
from crossport.engine.schema import decisions, events, nodes, progress, runs
from crossport.model import codec
from crossport.model.failure import Failure
from crossport.model.record import record
from crossport.model.run import Event, EventKind, RunRecord, RunState

__all__ = [
    "ENDED",
    "GOING_ON",
    "Ending",
    "Held",
    "Hold",
    "answer",
    "answered",
    "ask",
    "asked",
    "begin",
    "end",
    "fetched",
    "held",
    "keep_progress",
    "lost",
    "move",
    "must_hold",
    "record_of",
    "tell",
    "waited",
]

ENDED = tuple(state.value for state in RunState if state.final)
GOING_ON = (RunState.RUNNING.value, RunState.WAITING.value)


@record()
class Hold:
    """Who executes a run: which execution, under which lease."""

    run: str
    epoch: int
    lease: int


@record()
class Held:
    """What an execution has to know before it acts. ``lost``: it must not act any more.

    ``cancelled`` is the error with which it has to stop, when it has to.
    """

    lost: bool
    cancelled: errors.Cancelled | None = None


def record_of(row: sa.Row[Any]) -> RunRecord:
    """Return the run of a row."""
    failure = codec.decoded(row.failure, Failure) if row.failure else None
    attention = row.state == RunState.ATTENTION.value and failure is not None
    return RunRecord(
        id=row.id,
        kind=row.kind,
        tenant=row.tenant,
        state=RunState(row.state),
        subject=row.subject,
        created=row.created,
        started=row.started,
        ended=row.ended,
        epoch=row.epoch,
        node=row.node,
        attention=f"{failure.text} {failure.remedy}".strip() if attention and failure else "",
        labels=json.loads(row.labels),
    )


def fetched(connection: sa.Connection, run: str, *, locked: bool = False) -> sa.Row[Any]:
    """Return the run's row, for changing it if ``locked``; raise NotFound ``run.unknown``."""
    query = sa.select(runs).where(runs.c.id == run)
    row = connection.execute(query.with_for_update() if locked else query).one_or_none()
    if row is None:
        raise errors.NotFound("run.unknown", f"There is no run {run}.", remedy="List the runs.")
    return row


def tell(connection: sa.Connection, run: str, event: Event) -> Event:
    """Add ``event`` to the run's story under the next number. The run's row is locked from here on."""
    statement = sa.update(runs).where(runs.c.id == run).values(told=runs.c.told + 1).returning(runs.c.told)
    numbered = replace(event, number=connection.execute(statement).scalar_one())
    values = {"run": run, "number": numbered.number, "event": codec.encoded(numbered)}
    connection.execute(sa.insert(events).values(values))
    return numbered


def held(connection: sa.Connection, hold: Hold, *, locked: bool = False) -> Held:
    """Say whether ``hold`` still holds, and whether cancelling was asked."""
    query = (
        sa.select(runs.c.epoch, runs.c.lease, runs.c.cancelling, runs.c.why, nodes.c.id.label("alive"))
        .select_from(runs.outerjoin(nodes, nodes.c.id == runs.c.lease))
        .where(runs.c.id == hold.run)
    )
    row = connection.execute(query.with_for_update(of=runs) if locked else query).one_or_none()
    if row is None or (row.epoch, row.lease) != (hold.epoch, hold.lease) or row.alive is None:
        return Held(lost=True)
    return Held(lost=False, cancelled=_why(row.why) if row.cancelling else None)


def _why(kept: str | None) -> errors.Cancelled:
    found = codec.decoded(kept, Failure) if kept else None
    if found is None:
        return errors.Cancelled(
            "run.cancelled",
            "The run was cancelled.",
            remedy="Begin a new run when you want it after all.",
        )
    return errors.Cancelled(found.code, found.text, remedy=found.remedy, field=found.field)


def must_hold(connection: sa.Connection, hold: Hold) -> Held:
    """Lock the run's row for ``hold``; raise Refused ``engine.epoch.lost`` if it was taken over."""
    state = held(connection, hold, locked=True)
    if state.lost:
        raise lost(hold.run)
    return state


def lost(run: str) -> errors.Refused:
    """Return the error of an execution that was taken over."""
    return errors.Refused(
        "engine.epoch.lost",
        f"Another execution has taken run {run} over.",
        remedy="Nothing is to be done: the other one goes on.",
    )


def begin(connection: sa.Connection, run: str, node: tuple[str, int], now: float) -> sa.Row[Any] | None:
    """Begin an execution by ``node`` (name, lease): count the epoch up. None if the run has ended."""
    row = fetched(connection, run, locked=True)
    if row.state in ENDED:
        return None
    state = RunState.RUNNING.value
    values = {"epoch": row.epoch + 1, "node": node[0], "lease": node[1], "state": state}
    if not row.started:
        values["started"] = now
    connection.execute(sa.update(runs).where(runs.c.id == run).values(values))
    if row.epoch == 0:
        tell(connection, run, Event(kind=EventKind.STATE, state=RunState.RUNNING, time=now))
    else:
        text = f"Node {node[0]} continues the run (execution {row.epoch + 1})."
        tell(connection, run, Event(kind=EventKind.LOG, text=text, time=now))
    return fetched(connection, run)


def move(connection: sa.Connection, hold: Hold, state: RunState, now: float) -> None:
    """Go over to ``state`` and tell so, unless the run is in it already."""
    must_hold(connection, hold)
    _move(connection, hold.run, state, now)


def _move(connection: sa.Connection, run: str, state: RunState, now: float) -> None:
    changed = sa.update(runs).where(runs.c.id == run, runs.c.state != state.value).values(state=state.value)
    if connection.execute(changed).rowcount:
        tell(connection, run, Event(kind=EventKind.STATE, state=state, time=now))


@record()
class Ending:
    """How a run ended."""

    state: RunState
    report: str | None = None
    failure: Failure | None = None


def end(connection: sa.Connection, run: str, ending: Ending, now: float) -> None:
    """Write down how the run ended: state, report and failure together."""
    failure = codec.encoded(ending.failure) if ending.failure else None
    values = {"state": ending.state.value, "report": ending.report, "failure": failure, "ended": now}
    connection.execute(sa.update(runs).where(runs.c.id == run).values(values))
    text = ending.failure.text if ending.failure else ""
    tell(connection, run, Event(kind=EventKind.STATE, state=ending.state, text=text, time=now))


def keep_progress(connection: sa.Connection, run: str, event: Event) -> None:
    """Keep the last progress of an artifact."""
    if event.progress is None:
        return
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    text = codec.encoded(event)
    statement = (
        insert(progress)
        .values(run=run, artifact=event.progress.artifact, event=text)
        .on_conflict_do_update(index_elements=["run", "artifact"], set_={"event": text})
    )
    connection.execute(statement)


def ask(connection: sa.Connection, hold: Hold, topic: str, now: float) -> sa.Row[Any]:
    """Open the decision, unless it is open or answered already; return its row."""
    must_hold(connection, hold)
    where = (decisions.c.run == hold.run, decisions.c.topic == topic)
    row = connection.execute(sa.select(decisions).where(*where)).one_or_none()
    if row is None:
        connection.execute(sa.insert(decisions).values(run=hold.run, topic=topic))
        row = connection.execute(sa.select(decisions).where(*where)).one()
    if row.open and answered(connection, hold.run, topic) is None:
        move(connection, hold, RunState.WAITING, now)
    return row


def asked(topic: str, asking: int) -> str:
    """Return the name under which ``topic`` is asked for the time ``asking``; 0 is the topic itself."""
    return f"{topic}#{asking}" if asking else topic


def answered(connection: sa.Connection, run: str, topic: str) -> str | None:
    """Return the answer to this asking, or the one that holds for all askings of its topic."""
    names = (topic, topic.partition("#")[0])
    query = sa.select(decisions.c.answer).where(decisions.c.run == run, decisions.c.topic.in_(names))
    return next((one for one in connection.execute(query).scalars() if one is not None), None)


def waited(
    connection: sa.Connection, hold: Hold, topic: str, seconds: float, *, over: bool
) -> tuple[str | None, errors.Cancelled | None]:
    """Note how long the decision waited, close it if its time is ``over``; return answer and cancellation."""
    state = must_hold(connection, hold)
    where = (decisions.c.run == hold.run, decisions.c.topic == topic)
    answer = answered(connection, hold.run, topic)
    still_open = answer is None and not over
    connection.execute(sa.update(decisions).where(*where).values(waited_s=seconds, open=still_open))
    return answer, state.cancelled


def answer(
    connection: sa.Connection, run: str, given: tuple[str, str], now: float, *, early: bool = False
) -> None:
    """Answer an open decision, or with ``early`` one that may be asked later, while the run goes on.

    ``given`` is topic and answer. Afterwards nobody is waited for. The same answer again is nothing new.
    """
    topic, text = given
    ended = fetched(connection, run, locked=True).state in ENDED
    where = (decisions.c.run == run, decisions.c.topic == topic)
    row = connection.execute(sa.select(decisions).where(*where)).one_or_none()
    if row is None and early and not ended:
        connection.execute(sa.insert(decisions).values(run=run, topic=topic, answer=text, open=False))
        return
    if row is None or (ended and row.answer is None):
        raise errors.Conflict(
            "decision.not_asked", f"Run {run} does not wait for {topic}.", remedy="Look at the run's state."
        )
    if row.answer == text:
        return
    if row.answer is not None or not row.open:
        was = f"{topic} is {row.answer} already." if row.answer else f"The time for {topic} is over."
        raise errors.Conflict("decision.answered", was, remedy="Look at the run's state.")
    connection.execute(sa.update(decisions).where(*where).values(answer=text, open=False))
    _move(connection, run, RunState.RUNNING, now)
