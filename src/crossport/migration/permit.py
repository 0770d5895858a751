"""Decide who may run: the start permit as two pure state tables, one for each end.

The source is the authority until its site has recorded the decision to commit. The target starts in
quarantine only on the source's statement that it is stopped and fenced. The source decides to commit only on
the target's statement that its verified copy stands there, and the target leaves quarantine only on the
permit. The source starts again only on the target's statement that its copy will never run, and the target
makes that statement only once the source has said that no permit will come, or when its cloud has lost the
copy. Statements may be lost, repeated and late; an end that has not heard waits, and never acts alone.

The tables are checked exhaustively, for every order of commands and statements, against two invariants:
never both running, and never both lost.
"""

from enum import StrEnum

from crossport import errors
from crossport.model.permit import StatementKind

__all__ = ["SOURCE", "TARGET", "SourceEvent", "SourceState", "TargetEvent", "TargetState", "after"]


class SourceState(StrEnum):
    """Where the source's end is in one run."""

    FREE = "free"
    HELD = "held"
    WITHDRAWN = "withdrawn"
    RELEASED = "released"
    COMMITTED = "committed"

    @property
    def may_run(self) -> bool:
        """Whether the source VM may run in this state."""
        return self in {SourceState.FREE, SourceState.RELEASED}


class TargetState(StrEnum):
    """Where the target's end is in one run."""

    EMPTY = "empty"
    QUARANTINED = "quarantined"
    OPEN = "open"
    GONE = "gone"

    @property
    def may_run(self) -> bool:
        """Whether the target VM may run in this state."""
        return self in {TargetState.QUARANTINED, TargetState.OPEN}


class SourceEvent(StrEnum):
    """What the source's end is asked, or hears."""

    HOLD = "hold"
    COMMIT = "commit"
    WITHDRAW = "withdraw"
    TARGET_GONE = "target-gone"


class TargetEvent(StrEnum):
    """What the target's end is asked, or hears."""

    SOURCE_STOPPED = "source-stopped"
    PREPARE = "prepare"
    PERMIT = "permit"
    NO_PERMIT = "no-permit"
    LOST = "lost"
    """The cloud has no copy any more, or is gone for good itself before the permit was used."""


SOURCE: dict[tuple[SourceState, SourceEvent], tuple[SourceState, StatementKind]] = {
    (SourceState.FREE, SourceEvent.HOLD): (SourceState.HELD, StatementKind.STOPPED_AND_FENCED),
    (SourceState.HELD, SourceEvent.HOLD): (SourceState.HELD, StatementKind.STOPPED_AND_FENCED),
    (SourceState.HELD, SourceEvent.COMMIT): (SourceState.COMMITTED, StatementKind.START_PERMITTED),
    (SourceState.COMMITTED, SourceEvent.COMMIT): (SourceState.COMMITTED, StatementKind.START_PERMITTED),
    (SourceState.FREE, SourceEvent.WITHDRAW): (SourceState.WITHDRAWN, StatementKind.NO_PERMIT),
    (SourceState.HELD, SourceEvent.WITHDRAW): (SourceState.WITHDRAWN, StatementKind.NO_PERMIT),
    (SourceState.WITHDRAWN, SourceEvent.WITHDRAW): (SourceState.WITHDRAWN, StatementKind.NO_PERMIT),
    (SourceState.RELEASED, SourceEvent.WITHDRAW): (SourceState.RELEASED, StatementKind.NO_PERMIT),
    (SourceState.WITHDRAWN, SourceEvent.TARGET_GONE): (SourceState.RELEASED, StatementKind.RELEASED),
    (SourceState.COMMITTED, SourceEvent.TARGET_GONE): (SourceState.RELEASED, StatementKind.RELEASED),
    (SourceState.RELEASED, SourceEvent.TARGET_GONE): (SourceState.RELEASED, StatementKind.RELEASED),
}
"""What the source's end does: its next state, and what it states. What is not here is refused."""

TARGET: dict[tuple[TargetState, TargetEvent], tuple[TargetState, StatementKind | None]] = {
    (TargetState.EMPTY, TargetEvent.SOURCE_STOPPED): (TargetState.QUARANTINED, None),
    (TargetState.QUARANTINED, TargetEvent.SOURCE_STOPPED): (TargetState.QUARANTINED, None),
    (TargetState.QUARANTINED, TargetEvent.PREPARE): (TargetState.QUARANTINED, StatementKind.PREPARED),
    (TargetState.OPEN, TargetEvent.PREPARE): (TargetState.OPEN, StatementKind.PREPARED),
    (TargetState.QUARANTINED, TargetEvent.PERMIT): (TargetState.OPEN, StatementKind.OPENED),
    (TargetState.OPEN, TargetEvent.PERMIT): (TargetState.OPEN, StatementKind.OPENED),
    (TargetState.EMPTY, TargetEvent.NO_PERMIT): (TargetState.GONE, StatementKind.NEVER_STARTED),
    (TargetState.QUARANTINED, TargetEvent.NO_PERMIT): (TargetState.GONE, StatementKind.STOPPED_AND_FENCED),
    (TargetState.GONE, TargetEvent.NO_PERMIT): (TargetState.GONE, StatementKind.STOPPED_AND_FENCED),
    (TargetState.EMPTY, TargetEvent.LOST): (TargetState.GONE, StatementKind.NEVER_STARTED),
    (TargetState.QUARANTINED, TargetEvent.LOST): (TargetState.GONE, StatementKind.STOPPED_AND_FENCED),
    (TargetState.OPEN, TargetEvent.LOST): (TargetState.GONE, StatementKind.STOPPED_AND_FENCED),
    (TargetState.GONE, TargetEvent.LOST): (TargetState.GONE, StatementKind.STOPPED_AND_FENCED),
}
"""What the target's end does: its next state, and what it states. What is not here is refused."""

_REMEDY = "See the evidence of both sides with: crossport run show RUN"


def after(
    state: SourceState | TargetState, event: SourceEvent | TargetEvent
) -> tuple[SourceState | TargetState, StatementKind | None]:
    """Return the state after ``event`` and what is stated; raise Refused where the table has no row."""
    row: tuple[SourceState | TargetState, StatementKind | None] | None
    if isinstance(state, SourceState):
        row = SOURCE.get((state, event)) if isinstance(event, SourceEvent) else None
    else:
        row = TARGET.get((state, event)) if isinstance(event, TargetEvent) else None
    if row is None:
        raise errors.Refused(
            "permit.order.wrong", f"A VM that is {state} in this run cannot {event}.", remedy=_REMEDY
        )
    return row
