"""Carry out a plan: start each VM's migration when its wave, its dependencies and the window allow.

The plan's own run does nothing to the world but to submit runs under names that follow from the plan, so
that it may die and look again. One VM's failure stops only those that depend on it, unless the plan says
otherwise.
"""

import datetime
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from crossport import errors
from crossport.model.mapping import MappingRules
from crossport.model.plan import Plan, PlannedVM, VmStatus, Window
from crossport.model.record import record
from crossport.model.run import CommitRule, Event, EventKind, MigrationRequest, RunRecord, RunState
from crossport.spi.clock import Clock
from crossport.spi.run import RunContext

__all__ = ["PlanReport", "PlanRun", "Submit", "checked", "open_at", "ready", "request_of", "waves"]

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


def checked(plan: Plan) -> Plan:
    """Return the plan; raise Invalid with the field when it contradicts itself."""
    names = [one.vm for one in plan.vms]
    for index, one in enumerate(plan.vms):
        if names.index(one.vm) != index:
            raise _invalid(f"vms[{index}].vm", f"{one.vm} is in the plan twice.", "Remove one of them.")
        for other in one.after:
            if other not in names:
                raise _invalid(f"vms[{index}].after", f"{other} is not in the plan.", "Add or remove it.")
    if not plan.vms:
        raise _invalid("vms", "The plan has no VM.", "Add at least one.")
    if plan.concurrency < 1:
        raise _invalid("concurrency", "At least one VM has to move at a time.", "Use 1 or more.")
    if plan.window is not None:
        _check_window(plan.window)
    waves(plan)
    return plan


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
    )


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


class PlanRun:
    """One execution of a plan. ``submit`` starts a VM's run under a name, ``look`` returns that run."""

    def __init__(self, plan: Plan, tenant: str, *, submit: Submit, look: Look, clock: Clock) -> None:
        self._plan = checked(plan)
        self._tenant = tenant
        self._submit = submit
        self._look = look
        self._clock = clock

    async def run(self, context: RunContext) -> PlanReport:
        """Start the VMs in their order and wait for all of them."""

        async def oversee() -> PlanReport:
            told: dict[str, RunState | None] = {}
            while True:
                records = {one.vm: await self._look(child(context.run, one)) for one in self._plan.vms}
                states = {vm: found.state if found else None for vm, found in records.items()}
                await self._tell(context, told, states)
                if self._nothing_left(states):
                    return self._report(context.run, records)
                if open_at(self._plan.window, self._clock.wall()):
                    for one in ready(self._plan, states):
                        await self._submit(
                            one, request_of(self._plan, one, self._tenant), child(context.run, one)
                        )
                await self._clock.sleep(LOOK_AGAIN_S)

        return await context.step("oversee", oversee, result=PlanReport, cancellable=True)

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
        vms = vm_states(self._plan, run, records)
        done = sum(one.state is RunState.DONE for one in vms)
        whole = done == len(vms)
        return PlanReport(
            plan=self._plan.name,
            outcome=RunState.DONE if whole else RunState.ATTENTION,
            vms=vms,
            text=f"{done} of {len(vms)} VMs moved.",
        )


def child(plan_run: str, one: PlannedVM) -> str:
    """Return the id of the run that moves ``one``: the same however often the plan looks."""
    return f"{plan_run}-{hashlib.sha256(one.vm.encode()).hexdigest()[:8]}"


def vm_states(plan: Plan, run: str, records: Mapping[str, RunRecord | None]) -> tuple[VmStatus, ...]:
    """Return how far each VM of the plan is."""
    return tuple(
        VmStatus(
            vm=one.vm,
            wave=one.wave,
            state=found.state if found else RunState.QUEUED,
            run=child(run, one) if found else "",
            text=found.attention if found else "not started",
        )
        for one in plan.vms
        for found in (records.get(one.vm),)
    )
