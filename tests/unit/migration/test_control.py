"""A site as its API sees it: the real engine on SQLite, two simulated clouds, and what people ask of it."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.unit.migration.world import HTTP, FaultyMover, TestClock

from crossport import errors
from crossport.clouds.memory import MemoryCloud, connect
from crossport.engine import Engine, EngineSettings
from crossport.gateway.claims import ClaimingMover
from crossport.migration.control import MeansOfControl, SiteControl
from crossport.migration.hook import OperatorHooks
from crossport.migration.registry import CloudRegistry
from crossport.model import codec
from crossport.model.mapping import MappingRules
from crossport.model.plan import Plan, PlannedVM
from crossport.model.request import CloudEntry, Verdict, VmRequest
from crossport.model.run import Act, CommitRule, EventKind, MigrationRequest, RunState
from crossport.model.vm import VM, PowerState
from crossport.spi.secret import Secret
from crossport.testing.sealer import MemorySealer
from crossport.testing.world import ALPHA, BETA, web_vm

TENANT = "acme"
RULES = MappingRules(networks={"app": "frontend"})


class KeptSecrets:
    """Secrets in a table."""

    def __init__(self) -> None:
        self.kept: dict[str, Secret] = {}

    async def put(self, reference: str, secret: Secret) -> None:
        self.kept[reference] = secret

    async def fetch(self, reference: str) -> Secret:
        if reference not in self.kept:
            raise errors.NotFound("secret.unknown", reference)
        return self.kept[reference]

    async def forget(self, reference: str) -> None:
        self.kept.pop(reference, None)


class EngineClock(TestClock):
    """Time flies in migrations, and the engine's own waits stay short."""

    def monotonic(self) -> float:
        self.now += 0.001
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(min(seconds, 0.01))


async def nowhere(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> int:
    raise errors.Unavailable("hook.receiver.gone", url)


class Place:
    """A site with the clouds alpha and beta, and ways to look behind it."""

    def __init__(self, root: Path, keep_days: float = 90.0) -> None:
        self.root = root
        self.alpha, self.beta = MemoryCloud("alpha", root / "alpha"), MemoryCloud("beta", root / "beta")
        settings = EngineSettings(state_dir=root / "control", lease_s=5.0, keep_days=keep_days)
        self.engine = Engine(settings, EngineClock())
        clock = EngineClock()
        self.mover = FaultyMover(clock)
        self.registry = CloudRegistry({"memory": connect}, self.engine, KeptSecrets())
        tokens, sealer = count(1), MemorySealer("here")
        self.control = SiteControl(
            MeansOfControl(
                site="here",
                engine=self.engine,
                registry=self.registry,
                mover=ClaimingMover(self.mover, sealer),
                sealer=sealer,
                hooks=OperatorHooks({}, {}, post=nowhere, clock=clock),
                clock=clock,
                token=lambda: f"token-{next(tokens)}",
            )
        )

    async def vm(self, name: str, **tags: str) -> VM:
        wanted = dataclasses.replace(web_vm(**tags), name=name)
        return await self.alpha.create_vm(Act(run=name, step="create", epoch=1), wanted, "boot and data")

    def heal(self, name: str, tags: Mapping[str, str]) -> None:
        """Give a VM at alpha other tags."""
        (path,) = (self.root / "alpha/vms").glob(f"{name}-*.json")
        vm = codec.decoded(path.read_text(), VM)
        path.write_text(codec.encoded(dataclasses.replace(vm, tags=tags)))

    async def ended(self, run: str) -> RunState:
        """Return the state in which the run ends. The site's own time flies while it tries again."""
        async with asyncio.timeout(60.0):
            while not (found := await self.engine.wait(run, 20.0)).state.final:
                pass
        return found.state

    async def waiting(self, run: str) -> None:
        """Return when the run waits for a person."""
        async for event in self.control.events(TENANT, run, after=0, follow=True):
            if event.state is RunState.WAITING:
                return


def wish(vm: str = "web", **changes: Any) -> MigrationRequest:
    wanted: dict[str, Any] = {"vm": vm, "source": "alpha", "target": "beta", "rules": RULES, "checks": HTTP}
    return MigrationRequest(**{**wanted, **changes})


@asynccontextmanager
async def open_place(root: Path, keep_days: float = 90.0) -> AsyncGenerator[Place]:
    place = Place(root, keep_days)
    many = dataclasses.replace(ALPHA.free, vms=1000, cpus=1000, memory=1 << 50)
    place.alpha.found(dataclasses.replace(ALPHA, free=many))
    place.beta.found(dataclasses.replace(BETA, free=many))
    async with place.engine:
        for name in ("alpha", "beta"):
            entry = CloudEntry(name=name, driver="memory", settings={"path": str(root / name)})
            await place.control.add_cloud(TENANT, entry)
        yield place
        await place.registry.close()


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    async with open_place(tmp_path) as place:
        await place.vm("web")
        yield place


class TestMigrate:
    """One run, from the request to its report."""

    async def test_the_same_key_is_the_same_run(self, place: Place):
        first = await place.control.migrate(TENANT, wish(), "key")
        assert (await place.control.migrate(TENANT, wish(), "key")).id == first.id
        assert await place.ended(first.id) is RunState.DONE
        assert (await place.control.migrate(TENANT, wish(), "key")).id == first.id
        assert len(await place.control.runs(TENANT, state=None, kind="migrate", after="", limit=10)) == 1

    async def test_the_same_key_for_something_else_is_a_conflict(self, place: Place):
        first = await place.control.migrate(TENANT, wish(), "key")
        with pytest.raises(errors.Conflict, match=r"run\.id\.taken"):
            await place.control.migrate(TENANT, wish(name="other"), "key")
        assert await place.ended(first.id) is RunState.DONE

    async def test_its_story_and_report_can_be_read_afterwards(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(), "")).id
        told = [event async for event in place.control.events(TENANT, run, after=0, follow=True)]
        phases = [event.text for event in told if event.kind is EventKind.PHASE_FINISHED]
        assert phases[-1] == "network_setup"
        report = await place.control.report(TENANT, run)
        assert (report.outcome, report.run) == (RunState.DONE, run)
        numbered = [event async for event in place.control.events(TENANT, run, after=0, follow=False)]
        assert [event.number for event in numbered] == list(range(1, len(numbered) + 1))

    async def test_it_learns_how_long_it_takes(self, place: Place):
        before = await place.control.dry_run(TENANT, wish())
        await place.ended((await place.control.migrate(TENANT, wish(), "")).id)
        await place.vm("db")
        after = await place.control.dry_run(TENANT, wish("db"))
        assert "no earlier migration" in (before.estimate.basis)
        assert "1 earlier migration" in after.estimate.basis

    async def test_findings_stop_it_before_there_is_a_run(self, place: Place):
        with pytest.raises(errors.Blocked):
            await place.control.migrate(TENANT, wish(rules=MappingRules(flavor="huge")), "")
        assert await place.control.runs(TENANT, state=None, kind="", after="", limit=10) == ()

    async def test_source_and_target_must_differ(self, place: Place):
        with pytest.raises(errors.Invalid, match=r"migrate\.same-cloud"):
            await place.control.migrate(TENANT, wish(target="alpha"), "")

    async def test_a_list_goes_on_behind_the_last_run_and_finds_tests(self, place: Place):
        runs: list[str] = []
        for test in (True, False):
            runs.append((await place.control.migrate(TENANT, wish(test=test), "")).id)
            await place.ended(runs[-1])
        (newest,) = await place.control.runs(TENANT, state=None, kind="", after="", limit=1)
        (other,) = await place.control.runs(TENANT, state=None, kind="", after=newest.id, limit=1)
        assert [newest.id, other.id] == runs[::-1]
        (found,) = await place.control.runs(TENANT, state=None, kind="test", after="", limit=1)
        assert found.id == runs[0]
        for vm, number in (("web", 2), ("we", 0)):
            some = await place.control.runs(TENANT, state=None, kind="", vm=vm, after="", limit=9)
            assert len(some) == number

    async def test_runs_of_others_are_not_found(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(), "")).id
        for call in (place.control.run, place.control.report, place.control.cancel, place.control.evidence):
            with pytest.raises(errors.NotFound):
                await call("somebody-else", run)
        await place.ended(run)


class TestPeople:
    """Cancel, decide, finish, retire, clean, resolve."""

    async def test_a_cancelled_run_leaves_the_source_running(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(commit=CommitRule.MANUAL), "")).id
        await place.waiting(run)
        await place.control.cancel(TENANT, run)
        assert await place.ended(run) is RunState.CANCELLED
        assert (await place.alpha.vm("web")).power is PowerState.RUNNING

    @pytest.mark.parametrize(("commit", "outcome"), [(True, RunState.DONE), (False, RunState.ROLLED_BACK)])
    async def test_a_person_decides(self, place: Place, commit: bool, outcome: RunState):
        run = (await place.control.migrate(TENANT, wish(commit=CommitRule.MANUAL), "")).id
        await place.waiting(run)
        await place.control.decide(TENANT, run, commit=commit)
        assert await place.ended(run) is outcome

    async def test_nothing_is_decided_for_a_run_that_does_not_wait(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(), "")).id
        await place.ended(run)
        with pytest.raises(errors.Conflict) as refusal:
            await place.control.decide(TENANT, run, commit=True)
        assert refusal.value.code == "run.not-waiting"

    async def test_nothing_is_decided_anew_when_the_run_has_ended(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(commit=CommitRule.MANUAL), "")).id
        await place.waiting(run)
        await place.control.decide(TENANT, run, commit=False)
        await place.ended(run)
        with pytest.raises(errors.Conflict, match=r"run\.not-waiting"):
            await place.control.decide(TENANT, run, commit=True)

    async def test_a_cloud_in_use_is_not_removed(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(commit=CommitRule.MANUAL), "")).id
        await place.waiting(run)
        with pytest.raises(errors.Conflict, match=r"cloud\.in-use"):
            await place.control.remove_cloud(TENANT, "beta")
        await place.control.decide(TENANT, run, commit=True)
        await place.ended(run)
        await place.control.remove_cloud(TENANT, "beta")

    async def test_a_vm_that_migrates_is_not_migrated_again(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(commit=CommitRule.MANUAL), "")).id
        await place.waiting(run)
        with pytest.raises(errors.Error) as refusal:
            await place.control.migrate(TENANT, wish(), "")
        assert "fenced" in str(refusal.value) or refusal.value.code == "vm.migrating"
        await place.control.decide(TENANT, run, commit=False)
        await place.ended(run)

    async def test_a_finished_test_leaves_nothing(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(test=True), "")).id
        assert await place.ended(run) is RunState.DONE
        assert len(await place.beta.vms()) == 1
        cleaned = await place.control.finish_test(TENANT, run)
        assert cleaned.left == ()
        assert await place.beta.vms() == ()
        assert await place.beta.tagged(run) == ()
        assert (await place.control.finish_test(TENANT, run)).left == ()

    async def test_only_a_test_is_finished_as_one(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(), "")).id
        await place.ended(run)
        with pytest.raises(errors.Conflict, match=r"run\.no-test"):
            await place.control.finish_test(TENANT, run)
        assert len(await place.beta.vms()) == 1

    async def test_cleaning_after_a_commit_keeps_the_vm(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(), "")).id
        await place.ended(run)
        assert (await place.control.clean(TENANT, run)).removed == ()
        assert len(await place.beta.vms()) == 1

    async def test_the_retained_source_is_deleted_only_when_confirmed(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(), "")).id
        await place.ended(run)
        said = await place.control.retire(TENANT, run, confirmed=False)
        assert "web" in said[0]
        assert (await place.alpha.vm("web")).fenced
        assert await place.control.retire(TENANT, run, confirmed=True) == said
        assert await place.alpha.vms() == ()
        assert await place.control.retire(TENANT, run, confirmed=True) == ()

    async def test_a_source_that_cannot_be_reached_is_not_taken_for_retired(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ):
        run = (await place.control.migrate(TENANT, wish(), "")).id
        await place.ended(run)

        async def gone(self: MemoryCloud, reference: str) -> VM:
            raise errors.Unavailable("cloud.unreachable", "The cloud does not answer.")

        monkeypatch.setattr(MemoryCloud, "vm", gone)
        with pytest.raises(errors.Unavailable):
            await place.control.retire(TENANT, run, confirmed=True)

    async def test_a_rolled_back_source_is_not_retired(self, place: Place):
        await place.vm("ill", guest_health="bad-elsewhere")
        run = (await place.control.migrate(TENANT, wish("ill"), "")).id
        assert await place.ended(run) is RunState.ROLLED_BACK
        with pytest.raises(errors.Conflict, match=r"run\.not-committed"):
            await place.control.retire(TENANT, run, confirmed=True)

    async def test_a_run_in_attention_goes_on_when_resumed(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ):
        async def broken(self: MemoryCloud, act: Act, vm_id: str) -> None:
            raise errors.Broken("cloud.state.odd", "The network cannot be opened.")

        with monkeypatch.context() as patched:
            patched.setattr(MemoryCloud, "open_network", broken)
            run = (await place.control.migrate(TENANT, wish(), "")).id
            assert await place.ended(run) is RunState.ATTENTION
        await place.control.resume(TENANT, run)
        assert await place.ended(run) is RunState.DONE
        assert not (await place.beta.vm("web")).quarantined


class TestVMs:
    """Making and running VMs outside migrations, and judging them."""

    async def test_the_same_key_makes_one_vm(self, place: Place):
        request = VmRequest(
            name="new", image="boot", flavor="small", networks=("app",), security_groups=("web",)
        )
        first = await place.control.create_vm(TENANT, "alpha", request, "key")
        assert (await place.control.create_vm(TENANT, "alpha", request, "key")).id == first.id

    @pytest.mark.parametrize("name", ["web", "", " web", "we\x1bb", "w" * 201])
    async def test_a_name_that_is_taken_or_none_is_refused_and_nothing_made(self, place: Place, name: str):
        request = VmRequest(
            name=name, image="boot and data", flavor="m1.small", networks=("app",), security_groups=("web",)
        )
        before = await place.control.vms(TENANT, "alpha")
        with pytest.raises(errors.Error) as refusal:
            await place.control.create_vm(TENANT, "alpha", request, "")
        code = "vm.name.taken" if name == "web" else "vm.name.unusable"
        assert (refusal.value.code, refusal.value.field) == (code, "name")
        assert refusal.value.remedy
        assert await place.control.vms(TENANT, "alpha") == before

    async def test_an_unknown_flavor_names_the_field(self, place: Place):
        request = VmRequest(
            name="new", image="boot", flavor="huge", networks=("app",), security_groups=("web",)
        )
        with pytest.raises(errors.Invalid) as refusal:
            await place.control.create_vm(TENANT, "alpha", request, "")
        assert (refusal.value.field, refusal.value.code) == ("flavor", "vm.flavor.unknown")

    async def test_one_that_refuses_to_shut_down_keeps_its_power_unless_told(self, place: Place):
        await place.vm("deaf", guest_shutdown="refuse")
        with pytest.raises(errors.Conflict, match=r"vm\.stop\.refused"):
            await place.control.stop_vm(TENANT, "alpha", "deaf", shutdown_s=1.0, power_off=False)
        stopped = await place.control.stop_vm(TENANT, "alpha", "deaf", shutdown_s=1.0, power_off=True)
        assert stopped.power is PowerState.STOPPED
        assert (await place.control.start_vm(TENANT, "alpha", "deaf")).power is PowerState.RUNNING

    async def test_one_is_deleted_with_its_disks_when_it_may_lose_its_power(self, place: Place):
        with pytest.raises(errors.Conflict, match=r"vm\.delete\.running"):
            await place.control.delete_vm(TENANT, "alpha", "web", confirmed=True, force_off=False)
        told = await place.control.delete_vm(TENANT, "alpha", "web", confirmed=False, force_off=True)
        assert (await place.control.vm(TENANT, "alpha", "web")).power is PowerState.RUNNING
        done = await place.control.delete_vm(TENANT, "alpha", "web", confirmed=True, force_off=True)
        assert (done, len(done) > 1) == (told, True)
        assert await place.control.vms(TENANT, "alpha") == ()

    async def test_a_kept_source_is_not_deleted_but_retired(self, place: Place):
        await place.ended((await place.control.migrate(TENANT, wish(), "")).id)
        with pytest.raises(errors.Refused) as refusal:
            await place.control.delete_vm(TENANT, "alpha", "web", confirmed=True, force_off=True)
        assert (refusal.value.code, "source retire" in refusal.value.remedy) == ("vm.delete.kept", True)

    async def test_neither_end_of_a_run_that_goes_on_is_deleted(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(commit=CommitRule.MANUAL), "")).id
        await place.waiting(run)
        for cloud in ("alpha", "beta"):
            with pytest.raises(errors.Refused, match=r"vm\.delete\.(kept|migrating)"):
                await place.control.delete_vm(TENANT, cloud, "web", confirmed=True, force_off=True)
        await place.control.decide(TENANT, run, commit=True)
        assert await place.ended(run) is RunState.DONE

    async def test_a_cloud_is_judged_without_writing(self, place: Place):
        before = sorted(path.stat().st_mtime_ns for path in (place.root / "alpha/vms").iterdir())
        assessment = await place.control.assess(TENANT, "alpha", "beta")
        assert [(row.vm.name, row.verdict) for row in assessment.vms] == [("web", Verdict.GO)]
        assert sorted(path.stat().st_mtime_ns for path in (place.root / "alpha/vms").iterdir()) == before


class TestPlans:
    """Several VMs."""

    async def test_a_plan_moves_its_vms_in_order_with_approval(self, place: Place):
        await place.vm("db")
        plan = Plan(
            name="move",
            source="alpha",
            target="beta",
            vms=(PlannedVM(vm="db"), PlannedVM(vm="web", after=("db",))),
            rules=RULES,
            checks=HTTP,
            approval=True,
        )
        await place.control.put_plan(TENANT, plan)
        assert (await place.control.check_plan(TENANT, "move")).waves == (("db",), ("web",))
        run = await place.control.run_plan(TENANT, "move", "key")
        with pytest.raises(errors.Conflict, match=r"plan\.running"):
            await place.control.remove_plan(TENANT, "move")
        for name in ("db", "web"):
            child = await self.child(place, name)
            await place.waiting(child)
            await place.control.decide(TENANT, child, commit=True)
        assert await place.ended(run.id) is RunState.DONE
        status = await place.control.plan_status(TENANT, "move")
        assert [(one.vm, one.state) for one in status.vms] == [("db", RunState.DONE), ("web", RunState.DONE)]
        await place.control.remove_plan(TENANT, "move")
        assert await place.control.plans(TENANT) == ()
        with pytest.raises(errors.NotFound, match=r"plan\.unknown"):
            await place.control.remove_plan(TENANT, "move")

    async def child(self, place: Place, name: str) -> str:
        for _ in range(2000):
            status = await place.control.plan_status(TENANT, "move")
            run = next(one.run for one in status.vms if one.vm == name)
            if run:
                return run
            await asyncio.sleep(0.01)
        raise AssertionError(f"{name} was never started")

    async def test_the_failure_of_one_stops_only_what_depends_on_it(self, place: Place):
        await place.vm("ill", guest_health="bad-elsewhere")
        await place.vm("last")
        vms = (PlannedVM(vm="ill"), PlannedVM(vm="last", after=("ill",)), PlannedVM(vm="web"))
        plan = Plan(name="move", source="alpha", target="beta", vms=vms, rules=RULES, checks=HTTP)
        await place.control.put_plan(TENANT, plan)
        run = await place.control.run_plan(TENANT, "move", "")
        assert await place.ended(run.id) is RunState.ATTENTION
        status = await place.control.plan_status(TENANT, "move")
        states = {one.vm: (one.state, bool(one.run)) for one in status.vms}
        assert states == {
            "ill": (RunState.ROLLED_BACK, True),
            "last": (RunState.QUEUED, False),
            "web": (RunState.DONE, True),
        }

    async def test_a_plan_with_findings_does_not_start(self, place: Place):
        plan = Plan(name="move", source="alpha", target="beta", vms=(PlannedVM(vm="web"),), checks=HTTP)
        plan = dataclasses.replace(plan, rules=MappingRules(flavor="huge"))
        await place.control.put_plan(TENANT, plan)
        with pytest.raises(errors.Blocked):
            await place.control.run_plan(TENANT, "move", "")

    async def test_a_plan_that_requires_a_test_waits_for_a_green_one(self, place: Place):
        plan = Plan(name="move", source="alpha", target="beta", vms=(PlannedVM(vm="web"),), rules=RULES)
        await place.control.put_plan(TENANT, dataclasses.replace(plan, require_test=True, checks=HTTP))
        with pytest.raises(errors.Blocked, match=r"plan\.test\.missing"):
            await place.control.run_plan(TENANT, "move", "")
        await place.ended((await place.control.migrate(TENANT, wish(test=True), "")).id)
        run = await place.control.run_plan(TENANT, "move", "")
        assert await place.ended(run.id) is RunState.DONE
