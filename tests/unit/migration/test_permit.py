"""The start permit, checked exhaustively.

The world is the state of both ends and the set of all statements ever made. A statement may be heard at any
later moment, any number of times, or never; a command may be given at any moment, so that no assumption is
made about whoever gives it. A crash is the absence of further steps of one end, which the search includes.
"""

import pytest

from crossport import errors
from crossport.migration.permit import (
    SOURCE,
    TARGET,
    SourceEvent,
    SourceState,
    TargetEvent,
    TargetState,
    after,
)
from crossport.model.permit import StatementKind

World = tuple[SourceState, TargetState, frozenset[tuple[str, StatementKind]]]
START: World = (SourceState.FREE, TargetState.EMPTY, frozenset())
LOSS = ("cloud", StatementKind.NEVER_STARTED)
"""In what was said: the target's cloud has lost the copy, which it does only once and for good."""

HEARD_BY_TARGET = {
    StatementKind.STOPPED_AND_FENCED: TargetEvent.SOURCE_STOPPED,
    StatementKind.START_PERMITTED: TargetEvent.PERMIT,
    StatementKind.NO_PERMIT: TargetEvent.NO_PERMIT,
}
HEARD_BY_SOURCE = {
    StatementKind.NEVER_STARTED: SourceEvent.TARGET_GONE,
    StatementKind.STOPPED_AND_FENCED: SourceEvent.TARGET_GONE,
    StatementKind.PREPARED: SourceEvent.COMMIT,
}
COMMANDS = (SourceEvent.HOLD, SourceEvent.WITHDRAW)


def next_worlds(world: World) -> list[World]:
    source, target, said = world
    source_events = {
        *COMMANDS,
        *(HEARD_BY_SOURCE[k] for by, k in said if by == "target" and k in HEARD_BY_SOURCE),
    }
    target_events = {HEARD_BY_TARGET[k] for by, k in said if by == "source" and k in HEARD_BY_TARGET}
    target_events.add(TargetEvent.PREPARE)
    worlds: list[World] = []
    for event in source_events:
        row = SOURCE.get((source, event))
        if row:
            worlds.append((row[0], target, said | {("source", row[1])}))
    for event in target_events:
        found = TARGET.get((target, event))
        if found:
            stated = {("target", found[1])} if found[1] else set[tuple[str, StatementKind]]()
            worlds.append((source, found[0], said | stated))
    lost = TARGET.get((target, TargetEvent.LOST))
    if lost and lost[1]:
        worlds.append((source, lost[0], said | {("target", lost[1]), LOSS}))
    return worlds


def reachable(start: World) -> set[World]:
    seen, todo = {start}, [start]
    while todo:
        for world in next_worlds(todo.pop()):
            if world not in seen:
                seen.add(world)
                todo.append(world)
    return seen


def test_the_search_reaches_every_state_of_both_ends():
    worlds = reachable(START)
    assert {source for source, _, _ in worlds} == set(SourceState)
    assert {target for _, target, _ in worlds} == set(TargetState)


def test_source_and_target_never_both_may_run():
    assert not [w for w in reachable(START) if w[0].may_run and w[1].may_run]


def test_never_are_both_lost():
    for source, target, said in reachable(START):
        gone = target is TargetState.GONE and LOSS not in said
        assert not (source is SourceState.COMMITTED and gone)
        assert not (source is SourceState.RELEASED and target is TargetState.OPEN)


def test_a_commit_finds_a_copy_at_the_target():
    for source, target, said in reachable(START):
        if source is SourceState.COMMITTED and LOSS not in said:
            assert target in {TargetState.QUARANTINED, TargetState.OPEN}


def test_from_every_state_one_of_them_can_still_come_to_run_for_good():
    for world in reachable(START):
        ends = {
            (source, target)
            for source, target, _ in reachable(world)
            if (source is SourceState.RELEASED) != (target is TargetState.OPEN)
        }
        assert ends, world


def test_the_decision_to_commit_is_final_unless_the_copy_is_lost():
    for world in reachable(START):
        if world[0] is SourceState.COMMITTED:
            later = {source for source, _, said in reachable(world) if LOSS not in said}
            assert later <= {SourceState.COMMITTED}


def test_what_the_table_does_not_know_is_refused():
    with pytest.raises(errors.Refused) as refusal:
        after(SourceState.COMMITTED, SourceEvent.WITHDRAW)
    assert refusal.value.code == "permit.order.wrong"
    with pytest.raises(errors.Refused):
        after(TargetState.OPEN, TargetEvent.NO_PERMIT)


@pytest.mark.parametrize("row", [*SOURCE, *TARGET])
def test_each_row_is_needed_or_repeats_what_was_done(
    row: tuple[SourceState | TargetState, SourceEvent | TargetEvent],
):
    state, event = row
    later, _ = after(state, event)
    assert after(later, event)[0] is later
