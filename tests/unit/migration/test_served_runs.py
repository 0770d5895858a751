"""The operator of a site and the runs that a partner executes there: what he sees, and what he may end.

The partner dies behind each step of a migration and never comes back; then the operator cleans up after it.
Whatever he may do, never both VMs run outside of quarantine, and never both are lost.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.migration.test_cold_kill import STEPS
from tests.unit.migration.two_sites import SimulatedSite, TwoSites, between, fresh, two_sites

from crossport import errors
from crossport.migration.cold import ColdMigration
from crossport.migration.end import Ends
from crossport.migration.partner.foreign import foreign_id
from crossport.migration.partner.retained import Retained
from crossport.migration.partner.served import Served
from crossport.migration.permit import SourceState, TargetState
from crossport.migration.resolve import Resolution, resolved
from crossport.model.partner_run import CleanRequest, PartnerRunState
from crossport.model.request import ResolveAs
from crossport.model.run import RunState
from crossport.model.vm import PowerState
from crossport.spi.cloud import Cloud
from crossport.testing.run import Killed, KillPoint

GONE = CleanRequest(gone=True)
DAY_S = 86400.0
KNOWN = {"a": STEPS[STEPS.index("prepare-import") :], "b": STEPS[STEPS.index("reserve") :]}
"""Steps behind which the other site knows of the run, by its initiator."""


def served(site: SimulatedSite) -> Served:
    return site.peer.served(site.local)


async def died(two: TwoSites, initiator: str, step: str) -> str:
    """Let the initiator die behind a step; return the other site's word for its run."""
    two.world.context.kill(step, KillPoint.AFTER_CALL)
    with pytest.raises(Killed):
        await migrated(two, initiator)
    return foreign_id(initiator, "run-1")


async def migrated(two: TwoSites, initiator: str) -> RunState:
    request = two.world.request(**between(initiator))
    return (await ColdMigration(two.world.context, request, two.world.parts).run()).outcome


async def refused(site: SimulatedSite, run: str, request: CleanRequest) -> str:
    with pytest.raises(errors.Error) as caught:
        await served(site).clean(run, request)
    assert caught.value.remedy
    return caught.value.code


async def test_what_stands_here_because_of_a_partner_is_seen(tmp_path: Path):
    two = await two_sites(tmp_path, "b")
    run = await died(two, "b", "export")
    (seen,) = await served(two.a).runs("b")
    vm = (await two.world.source_vm()).id
    assert (seen.id, seen.partner, seen.run) == (run, "b", "run-1")
    assert (seen.theirs, seen.tenant, seen.cloud, seen.end, seen.vm) == (
        *("default", "default", "alpha", "source", vm),
    )
    assert (seen.state, seen.over) == (PartnerRunState.STOPPED, False)
    assert seen.stands[0] == f"VM {vm} is off and fenced; it was running"
    assert await served(two.a).runs("c") == ()
    assert await served(two.a).run(run) == seen


async def test_pages_of_runs_follow_one_another(tmp_path: Path):
    two = await two_sites(tmp_path, "b")
    await died(two, "b", "reserve")
    (only,) = await served(two.a).runs(limit=1)
    assert await served(two.a).runs(after=only.id) == ()


async def test_a_run_that_nobody_has_is_unknown(tmp_path: Path):
    two = await two_sites(tmp_path, "b")
    assert await refused(two.a, "p-none", GONE) == "partner.run.unknown"


async def test_a_partner_that_may_go_on_is_left_alone(tmp_path: Path):
    two = await two_sites(tmp_path, "b")
    run = await died(two, "b", "export")
    assert await refused(two.a, run, CleanRequest()) == "partner.run.going-on"
    two.world.context = two.world.context.successor()
    assert await migrated(two, "b") is RunState.DONE


@pytest.mark.parametrize("step", KNOWN["b"])
async def test_a_source_comes_back_from_a_partner_that_is_gone_unless_it_was_let_go(
    tmp_path: Path, step: str
):
    two = await two_sites(tmp_path, "b")
    run = await died(two, "b", step)
    before = await Ends(two.a.documents).hold(run)
    let_go = before is not None and before.state is SourceState.COMMITTED
    await served(two.a).clean(run, GONE)
    await served(two.a).clean(run, GONE)
    source = await two.world.source_vm()
    expected = (PowerState.STOPPED, True) if let_go else (PowerState.RUNNING, False)
    assert (source.power, source.fenced) == expected
    two.world.context = two.world.context.successor()
    await comes_back_after_all(two, "b")
    assert [vm.quarantined for vm in await two.world.target_vms()] in ([], [not let_go])


@pytest.mark.parametrize("step", KNOWN["a"])
async def test_a_copy_that_may_be_the_last_is_kept(tmp_path: Path, step: str):
    two = await two_sites(tmp_path, "a")
    run = await died(two, "a", step)
    before = await Ends(two.b.documents).landing(run)
    hold = await Ends(two.a.documents).hold("run-1")
    if before.state is TargetState.QUARANTINED and step not in {"instantiate", "check"}:
        assert await refused(two.b, run, GONE) == "partner.run.last-copy"
        assert len(await two.world.target_vms()) == 1
    else:
        await served(two.b).clean(run, GONE)
        kept = hold is not None and hold.state is SourceState.COMMITTED
        assert len(await two.world.target_vms()) == kept
        assert kept or await two.world.beta.tagged(run) == ()
    two.world.context = two.world.context.successor()
    await comes_back_after_all(two, "a")
    source = await two.world.source_vm()
    assert (source.power is PowerState.RUNNING) == (not await two.world.target_vms())


async def comes_back_after_all(two: TwoSites, initiator: str) -> None:
    """Let the partner go on although it was said to be gone: it ends as it may, and never both run."""
    with suppress(errors.Error):
        await migrated(two, initiator)
    open_copies = [vm for vm in await two.world.target_vms() if not vm.quarantined]
    source = await two.world.source_vm()
    assert not (open_copies and source.power is PowerState.RUNNING)


async def test_a_copy_whose_opening_was_cut_short_is_opened(tmp_path: Path):
    two = await two_sites(tmp_path, "a")
    run = await died(two, "a", "commit-target")
    documents, landed = two.b.documents, await Ends(two.b.documents).landing(run)
    await documents.put("target-end", run, replace(landed, opened=False))  # as if it had died just before
    await served(two.b).clean(run, GONE)
    assert (await Ends(documents).landing(run)).opened
    (copy,) = await two.world.target_vms()
    assert (copy.power, copy.quarantined) == (PowerState.RUNNING, False)


async def test_a_cloud_is_kept_while_a_partner_uses_it(tmp_path: Path):
    two = await two_sites(tmp_path, "b")
    run = await died(two, "b", "export")
    with pytest.raises(errors.Conflict) as caught:
        await served(two.a).need_unused("default", "alpha")
    assert caught.value.code == "cloud.in-use"
    assert run in caught.value.remedy
    await served(two.a).need_unused("default", "beta")
    await served(two.a).need_unused("other", "alpha")
    await served(two.a).clean(run, GONE)
    await served(two.a).need_unused("default", "alpha")


async def test_runs_that_are_over_are_forgotten_in_time_and_a_retained_source_is_not(tmp_path: Path):
    two = await two_sites(tmp_path, "b")
    assert await migrated(two, "b") is RunState.DONE
    now = two.a.clock.wall()
    await served(two.a).forget_before(now + DAY_S)
    (seen,) = await served(two.a).runs()
    assert (seen.state, seen.over) == (PartnerRunState.RETAINED, True)
    assert "retained" in seen.stands[0]
    source = await two.world.source_vm()
    await two.world.alpha.delete_vm(two.world.context.act("owner"), source.id)
    await served(two.a).forget_before(seen.ended)
    assert len(await served(two.a).runs()) == 1
    await served(two.a).forget_before(now + DAY_S)
    assert await served(two.a).runs() == ()
    assert await two.a.ledger.entries(seen.id) == ()
    assert await two.a.peer.notary.evidence(seen.id) == ()
    assert await Ends(two.a.documents).hold(seen.id) is None


async def test_what_is_not_cleaned_up_is_not_forgotten(tmp_path: Path):
    two = await two_sites(tmp_path, "b")
    run = await died(two, "b", "export")
    await served(two.a).forget_before(two.a.clock.wall() + 1000 * DAY_S)
    assert [one.id for one in await served(two.a).runs()] == [run]


def retained(site: SimulatedSite) -> Retained:
    async def cloud(tenant: str, name: str) -> Cloud:
        del tenant
        return await site.connect(name)

    return Retained(site.peer.foreign, lambda: Ends(site.documents), cloud)


async def retire(site: SimulatedSite, run: str, *, confirmed: bool = True) -> tuple[str, ...]:
    known = await retained(site).run("default", run)
    assert known
    return await retained(site).retire(known, confirmed=confirmed)


async def test_the_owner_deletes_a_source_that_a_partners_run_left_behind(tmp_path: Path):
    two = await two_sites(tmp_path, "b")
    assert await migrated(two, "b") is RunState.DONE
    run = foreign_id("b", "run-1")
    assert await retained(two.a).run("other", run) is None
    assert await retained(two.a).run("default", "p-none") is None
    told = await retire(two.a, run, confirmed=False)
    assert told[-1].startswith("It may be the last copy: that the one at b runs")
    assert (await two.world.source_vm()).fenced
    assert await retire(two.a, run) == told[:-1]
    with pytest.raises(errors.NotFound):
        await two.world.source_vm()
    assert await retire(two.a, run) == await retire(two.a, run, confirmed=False) == ()
    await served(two.a).forget_before(two.a.clock.wall() + DAY_S)
    assert await served(two.a).runs() == ()


async def test_a_retained_source_that_somebody_took_into_use_is_not_deleted(tmp_path: Path):
    two = await two_sites(tmp_path, "b")
    assert await migrated(two, "b") is RunState.DONE
    source = await two.world.source_vm()
    await two.world.alpha.unfence(two.world.context.act("owner"), source.id)
    with pytest.raises(errors.Conflict) as caught:
        await retire(two.a, foreign_id("b", "run-1"))
    assert caught.value.code == "vm.not-retained"


@pytest.mark.parametrize("step", KNOWN["b"][: KNOWN["b"].index("clean-source")])
async def test_a_source_is_deleted_for_no_run_that_may_still_go_on(tmp_path: Path, step: str):
    """Nor for one that never let it go."""
    two = await two_sites(tmp_path, "b")
    run = await died(two, "b", step)
    with pytest.raises(errors.Conflict) as caught:
        await retire(two.a, run)
    hold = await Ends(two.a.documents).hold(run)
    let_go = hold is not None and hold.state is SourceState.COMMITTED
    assert caught.value.code == ("partner.run.going-on" if let_go else "run.not-committed")
    await served(two.a).clean(run, GONE)
    if let_go:
        assert await retire(two.a, run) != ()
    else:
        with pytest.raises(errors.Conflict):
            await retire(two.a, run)


async def resolution(two: TwoSites, initiator: str, outcome: ResolveAs) -> RunState:
    """Let a person at the initiator end its run."""
    side = two.a if initiator == "a" else two.b
    hold, landing = await Ends(side.documents).hold("run-1"), await Ends(side.documents).landing("run-1")
    wanted = Resolution(
        run="run-1",
        request=two.world.request(**between(initiator)),
        source_id=hold.vm if hold else "",
        target_id="",
        outcome=outcome,
        committed=hold is not None and hold.state is SourceState.COMMITTED,
        verified=landing.verified,
    )
    return (await resolved(fresh(two.world, f"resolve-{outcome}"), wanted, two.world.parts)).outcome


@pytest.mark.parametrize("step", ["export", "instantiate"])
async def test_a_run_with_a_partner_that_was_revoked_ends_at_both_sites_by_their_operators(
    tmp_path: Path, step: str
):
    """The partner executed it: the source comes back here, and there the run is given up."""
    two = await two_sites(tmp_path, "b")
    run = await died(two, "b", step)
    two.a.link.revoke("b")
    two.world.context = two.world.context.successor()
    with pytest.raises(errors.NeedsAttention):
        await migrated(two, "b")
    assert (await two.world.source_vm()).fenced
    await served(two.a).clean(run, GONE)
    source = await two.world.source_vm()
    assert (source.power, source.fenced) == (PowerState.RUNNING, False)
    assert await resolution(two, "b", ResolveAs.ABANDON) is RunState.CANCELLED
    assert [vm.quarantined for vm in await two.world.target_vms()] in ([], [True])
    cleaned = await two.b.local().clean(two.world.context.act("clean"), "beta", keep_vm=False)
    assert (cleaned.left, await two.world.target_vms()) == ((), ())


@pytest.mark.parametrize("step", ["export", "instantiate", "check"])
async def test_a_run_of_this_site_goes_back_alone_when_the_partner_with_its_target_was_revoked(
    tmp_path: Path, step: str
):
    two = await two_sites(tmp_path, "a")
    run = await died(two, "a", step)
    two.a.link.revoke("b")
    two.world.context = two.world.context.successor()
    with pytest.raises(errors.NeedsAttention):
        await migrated(two, "a")
    with pytest.raises(errors.Refused) as caught:
        await resolution(two, "a", ResolveAs.SOURCE)
    assert caught.value.code == "partner.revoked"
    assert await resolution(two, "a", ResolveAs.SOURCE_ALONE) is RunState.ROLLED_BACK
    source = await two.world.source_vm()
    assert (source.power, source.fenced) == (PowerState.RUNNING, False)
    await served(two.b).clean(run, GONE)
    assert await two.world.target_vms() == ()


async def test_behind_the_commit_a_source_does_not_come_back_from_a_partner_that_was_revoked(tmp_path: Path):
    """Its copy may run: that is said by the partner alone, or by nobody."""
    two = await two_sites(tmp_path, "a")
    await died(two, "a", "commit-source")
    two.a.link.revoke("b")
    with pytest.raises(errors.Refused) as caught:
        await resolution(two, "a", ResolveAs.SOURCE_ALONE)
    assert caught.value.code == "partner.revoked"
    source = await two.world.source_vm()
    assert (source.power, source.fenced) == (PowerState.STOPPED, True)
