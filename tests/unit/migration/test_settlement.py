"""What is done about a migration that ended in doubt: never are both sides lost, and never do both run.

A site as its API sees it: the real engine on SQLite and two simulated clouds, one of which fails for good.
"""

import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.migration.test_control import TENANT, Place, open_place, wish

from crossport import errors
from crossport.clouds.memory import MemoryCloud
from crossport.migration.end import Hold
from crossport.model.artifact import Moved, Ticket
from crossport.model.plan import Plan, PlannedVM
from crossport.model.request import ResolveAs
from crossport.model.run import Act, CommitRule, RunState
from crossport.model.vm import PowerState


@pytest.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    async with open_place(tmp_path) as place:
        await place.vm("web")
        yield place


def broken(call: str) -> Callable[..., Awaitable[Any]]:
    async def fail(*_: object, **__: object) -> Any:
        raise errors.Broken("cloud.state.odd", f"{call} does not work here.")

    return fail


class Doubt:
    """Brings a run into doubt, and looks at both sides afterwards."""

    def __init__(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place = place
        self.patch = monkeypatch

    async def in_attention(self, *calls: str, **changes: Any) -> str:
        """Return a run of a world in which ``calls`` of the clouds fail; afterwards they work again."""
        with self.patch.context() as patched:
            for call in calls:
                patched.setattr(MemoryCloud, call, broken(call))
            run = (await self.place.control.migrate(TENANT, wish(**changes), "")).id
            assert await self.place.ended(run) is RunState.ATTENTION
        return run

    async def behind_the_commit(self) -> str:
        return await self.in_attention("open_network")

    async def with_a_copy(self) -> str:
        """Return a run whose source is held, and whose copy is verified and well in quarantine."""
        run = (await self.place.control.migrate(TENANT, wish(commit=CommitRule.MANUAL), "")).id
        await self.place.waiting(run)
        with self.patch.context() as patched:
            patched.setattr(MemoryCloud, "vm", unreachable_at("alpha", MemoryCloud.vm))
            await self.place.control.decide(TENANT, run, commit=False)
            assert await self.place.ended(run) is RunState.ATTENTION
        return run

    async def resolved(self, run: str, outcome: ResolveAs) -> RunState:
        return await self.place.ended((await self.place.control.resolve(TENANT, run, outcome)).id)

    async def running(self) -> list[str]:
        vms = (*await self.place.alpha.vms(), *await self.place.beta.vms())
        return [vm.id for vm in vms if vm.power is PowerState.RUNNING and not vm.quarantined]


@pytest.fixture
def doubt(place: Place, monkeypatch: pytest.MonkeyPatch) -> Doubt:
    return Doubt(place, monkeypatch)


async def gone(place: Place, cloud: MemoryCloud) -> None:
    """Let the cloud be gone for good."""
    shutil.rmtree(place.root / cloud.name)


class TestAsTarget:
    """The target is the truth, if it has a good copy."""

    async def test_behind_the_commit_it_goes_on(self, doubt: Doubt, place: Place):
        run = await doubt.behind_the_commit()
        assert "Resolve as target" in (await place.control.evidence(TENANT, run)).advice
        assert await doubt.resolved(run, ResolveAs.TARGET) is RunState.DONE
        assert (await place.control.run(TENANT, run)).state is RunState.DONE
        (copy,) = await place.beta.vms()
        assert await doubt.running() == [copy.id]

    async def test_without_a_copy_it_is_refused_and_the_source_can_come_back(
        self, doubt: Doubt, place: Place
    ):
        run = await doubt.in_attention("prepare_import", "unfence")
        with pytest.raises(errors.Conflict) as refusal:
            await place.control.resolve(TENANT, run, ResolveAs.TARGET)
        assert (refusal.value.code, refusal.value.field) == ("run.copy.none", "outcome")
        assert await doubt.resolved(run, ResolveAs.SOURCE) is RunState.ROLLED_BACK
        assert await doubt.running() == [(await place.alpha.vm("web")).id]

    async def test_a_copy_that_vanishes_meanwhile_is_not_permitted(self, doubt: Doubt, place: Place):
        run = await doubt.with_a_copy()
        evidence = await place.control.evidence(TENANT, run)
        assert evidence.target_vm
        vms = MemoryCloud.vm

        async def vanishing(self: MemoryCloud, reference: str) -> Any:
            found = await vms(self, reference)
            if self.name == "beta":
                (place.root / "beta/vms" / f"{found.id}.json").unlink()
            return found

        with doubt.patch.context() as patched:
            patched.setattr(MemoryCloud, "vm", vanishing)
            assert await doubt.resolved(run, ResolveAs.TARGET) is RunState.ATTENTION
        assert await doubt.resolved(run, ResolveAs.SOURCE) is RunState.ROLLED_BACK
        assert await doubt.running() == [(await place.alpha.vm("web")).id]
        states = {run.kind: run.state for run in await self.every(place)}
        assert states == {"migrate": RunState.ROLLED_BACK, "resolve": RunState.ROLLED_BACK}

    async def every(self, place: Place) -> tuple[Any, ...]:
        runs = await place.control.runs(TENANT, state=None, kind="", after="", limit=100)
        assert not [run for run in runs if run.state is RunState.ATTENTION]
        return runs[::-1]

    async def test_a_verified_copy_goes_on_when_the_source_is_gone_for_good(self, doubt: Doubt, place: Place):
        run = await doubt.with_a_copy()
        await gone(place, place.alpha)
        evidence = await place.control.evidence(TENANT, run)
        assert evidence.source_vm is None
        assert evidence.target_vm
        assert any(line.startswith("source alpha: now There is no simulated") for line in evidence.statements)
        assert await doubt.resolved(run, ResolveAs.TARGET) is RunState.DONE
        report = await place.control.report(TENANT, run)
        assert any("alpha" in line for line in report.left_behind)
        (copy,) = await place.beta.vms()
        assert (copy.power, copy.quarantined) == (PowerState.RUNNING, False)

    async def test_a_test_has_no_target_to_resolve_to(self, doubt: Doubt, place: Place):
        run = await doubt.in_attention("prepare_import", "end_export", "tagged", test=True)
        with pytest.raises(errors.Conflict, match=r"a test migration has no commit"):
            await place.control.resolve(TENANT, run, ResolveAs.TARGET)


class TestAsSource:
    """The source is the truth, if the target's copy is not."""

    async def test_behind_the_commit_it_is_refused_while_the_copy_stands(self, doubt: Doubt, place: Place):
        run = await doubt.behind_the_commit()
        for outcome in (ResolveAs.SOURCE, ResolveAs.SOURCE_ALONE):
            with pytest.raises(errors.Conflict, match=r"run\.committed"):
                await place.control.resolve(TENANT, run, outcome)
        assert await doubt.running() == []
        assert await doubt.resolved(run, ResolveAs.TARGET) is RunState.DONE

    async def test_behind_the_commit_it_comes_back_when_the_copy_is_lost(self, doubt: Doubt, place: Place):
        run = await doubt.behind_the_commit()
        (copy,) = await place.beta.vms()
        await place.beta.power_off(Act(run="x", step="off", epoch=1), copy.id)
        await place.beta.delete_vm(Act(run="x", step="delete", epoch=1), copy.id)
        assert "if it is lost, resolve as source" in (await place.control.evidence(TENANT, run)).advice
        assert await doubt.resolved(run, ResolveAs.SOURCE) is RunState.ROLLED_BACK
        assert await doubt.running() == [(await place.alpha.vm("web")).id]

    async def test_it_comes_back_alone_when_the_target_is_gone_for_good(self, doubt: Doubt, place: Place):
        run = await doubt.in_attention("remove", "tagged", "instantiate")
        await gone(place, place.beta)
        assert await doubt.resolved(run, ResolveAs.SOURCE) is RunState.ATTENTION
        assert await doubt.resolved(run, ResolveAs.SOURCE_ALONE) is RunState.ROLLED_BACK
        web = await place.alpha.vm("web")
        assert (web.power, web.fenced) == (PowerState.RUNNING, False)

    async def test_a_target_that_used_its_permit_is_not_given_up_unseen(self, doubt: Doubt, place: Place):
        run = await doubt.behind_the_commit()
        await gone(place, place.beta)
        assert await doubt.resolved(run, ResolveAs.SOURCE_ALONE) is RunState.ATTENTION
        assert (await place.alpha.vm("web")).fenced

    async def test_a_verified_copy_is_not_discarded_while_the_source_is_gone(
        self, doubt: Doubt, place: Place
    ):
        run = await doubt.with_a_copy()
        web = await place.alpha.vm("web")
        await place.alpha.delete_vm(Act(run="x", step="delete", epoch=1), web.id)
        assert await doubt.resolved(run, ResolveAs.SOURCE) is RunState.ATTENTION
        assert len(await place.beta.vms()) == 1
        assert await doubt.resolved(run, ResolveAs.TARGET) is RunState.DONE


class TestSourceGone:
    """A source that is gone in the middle of the copy leaves a run that a person can end."""

    @pytest.mark.parametrize("how", ["cloud", "vm"])
    async def test_the_run_ends_with_evidence_and_is_abandoned(self, doubt: Doubt, place: Place, how: str):
        move = place.mover.move

        async def move_and_lose(read: Ticket, write: Ticket, report: Any) -> Moved:
            await move(read, write, report)
            if how == "cloud":
                await gone(place, place.alpha)
            else:
                web = await place.alpha.vm("web")
                await place.alpha.delete_vm(Act(run="x", step="delete", epoch=1), web.id)
            raise errors.Unavailable("transfer.worker.gone", "The source broke off.")

        doubt.patch.setattr(place.mover, "move", move_and_lose)
        run = (await place.control.migrate(TENANT, wish(), "")).id
        assert await place.ended(run) is RunState.ATTENTION
        evidence = await place.control.evidence(TENANT, run)
        assert evidence.source_vm is None
        assert [line.split(":")[0] for line in evidence.statements] == [
            "source alpha",
            "target beta",
            "source alpha",
        ]
        assert await doubt.resolved(run, ResolveAs.ABANDON) is RunState.CANCELLED
        assert (await place.control.run(TENANT, run)).state is RunState.CANCELLED
        assert await place.beta.vms() == ()
        assert await place.beta.tagged(run) == ()
        if how == "cloud":
            await place.control.remove_cloud(TENANT, "alpha")


class TestAbandoned:
    """Nothing is touched any more, and nothing is lost."""

    async def test_cleaning_keeps_the_copy_and_it_can_be_resolved_later(self, doubt: Doubt, place: Place):
        run = await doubt.behind_the_commit()
        await doubt.resolved(run, ResolveAs.ABANDON)
        assert (await place.control.run(TENANT, run)).state is RunState.CANCELLED
        cleaned = await place.control.clean(TENANT, run)
        assert len(await place.beta.vms()) == 1
        assert "nobody decided" in cleaned.left[-1]
        assert await doubt.resolved(run, ResolveAs.TARGET) is RunState.DONE
        (copy,) = await place.beta.vms()
        assert await doubt.running() == [copy.id]
        with pytest.raises(errors.Conflict, match=r"run\.settled"):
            await place.control.resolve(TENANT, run, ResolveAs.SOURCE)

    async def test_before_the_commit_the_source_can_still_come_back(self, doubt: Doubt, place: Place):
        run = await doubt.with_a_copy()
        await doubt.resolved(run, ResolveAs.ABANDON)
        with pytest.raises(errors.Conflict) as refusal:
            await place.control.migrate(TENANT, wish(), "")
        assert refusal.value.code == "vm.undecided"
        assert run in refusal.value.remedy
        await place.control.clean(TENANT, run)
        assert len(await place.beta.vms()) == 1
        assert await doubt.resolved(run, ResolveAs.SOURCE) is RunState.ROLLED_BACK
        assert await doubt.running() == [(await place.alpha.vm("web")).id]
        assert await place.beta.vms() == ()


class TestOneAtATime:
    """A run is resolved once, or resumed, not both."""

    async def test_it_is_not_resumed_or_resolved_while_it_is_resolved(self, doubt: Doubt, place: Place):
        run = await doubt.behind_the_commit()
        with doubt.patch.context() as patched:
            patched.setattr(MemoryCloud, "open_network", unreachable_at("beta", MemoryCloud.open_network))
            resolving = await place.control.resolve(TENANT, run, ResolveAs.TARGET)
            for call in (
                place.control.resume(TENANT, run),
                place.control.resolve(TENANT, run, ResolveAs.ABANDON),
                place.control.resolve(TENANT, run, ResolveAs.SOURCE),
            ):
                with pytest.raises(errors.Conflict) as refusal:
                    await call
                assert (refusal.value.code, resolving.id in refusal.value.remedy) == ("run.resolving", True)
        await place.ended(resolving.id)

    async def test_a_run_without_two_ends_is_told_so(self, doubt: Doubt, place: Place):
        plan = Plan(
            name="move", source="alpha", target="beta", vms=(PlannedVM(vm="web"),), rules=wish().rules
        )
        await place.control.put_plan(TENANT, plan)
        run = (await place.control.run_plan(TENANT, "move", "")).id
        await place.ended(run)
        for call in (
            place.control.evidence(TENANT, run),
            place.control.report(TENANT, run),
            place.control.clean(TENANT, run),
            place.control.finish_test(TENANT, run),
            place.control.retire(TENANT, run, confirmed=True),
            place.control.resolve(TENANT, run, ResolveAs.SOURCE),
        ):
            with pytest.raises(errors.Conflict) as refusal:
                await call
            assert refusal.value.code == "run.kind.wrong"


class TestStarted:
    """Somebody starts the source by hand while the migration goes on."""

    async def test_there_is_no_commit(self, doubt: Doubt, place: Place):
        run = (await place.control.migrate(TENANT, wish(commit=CommitRule.MANUAL), "")).id
        await place.waiting(run)
        web = await place.alpha.vm("web")
        await place.alpha.unfence(Act(run="by-hand", step="unfence", epoch=1), web.id)
        await place.alpha.start(Act(run="by-hand", step="start", epoch=1), web.id)
        await place.control.decide(TENANT, run, commit=True)
        assert await place.ended(run) is RunState.ROLLED_BACK
        assert (await place.control.report(TENANT, run)).code == "permit.source.runs"
        assert await doubt.running() == [web.id]
        assert await place.beta.vms() == ()


class TestRetired:
    """The retained source is the last thing that is deleted, and never what is in use."""

    async def test_one_that_is_in_use_again_is_not_deleted(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(), "")).id
        await place.ended(run)
        web = await place.alpha.vm("web")
        await place.alpha.unfence(Act(run="by-hand", step="unfence", epoch=1), web.id)
        with pytest.raises(errors.Conflict, match=r"vm\.not-retained"):
            await place.control.retire(TENANT, run, confirmed=True)

    async def test_it_is_told_when_it_may_be_the_last_copy(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(), "")).id
        await place.ended(run)
        (copy,) = await place.beta.vms()
        await place.beta.power_off(Act(run="x", step="off", epoch=1), copy.id)
        await place.beta.delete_vm(Act(run="x", step="delete", epoch=1), copy.id)
        told = await place.control.retire(TENANT, run, confirmed=False)
        assert told[-1].startswith("It may be the last copy: target beta")


def unreachable_at(cloud: str, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return ``call``, which ``cloud`` does not answer."""

    async def unsteady(self: MemoryCloud, *arguments: Any) -> Any:
        if self.name == cloud:
            raise errors.Unavailable("cloud.unreachable", "The cloud does not answer.")
        return await call(self, *arguments)

    return unsteady


class TestForgotten:
    """Old runs are forgotten, but not while their source is retained or their ends are undecided."""

    async def left(self, place: Place) -> set[str]:
        await place.engine.forget_ended()
        return {run.id for run in await place.control.runs(TENANT, state=None, kind="", after="", limit=10)}

    @pytest.fixture
    async def place(self, tmp_path: Path) -> AsyncGenerator[Place]:
        async with open_place(tmp_path, keep_days=-1e9) as place:
            await place.vm("web")
            yield place

    async def test_a_committed_run_is_kept_until_its_source_is_retired(self, place: Place):
        run = (await place.control.migrate(TENANT, wish(), "")).id
        await place.ended(run)
        assert await self.left(place) == {run}
        await place.control.retire(TENANT, run, confirmed=True)
        assert await self.left(place) == set()
        assert await place.engine.documents.list("source-end", Hold) == ()
        assert place.mover.forgotten == [run, run]  # when it was cleaned up, and once more to be sure

    async def test_a_rolled_back_run_is_not_kept(self, place: Place):
        await place.vm("ill", guest_health="bad-elsewhere")
        run = (await place.control.migrate(TENANT, wish("ill"), "")).id
        assert await place.ended(run) is RunState.ROLLED_BACK
        assert await self.left(place) == set()

    async def test_an_abandoned_run_is_kept_until_it_is_resolved(self, doubt: Doubt, place: Place):
        run = await doubt.behind_the_commit()
        await doubt.resolved(run, ResolveAs.ABANDON)
        assert run in await self.left(place)
