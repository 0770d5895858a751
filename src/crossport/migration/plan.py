"""Carry out a plan: start each VM's migration when its wave, its dependencies and the window allow.

The plan's own run does nothing to the world but to submit runs under names that follow from the plan, so
that it may die and look again. One VM's failure stops only those that depend on it, unless the plan says
otherwise.
"""

import datetime
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from crossport import errors
from crossport.migration.outcome import CANCELLED
from crossport.model.mapping import MappingRules
from crossport.model.name import seconds_of
from crossport.model.plan import Plan, PlannedVM, PlannedWarm, VmStatus, Window
from crossport.model.record import record
from crossport.model.run import (
    CommitRule,
    Event,
    EventKind,
    MigrationRequest,
    Mode,
    RunRecord,
    RunState,
    WarmRules,
)
from crossport.spi.clock import Clock
from crossport.spi.run import RunContext

__all__ = [
    "PlanMeans",
    "PlanReport",
    "PlanRun",
    "Submit",
    "checked",
    "open_at",
    "ready",
    "request_of",
    "waves",
]

LOOK_AGAIN_S = 1.0
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Submit = Callable[[PlannedVM, MigrationRequest, str], Awaitable[None]]
Look = Callable[[str], Awaitable[RunRecord | None]]


@record()
class PlanReport:
    """How a plan ended. ``outcome`` is done only when every VM is."""

    plan: str
    outcome: RunState
    vms: tuple[VmStatus, ...]
    text: str = ""
    code: str = ""


def checked(plan: Plan) -> Plan:
    """Return the plan; raise Invalid with the field when it contradicts itself."""
    names = [one.vm for one in plan.vms]
    for index, one in enumerate(plan.vms):
        if names.index(one.vm) != index:
            raise _invalid(f"vms[{index}].vm", f"{one.vm} is in the plan twice.", "Remove one of them.")
        for other in one.after:
            if other not in names:
                raise _invalid(f"vms[{index}].after", f"{other} is not in the plan.", "Add or remove it.")
        _check_warm(f"vms[{index}].warm", one, one.mode or plan.mode)
    if not plan.vms:
        raise _invalid("vms", "The plan has no VM.", "Add at least one.")
    if plan.concurrency < 1:
        raise _invalid("concurrency", "At least one VM has to move at a time.", "Use 1 or more.")
    if plan.window is not None:
        _check_window(plan.window)
    waves(plan)
    return plan


def _check_warm(field: str, one: PlannedVM, mode: Mode) -> None:
    if one.warm != PlannedWarm() and mode is not Mode.WARM:
        raise _invalid(
            field,
            f"{one.vm} moves in mode {mode}: these rules are those of mode warm.",
            "Set its mode to warm, or leave them out.",
        )


def _check_window(window: Window) -> None:
    for day in window.days:
        if day not in DAYS:
            raise _invalid("window.days", f"{day} is not a day.", f"Use {', '.join(DAYS)}.")
    for field, text in (("window.start", window.start), ("window.end", window.end)):
        try:
            _minutes(text)
        except ValueError:
            raise _invalid(field, f"{text} is not a time of day.", "Use HH:MM, up to 24:00.") from None


def _invalid(field: str, text: str, remedy: str) -> errors.Invalid:
    return errors.Invalid("plan.invalid", text, field=field, remedy=remedy)


def waves(plan: Plan) -> tuple[tuple[str, ...], ...]:
    """Return the VMs in the order in which they can go; raise Invalid for a circle of dependencies."""
    left = {one.vm: one for one in plan.vms}
    done: list[tuple[str, ...]] = []
    while left:
        lowest = min(one.wave for one in left.values())
        now = tuple(
            name
            for name, one in left.items()
            if one.wave == lowest and not any(other in left for other in one.after)
        )
        if not now:
            stuck = ", ".join(name for name, one in left.items() if one.wave == lowest)
            raise _invalid(
                "vms.after", f"{stuck} wait for one another or for a later wave.", "Break the circle."
            )
        done.append(now)
        for name in now:
            del left[name]
    return tuple(done)


def request_of(plan: Plan, one: PlannedVM, tenant: str) -> MigrationRequest:
    """Return the migration of one VM; its own settings win over the plan's."""
    return MigrationRequest(
        vm=one.vm,
        source=plan.source,
        target=plan.target,
        tenant=tenant,
        mode=one.mode or plan.mode,
        name=one.name,
        rules=_merged(plan.rules, one.rules),
        checks=one.checks or plan.checks,
        commit=CommitRule.MANUAL if plan.approval else CommitRule.AUTO,
        accept=(*plan.accept, *one.accept),
        power_off=plan.power_off,
        warm=_warm_rules(plan.warm, one.warm),
    )


def _warm_rules(common: PlannedWarm, own: PlannedWarm) -> WarmRules:
    """Return the rules of one VM. A time of its own says when, also where all others wait for a person."""
    said = {
        name: value
        for name in ("max_outage_s", "cutover", "interval_s", "deadline_s", "verify")
        if (value := getattr(own, name) or getattr(common, name)) is not None
    }
    # A VM that is to wait for a person, or for its outage, does not go over at the time of all others.
    at = own.cutover_at or ("" if own.cutover else common.cutover_at)
    return WarmRules(**said, cutover_at=seconds_of(at))


def _merged(common: MappingRules, own: MappingRules) -> MappingRules:
    return replace(
        own,
        project=own.project or common.project,
        zone=own.zone or common.zone,
        flavor=own.flavor or common.flavor,
        networks={**common.networks, **own.networks},
        security_groups={**common.security_groups, **own.security_groups},
        keys={**common.keys, **own.keys},
        storage_classes={**common.storage_classes, **own.storage_classes},
        addresses={**common.addresses, **own.addresses},
        keep_mac=own.keep_mac and common.keep_mac,
    )


def open_at(window: Window | None, wall: float) -> bool:
    """Say whether a cutover may begin at ``wall`` (Unix seconds). A window may pass midnight."""
    if window is None:
        return True
    now = datetime.datetime.fromtimestamp(wall, datetime.UTC)
    minute = now.hour * 60 + now.minute
    start, end = _minutes(window.start), _minutes(window.end)
    if start <= end:
        return DAYS[now.weekday()] in window.days and start <= minute < end
    if minute >= start:
        return DAYS[now.weekday()] in window.days
    return minute < end and DAYS[now.weekday() - 1] in window.days


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    total = int(hours) * 60 + int(minutes)
    if not (0 <= int(minutes) < 60 and 0 <= total <= 24 * 60):
        raise ValueError(text)
    return total


def ready(plan: Plan, states: Mapping[str, RunState | None]) -> tuple[PlannedVM, ...]:
    """Return the VMs whose migration may be submitted now, at most as many as may go on at once.

    ``states`` has None for a VM that has no run yet.
    """
    going = sum(state is not None and not state.final for state in states.values())
    failed = any(
        state is not None and state.final and state is not RunState.DONE for state in states.values()
    )
    if plan.stop_on_failure and failed:
        return ()
    open_waves = [one.wave for one in plan.vms if not _settled(plan, one, states)]
    current = min(open_waves, default=0)
    can = [
        one
        for one in plan.vms
        if states[one.vm] is None
        and one.wave == current
        and all(states[other] is RunState.DONE for other in one.after)
    ]
    return tuple(can[: max(0, plan.concurrency - going)])


def _any_failed(states: Mapping[str, RunState | None]) -> bool:
    return any(state is not None and state.final and state is not RunState.DONE for state in states.values())


def _settled(plan: Plan, one: PlannedVM, states: Mapping[str, RunState | None]) -> bool:
    """Whether nothing more will happen to the VM: its run ended, or what it waits for failed."""
    state = states[one.vm]
    if state is not None:
        return state.final
    others = {other.vm: other for other in plan.vms}
    return any(
        states[name] is not RunState.DONE and _settled(plan, others[name], states) for name in one.after
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMeans:
    """What a plan's run works with: ``submit`` starts a VM's run under a name, ``look`` returns that run,
    ``cancel`` asks it to stop, for a reason, and is content when it cannot be stopped any more."""

    submit: Submit
    look: Look
    cancel: Callable[[str, errors.Cancelled | None], Awaitable[None]]
    clock: Clock


class PlanRun:
    """One execution of a plan. ``moved`` has the VMs that earlier runs of it moved, with their runs."""

    def __init__(self, plan: Plan, tenant: str, means: PlanMeans, moved: Mapping[str, str]) -> None:
        self._plan = checked(plan)
        self._tenant = tenant
        self._means = means
        self._moved = moved

    async def run(self, context: RunContext) -> PlanReport:
        """Start the VMs in their order and wait for all of them; cancelled, cancel those that move."""

        async def oversee() -> PlanReport:
            told: dict[str, RunState | None] = {}
            return await self._until(lambda: self._advance(context, told))

        try:
            return await context.step("oversee", oversee, result=PlanReport, cancellable=True)
        except errors.Cancelled as error:
            context.protect()
            why = None if error.code == CANCELLED else error

            async def stop() -> PlanReport:
                return await self._until(lambda: self._stop(context, why))

            report = await context.step("cancel-vms", stop, result=PlanReport)
            text = f"{why.text if why else 'Cancelled.'} {report.text}"
            return replace(report, outcome=RunState.CANCELLED, text=text, code=error.code)

    async def _until(self, look: Callable[[], Awaitable[PlanReport | None]]) -> PlanReport:
        """Look again and again until there is a report. A database that is away is waited for."""
        while True:
            try:
                report = await look()
            except errors.Unavailable:
                report = None
            if report is not None:
                return report
            await self._means.clock.sleep(LOOK_AGAIN_S)

    async def _advance(self, context: RunContext, told: dict[str, RunState | None]) -> PlanReport | None:
        """Start what may start now; return the report when nothing is left to do."""
        records = await self._records(context.run)
        states = self._states(records)
        await self._tell(context, told, states)
        if self._nothing_left(states):
            return self._report(context.run, records)
        if open_at(self._plan.window, self._means.clock.wall()):
            for one in ready(self._plan, states):
                request = request_of(self._plan, one, self._tenant)
                await self._means.submit(one, request, child(context.run, one))
        return None

    async def _stop(self, context: RunContext, why: errors.Cancelled | None) -> PlanReport | None:
        """Cancel what goes on; return the report when nothing does."""
        records = await self._records(context.run)
        going = [found.id for found in records.values() if found is not None and not found.state.final]
        for run in going:
            await self._means.cancel(run, why)
        return None if going else self._report(context.run, records)

    async def _records(self, run: str) -> dict[str, RunRecord | None]:
        return {
            one.vm: await self._means.look(self._moved.get(one.vm) or child(run, one))
            for one in self._plan.vms
        }

    def _states(self, records: Mapping[str, RunRecord | None]) -> dict[str, RunState | None]:
        states = {vm: found.state if found else None for vm, found in records.items()}
        return states | {vm: RunState.DONE for vm in self._moved if vm in states}

    async def _tell(
        self, context: RunContext, told: dict[str, RunState | None], states: Mapping[str, RunState | None]
    ) -> None:
        for vm, state in states.items():
            if state is not None and told.get(vm) is not state:
                await context.emit(Event(kind=EventKind.LOG, text=f"{vm}: {state}"))
                told[vm] = state

    def _nothing_left(self, states: Mapping[str, RunState | None]) -> bool:
        going = any(state is not None and not state.final for state in states.values())
        over = self._plan.stop_on_failure and _any_failed(states)
        return not going and (over or all(_settled(self._plan, one, states) for one in self._plan.vms))

    def _report(self, run: str, records: Mapping[str, RunRecord | None]) -> PlanReport:
        vms = vm_states(self._plan, run, records, self._moved)
        done = sum(one.state is RunState.DONE for one in vms)
        return PlanReport(
            plan=self._plan.name,
            outcome=RunState.DONE if done == len(vms) else RunState.ATTENTION,
            vms=vms,
            text=f"{done} of {len(vms)} VMs moved.",
        )


def child(plan_run: str, one: PlannedVM) -> str:
    """Return the id of the run that moves ``one``: the same however often the plan looks."""
    return f"{plan_run}-{hashlib.sha256(one.vm.encode()).hexdigest()[:8]}"


def vm_states(
    plan: Plan, run: str, records: Mapping[str, RunRecord | None], moved: Mapping[str, str]
) -> tuple[VmStatus, ...]:
    """Return how far each VM of the plan is. ``moved`` has those that an earlier run of it moved."""
    return tuple(_vm_state(one, run, records.get(one.vm), moved.get(one.vm, "")) for one in plan.vms)


def _vm_state(one: PlannedVM, run: str, found: RunRecord | None, moved: str) -> VmStatus:
    if moved:
        return VmStatus(vm=one.vm, wave=one.wave, state=RunState.DONE, run=moved, text="moved earlier")
    if found is None:
        return VmStatus(vm=one.vm, wave=one.wave, state=RunState.QUEUED, text="not started")
    return VmStatus(vm=one.vm, wave=one.wave, state=found.state, run=child(run, one), text=found.attention)
