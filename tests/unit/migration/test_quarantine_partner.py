"""A partner that brings a VM, executes the run itself and says whatever it likes: nothing unchecked gets in.

North has the VM and executes; south is the target, and its policy asks for checks of its own. North is a real
site of which single calls lie: it leaves the checks out, starts what was not sealed, or takes one run's word
for another.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.migration.test_inspecting import BACKDOOR, BASH, DEBIAN
from tests.unit.migration.test_sealing import Between
from tests.unit.migration.two_sites import TENANT, TwoSites, between, fresh, two_sites

from crossport import errors
from crossport.migration.at_rest import named
from crossport.migration.end import Ends
from crossport.migration.import_policy import POLICY
from crossport.migration.partner.foreign import foreign_id
from crossport.migration.partner.remote_site import RemoteSite
from crossport.migration.permit import TargetState
from crossport.model.artifact import Artifact, DiskRef, Moved, Role
from crossport.model.import_policy import ImportPolicy, OwnCheck, Partner
from crossport.model.inspection import Inspected
from crossport.model.permit import Statement, StatementKind
from crossport.model.run import Act, LedgerState, MigrationReport, Mode, RunState
from crossport.model.vm import VM, PowerState
from crossport.spi.cloud import NewVM, RoomFor
from crossport.spi.site import Site
from crossport.testing.run import Killed, KillPoint
from crossport.testing.world import BETA, web_vm

RUN = "run-1"
HERE = foreign_id("a", RUN)
GOOD = replace(DEBIAN, packages=(BASH,))
PACKAGES, SCAN = (OwnCheck.PACKAGES,), (OwnCheck.MALWARE,)


@pytest.fixture
async def two(tmp_path: Path) -> TwoSites:
    """North is a, and executes; south is b, and lets in no guest with a backdoor. This one has none."""
    two = await two_sites(tmp_path, "a")
    two.b.inspector.guest, two.b.inspector.scan_fault = GOOD, None
    await rule(two)
    return two


async def rule(two: TwoSites, *checks: OwnCheck) -> None:
    policy = ImportPolicy(
        site="b",
        partners=(Partner(site="a"),),
        own_checks=checks or PACKAGES,
        forbidden_packages=BACKDOOR,
    )
    await two.b.documents.put(POLICY, "b", policy)


def remote(two: TwoSites) -> RemoteSite:
    return two.a.peer.abroad.site(TENANT, "b")


def lying(two: TwoSites, **calls: Callable[..., Awaitable[object]]) -> None:
    """Let north make these calls of the target's otherwise."""
    target = cast("Site", Between(cast("Site", remote(two)), calls))

    async def found(cloud: str) -> Site:
        return target if cloud.endswith("@b") else await two.a.site(cloud)

    two.world.parts = replace(two.world.parts, site=found)


async def unlooked(act: Act, cloud: str, moved: tuple[Moved, ...]) -> Inspected:
    """Answer as if the guest had been looked into."""
    del act, cloud, moved
    return Inspected(made=True)


async def unread(
    act: Act, cloud: str, moved: tuple[Moved, ...], *, at_rest: bool = True
) -> tuple[Artifact, ...]:
    """Answer as if all had been verified."""
    del act, cloud, moved, at_rest
    return ()


async def prepared(act: Act, cloud: str, vm_id: str) -> Statement:
    """Answer as if south had said that the copy stands there."""
    del cloud
    kind = StatementKind.PREPARED
    return Statement(kind=kind, site="b", run=act.run, vm=vm_id, epoch=act.epoch, made=0.0)


def db() -> VM:
    """Return another VM than the one that is moved."""
    (nic,) = web_vm().nics
    return replace(web_vm(), name="db", nics=(replace(nic, mac="52:54:00:00:00:77", addresses=()),))


async def migrated(two: TwoSites, **changes: Any) -> MigrationReport:
    return await two.world.migrate(None, **between("a"), **changes)


async def taken_back(two: TwoSites, report: MigrationReport, code: str) -> None:
    """Check that the source runs as before, and that nothing is left at the target."""
    assert (report.outcome, report.code, report.left_behind) == (RunState.ROLLED_BACK, code, ())
    source = await two.world.source_vm()
    assert (source.power, source.fenced) == (PowerState.RUNNING, False)
    assert await two.world.target_vms() == ()
    assert await two.world.beta.tagged(HERE) == ()
    assert {one.state for one in await two.b.ledger.entries(HERE)} == {LedgerState.REMOVED}


async def held(two: TwoSites, step: str) -> None:
    """Let north's run go as far as ``step``, and die there."""
    two.world.context.kill(step, KillPoint.BEFORE_CALL)
    with pytest.raises(Killed):
        await migrated(two)


@pytest.mark.parametrize("mode", [Mode.COLD, Mode.WARM])
async def test_a_guest_without_the_backdoor_comes_in(two: TwoSites, mode: Mode):
    report = await migrated(two, mode=mode)
    assert report.outcome is RunState.DONE, report.text
    (vm,) = await two.world.target_vms()
    assert not vm.quarantined
    assert report.inspected is not None
    assert (report.inspected.title, report.inspected.package_count) == ("Debian 12", 1)


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("mode", [Mode.COLD, Mode.WARM])
async def test_a_guest_with_it_stays_where_it_is(two: TwoSites, mode: Mode, test: bool):
    two.b.inspector.guest = DEBIAN
    report = await migrated(two, mode=mode, test=test)
    await taken_back(two, report, "policy.package.forbidden")
    assert report.text.startswith("At b: ")
    assert "instantiate" not in two.world.context.calls


async def test_one_that_leaves_the_look_out_is_looked_into_all_the_same(two: TwoSites):
    two.b.inspector.guest = DEBIAN
    lying(two, inspect=unlooked)
    await taken_back(two, await migrated(two), "policy.package.forbidden")


async def test_one_that_has_nothing_read_starts_nothing(two: TwoSites):
    lying(two, verify=unread, inspect=unlooked)
    await taken_back(two, await migrated(two), "image.unverified")


@pytest.mark.parametrize("test", [False, True])
async def test_what_the_policy_asks_for_by_now_holds_for_each_start(two: TwoSites, test: bool):
    site = remote(two)

    async def late(act: Act, cloud: str, new: NewVM, *, stopped: Statement | None) -> VM:
        await rule(two, *SCAN)
        return await site.instantiate(act, cloud, new, stopped=stopped)

    lying(two, instantiate=late)
    await taken_back(two, await migrated(two, test=test), "policy.own-check.missing")


async def test_a_guest_that_runs_is_not_looked_into_any_more(two: TwoSites):
    site, moved = remote(two), list[tuple[Moved, ...]]()

    async def kept(act: Act, cloud: str, told: tuple[Moved, ...]) -> Inspected:
        moved.append(told)
        return await site.inspect(act, cloud, told)

    async def afterwards(act: Act, cloud: str, vm_id: str) -> Statement:
        await rule(two, *SCAN)
        with pytest.raises(errors.Refused) as caught:
            await site.verify(replace(act, step="again"), cloud, moved[0], at_rest=False)
        assert caught.value.code == "inspect.guest.started"
        assert not (await site.inspect(replace(act, step="again"), cloud, moved[0])).scanned
        return await site.prepare_commit(act, cloud, vm_id)

    await rule(two, *PACKAGES)
    lying(two, inspect=kept, prepare_commit=afterwards)
    await taken_back(two, await migrated(two), "policy.own-check.missing")


async def test_its_own_permit_opens_nothing_that_south_did_not_call_ready(two: TwoSites):
    lying(two, prepare_commit=prepared)
    with pytest.raises(errors.NeedsAttention):
        await migrated(two)
    (vm,) = await two.world.target_vms()
    assert (vm.power, vm.quarantined) == (PowerState.RUNNING, True)
    landing = await Ends(two.b.documents).landing(HERE)
    assert (landing.state, landing.passed, landing.opened) == (TargetState.QUARANTINED, False, False)


async def test_a_vm_of_another_run_is_neither_called_ready_nor_opened(two: TwoSites):
    await held(two, "prepare-commit")
    (caught_vm,) = await two.world.target_vms()
    site = remote(two)
    await two.world.alpha.create_vm(Act(run="x", step="make", epoch=1), db(), "boot and data")
    two.world.context = fresh(two.world, "run-2")

    async def nowhere(act: Act, cloud: str, new: NewVM, *, stopped: Statement | None) -> VM:
        two.world.beta.found(replace(BETA, free=replace(BETA.free, vms=1)))
        with pytest.raises(errors.Blocked):
            await site.instantiate(act, cloud, new, stopped=stopped)
        with pytest.raises(errors.Refused) as caught:
            await site.prepare_commit(replace(act, step="prepare"), cloud, caught_vm.id)
        assert caught.value.code == "permit.copy.none"
        permit = Statement(
            kind=StatementKind.START_PERMITTED, site="a", run="run-2", vm="", epoch=1, made=0.0
        )
        with pytest.raises(errors.Refused) as caught:
            await site.commit(replace(act, step="open"), cloud, caught_vm.id, other=permit)
        assert caught.value.code == "permit.copy.unprepared"
        raise errors.RolledBack("test.over", "Tried enough.")

    lying(two, instantiate=nowhere)
    report = await migrated(two, vm="db")
    assert (report.outcome, report.code) == (RunState.ROLLED_BACK, "test.over")
    assert (await two.world.beta.vm(caught_vm.id)).quarantined


async def test_what_was_called_ready_before_new_bytes_came_is_not_ready(two: TwoSites):
    site = remote(two)
    other = await two.world.beta.create_vm(Act(run="x", step="make", epoch=1), db(), "boot and data")

    async def early(act: Act, cloud: str, moved: tuple[Moved, ...]) -> Inspected:
        with pytest.raises(errors.Refused) as caught:
            await site.prepare_commit(replace(act, step="early"), cloud, other.id)
        assert caught.value.code == "permit.copy.none"
        assert not (await Ends(two.b.documents).landing(HERE)).passed
        return await site.inspect(act, cloud, moved)

    lying(two, inspect=early)
    assert (await migrated(two)).outcome is RunState.DONE


async def test_nothing_is_started_beside_what_was_sealed(two: TwoSites):
    """A suspended guest's memory that no seal is over would run instead of what was read and looked into."""
    site, shown = remote(two), list[Artifact]()

    async def more(act: Act, cloud: str, rooms: tuple[RoomFor, ...]) -> tuple[Artifact, ...]:
        memory = RoomFor(name="memory", role=Role.MEMORY, size=65536)
        *wanted, extra = await site.prepare_import(act, cloud, (*rooms, memory))
        shown.append(extra)
        return tuple(wanted)

    async def with_memory(act: Act, cloud: str, new: NewVM, *, stopped: Statement | None) -> VM:
        evil = replace(new, artifacts=(*new.artifacts, shown[0]), resume=True)
        return await site.instantiate(act, cloud, evil, stopped=stopped)

    lying(two, prepare_import=more, instantiate=with_memory)
    report = await migrated(two)
    await taken_back(two, report, "image.unsealed")
    assert "memory" in report.text


def test_two_volumes_of_one_name_are_taken_for_neither():
    """Else one could be looked into and the other started: a partner chooses what it calls its steps."""
    one, other = (
        Artifact(role=Role.DISK, name="disk-0", ref=DiskRef(kind="memory", locator=name, size=1))
        for name in "ab"
    )
    with pytest.raises(errors.Refused) as caught:
        named((one, other), (), "beta")
    assert caught.value.code == "image.artifact.twice"
