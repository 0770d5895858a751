"""The order of a plan, judged by a slow model: which VMs may start when, and when nothing is left to do."""

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossport import errors
from crossport.migration.plan import checked, open_at, ready, request_of, waves
from crossport.model.mapping import MappingRules
from crossport.model.plan import Plan, PlannedVM, PlannedWarm, Window
from crossport.model.run import CommitRule, Cutover, Mode, RunState, Verify, WarmRules

GOING = (RunState.QUEUED, RunState.RUNNING, RunState.WAITING)
FAILED = (RunState.ROLLED_BACK, RunState.CANCELLED, RunState.BLOCKED, RunState.ATTENTION)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans without circles: a VM follows only VMs before it, of its own or an earlier wave."""
    count = draw(st.integers(1, 6))
    numbers = sorted(draw(st.lists(st.integers(1, 3), min_size=count, max_size=count)))
    vms = [
        PlannedVM(
            vm=f"vm{i}",
            wave=wave,
            after=tuple(f"vm{j}" for j in draw(st.sets(st.integers(0, i - 1), max_size=2))) if i else (),
        )
        for i, wave in enumerate(numbers)
    ]
    return Plan(
        name="p",
        source="a",
        target="b",
        vms=tuple(draw(st.permutations(vms))),
        stop_on_failure=draw(st.booleans()),
        concurrency=draw(st.integers(1, 3)),
    )


def follow(plan: Plan, outcomes: Mapping[str, RunState]) -> list[tuple[str, ...]]:
    """Carry the plan out, all that was started ending before anything new; return what started together."""
    states: dict[str, RunState | None] = {one.vm: None for one in plan.vms}
    started: list[tuple[str, ...]] = []
    for _ in range(len(plan.vms) + 1):
        now = tuple(one.vm for one in ready(plan, states))
        if not now:
            return started
        started.append(now)
        states.update({vm: outcomes[vm] for vm in now})
    raise AssertionError("more rounds than VMs")


@given(plans(), st.data())
def test_every_vm_starts_once_and_never_before_what_it_waits_for(plan: Plan, data: st.DataObject):
    outcomes = {one.vm: data.draw(st.sampled_from((RunState.DONE, *FAILED))) for one in plan.vms}
    rounds = follow(plan, outcomes)
    order = [vm for names in rounds for vm in names]
    assert len(set(order)) == len(order)
    by_name = {one.vm: one for one in plan.vms}
    for index, names in enumerate(rounds):
        assert len(names) <= plan.concurrency
        before = {vm for earlier in rounds[:index] for vm in earlier}
        for vm in names:
            assert all(other in before and outcomes[other] is RunState.DONE for other in by_name[vm].after)
            assert all(by_name[other].wave <= by_name[vm].wave for other in before)


@given(plans(), st.data())
def test_what_never_starts_waited_for_a_failure(plan: Plan, data: st.DataObject):
    outcomes = {one.vm: data.draw(st.sampled_from((RunState.DONE, *FAILED))) for one in plan.vms}
    order = {vm for names in follow(plan, outcomes) for vm in names}
    failed = {vm for vm in order if outcomes[vm] is not RunState.DONE}
    for one in plan.vms:
        if one.vm not in order:
            blocked = any(other in failed or other not in order for other in one.after)
            assert blocked or (plan.stop_on_failure and failed)


@given(plans())
def test_waves_tell_the_order_of_an_undisturbed_plan(plan: Plan):
    whole = dataclasses.replace(plan, concurrency=len(plan.vms))
    rounds = follow(whole, {one.vm: RunState.DONE for one in plan.vms})
    assert [set(names) for names in rounds] == [set(names) for names in waves(plan)]


@pytest.mark.parametrize("state", GOING)
def test_what_goes_on_counts_against_the_number_at_once(state: RunState):
    vms = tuple(PlannedVM(vm=name) for name in ("a", "b", "c"))
    plan = Plan(name="p", source="s", target="t", vms=vms, concurrency=2)
    assert [one.vm for one in ready(plan, {"a": state, "b": None, "c": None})] == ["b"]


@pytest.mark.parametrize("state", FAILED)
def test_after_a_failure_nothing_more_starts_when_told(state: RunState):
    vms = (PlannedVM(vm="a"), PlannedVM(vm="b"))
    plan = Plan(name="p", source="s", target="t", vms=vms, stop_on_failure=True)
    assert ready(plan, {"a": state, "b": None}) == ()
    assert ready(dataclasses.replace(plan, stop_on_failure=False), {"a": state, "b": None}) == (vms[1],)


def one_vm(**changes: object) -> Plan:
    plan = Plan(name="p", source="s", target="t", vms=(PlannedVM(vm="a"),))
    return dataclasses.replace(plan, **changes)


@pytest.mark.parametrize(
    ("plan", "field"),
    [
        (one_vm(vms=()), "vms"),
        (one_vm(vms=(PlannedVM(vm="a"), PlannedVM(vm="a"))), "vms[1].vm"),
        (one_vm(vms=(PlannedVM(vm="a", after=("b",)),)), "vms[0].after"),
        (one_vm(vms=(PlannedVM(vm="a", after=("a",)),)), "vms.after"),
        (one_vm(vms=(PlannedVM(vm="a", after=("b",)), PlannedVM(vm="b", wave=2))), "vms.after"),
        (one_vm(concurrency=0), "concurrency"),
        (one_vm(vms=(PlannedVM(vm="a", warm=PlannedWarm(max_outage_s=60.0)),)), "vms[0].warm"),
        (one_vm(window=Window(days=("someday",))), "window.days"),
        (one_vm(window=Window(start="8")), "window.start"),
        (one_vm(window=Window(end="25:00")), "window.end"),
        (one_vm(window=Window(end="12:60")), "window.end"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_plan_that_contradicts_itself_names_the_field(plan: Plan, field: str):
    with pytest.raises(errors.Invalid) as refusal:
        checked(plan)
    assert refusal.value.field == field


SATURDAY = 172800.0  # 3 January 1970, 00:00 UTC


@given(st.integers(0, 7 * 1440 - 1), st.integers(0, 1439), st.integers(1, 1440))
def test_a_window_is_open_as_a_slow_clock_says(minute: int, start: int, length: int):
    end = (start + length) % 1440 if start + length != 1440 else 1440
    window = Window(days=("sat",), start=text(start), end=text(end))
    opened = {start + offset for offset in range(length)} if end != start else set[int]()
    assert open_at(window, SATURDAY + minute * 60.0) is (minute in opened)


def text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def test_a_vm_s_own_settings_win_over_the_plan_s():
    own = PlannedVM(vm="a", rules=MappingRules(zone="east", networks={"x": "own"}), accept=("b.c",))
    plan = one_vm(
        rules=MappingRules(zone="west", flavor="large", networks={"x": "common", "y": "common"}),
        accept=("a.b",),
        approval=True,
    )
    request = request_of(plan, own, "acme")
    assert (request.rules.zone, request.rules.flavor) == ("east", "large")
    assert request.rules.networks == {"x": "own", "y": "common"}
    assert (request.tenant, request.accept, request.commit) == ("acme", ("a.b", "b.c"), CommitRule.MANUAL)


def test_a_vm_s_own_warm_rules_win_over_the_plan_s():
    at, seconds = "2026-12-31T22:30+01:00", 1798752600.0
    plan = one_vm(mode=Mode.WARM, warm=PlannedWarm(cutover_at=at, max_outage_s=60.0, verify=Verify.STREAM))
    common, own = PlannedVM(vm="a"), PlannedVM(vm="a", warm=PlannedWarm(cutover=Cutover.MANUAL))
    rules = request_of(plan, common, "acme").warm
    assert rules == WarmRules(cutover_at=seconds, max_outage_s=60.0, verify=Verify.STREAM)
    waits = request_of(plan, own, "acme").warm
    assert waits == WarmRules(cutover=Cutover.MANUAL, max_outage_s=60.0, verify=Verify.STREAM)
