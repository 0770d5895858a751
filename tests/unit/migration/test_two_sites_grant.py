"""A run between two sites that loses its right at the serving site, at every call: it is taken back whole.

The real desk refuses what leads on and answers what leads back; behind the commit the run is finished.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.migration.two_sites import TENANT, SimulatedSite, TwoSites, between, two_sites
from tests.unit.migration.world import disk_bytes

from crossport import errors
from crossport.migration.grant import lost
from crossport.migration.grants import HOUR_S
from crossport.migration.import_policy import POLICY
from crossport.migration.partner.foreign import foreign_id
from crossport.model.artifact import DiskRef, Place
from crossport.model.grant import Granted, GrantScope, GrantState, Loss, RunGrant
from crossport.model.import_policy import ImportPolicy, OwnCheck
from crossport.model.import_policy import Partner as Trusted
from crossport.model.inspection import Guest
from crossport.model.partner import Partner
from crossport.model.run import LedgerState, MigrationReport, RunState
from crossport.model.vm import PowerState
from crossport.spi.inspect import Found

RUN = "run-1"
EVERYTHING = GrantScope(tenant="")


def sites(two: TwoSites, initiator: str) -> tuple[SimulatedSite, SimulatedSite]:
    """Return the site that executes the run, and the one that serves."""
    return (two.a, two.b) if initiator == "a" else (two.b, two.a)


async def revoke(serving: SimulatedSite, initiator: str) -> None:
    await serving.grants.revoke(foreign_id(initiator, RUN), EVERYTHING, "token x")


async def disallow(serving: SimulatedSite, initiator: str) -> None:
    serving.link.allow(initiator)


async def expire(serving: SimulatedSite, initiator: str) -> None:
    key = f"live/{foreign_id(initiator, RUN)}"
    grant = (await serving.documents.fetch("run-grant", key, RunGrant)).value
    await serving.documents.put("run-grant", key, replace(grant, until=serving.clock.wall()))


Take = Callable[[SimulatedSite, str], Awaitable[None]]
TAKES = (revoke, disallow, expire)


def at(serving: SimulatedSite, operation: str, do: Callable[[], Awaitable[None]]) -> None:
    """Do something once, just before ``serving`` answers ``operation`` for the first time."""
    answer, done = serving.link.answers[operation], False

    async def after_that(partner: Partner, content: bytes) -> bytes:
        nonlocal done
        if not done:
            done = True
            await do()
        return await answer(await serving.link.partner(partner.name), content)

    serving.link.answers[operation] = after_that


async def without_right(
    root: Path, initiator: str, operation: str, take: Take = revoke
) -> tuple[TwoSites, MigrationReport]:
    """Return what becomes of a run whose right is taken at this call."""
    two = await two_sites(root, initiator)
    _, serving = sites(two, initiator)
    at(serving, operation, lambda: take(serving, initiator))
    return two, await two.world.migrate(None, **between(initiator))


async def check_taken_back(two: TwoSites, report: MigrationReport) -> None:
    assert (report.outcome, report.code, report.left_behind) == (RunState.ROLLED_BACK, "grant.lost", ())
    source = await two.world.source_vm()
    assert (source.power, source.fenced) == (PowerState.RUNNING, False)
    assert await two.world.target_vms() == ()
    for site in (two.a, two.b):
        for run in (RUN, foreign_id("a", RUN), foreign_id("b", RUN)):
            assert all(one.state is LedgerState.REMOVED for one in await site.ledger.entries(run))


BEFORE_COMMIT = [
    *(("a", call) for call in ("ticket", "admit", "verify", "instantiate", "prepare-commit")),
    *(("b", call) for call in ("export", "ticket", "seal", "permit")),
]


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize(("initiator", "call"), BEFORE_COMMIT)
async def test_before_the_commit_everything_is_as_it_was(
    tmp_path: Path, initiator: str, call: str, take: Take
):
    two, report = await without_right(tmp_path, initiator, f"site.{call}", take)
    await check_taken_back(two, report)


@pytest.mark.parametrize("take", TAKES)
@pytest.mark.parametrize(("initiator", "call"), [("a", "open"), ("a", "clean"), ("b", "clean")])
async def test_behind_the_commit_the_run_is_finished(tmp_path: Path, initiator: str, call: str, take: Take):
    two, report = await without_right(tmp_path, initiator, f"site.{call}", take)
    assert report.outcome is RunState.DONE, report.text
    source, (copy,) = await two.world.source_vm(), await two.world.target_vms()
    assert (source.power, source.fenced, copy.quarantined) == (PowerState.STOPPED, True, False)
    assert disk_bytes(two.world.beta, copy) == disk_bytes(two.world.alpha, source)


@pytest.mark.parametrize("initiator", ["a", "b"])
async def test_in_the_middle_of_a_copy_the_other_site_tells_so(tmp_path: Path, initiator: str):
    two = await two_sites(tmp_path, initiator)
    executing, serving = sites(two, initiator)
    cloud = "beta@b" if initiator == "a" else "alpha@a"

    async def watched(progress: object) -> None:
        del progress
        two.world.mover.during = None
        assert await executing.peer.abroad.granted(TENANT, RUN, cloud) == Granted()
        await revoke(serving, initiator)
        told = await executing.peer.abroad.granted(TENANT, RUN, cloud)
        assert told == Granted(loss=Loss.REVOKED)
        two.world.context.cancel(lost(Loss.REVOKED, RUN, serving.name))

    two.world.mover.during = watched
    report = await two.world.migrate(None, **between(initiator))
    await check_taken_back(two, report)
    assert f"at {serving.name}" in report.text


@pytest.mark.parametrize("silent", [False, True])
async def test_in_the_middle_of_a_look_into_the_guest_that_ends_at_once(tmp_path: Path, silent: bool):
    """Whether the site that executes the run hears of it, or the serving one has to end it alone."""
    two = await two_sites(tmp_path)
    two.b.inspector.guest = Guest(listed=True)
    policy = ImportPolicy(site="b", partners=(Trusted(site="a"),), own_checks=(OwnCheck.PACKAGES,))
    await two.b.documents.put(POLICY, "b", policy)
    ended: list[bool] = []

    async def endless(
        disks: tuple[DiskRef, ...], place: Place, *, scan: bool = False, found: Found | None = None
    ) -> Guest:
        del disks, place, scan, found
        await revoke(two.b, "a")
        if silent:
            asyncio.get_running_loop().call_soon(ending.set)
        else:
            two.world.context.cancel(lost(Loss.REVOKED, RUN, "b"))
        try:
            await asyncio.Event().wait()
            return Guest()
        finally:
            ended.append(True)

    async def watch() -> None:
        await ending.wait()
        await two.b.peer.interrupt(foreign_id("a", RUN))

    ending = asyncio.Event()
    two.b.inspector.look = endless
    watching = asyncio.create_task(watch())
    report = await two.world.migrate(None, **between("a"))
    watching.cancel()
    assert ended == [True]
    assert report.code == ("message.epoch.old" if silent else "grant.lost")
    await check_taken_back(two, replace(report, code="grant.lost"))


async def test_the_serving_site_tells_that_it_is_too_late(tmp_path: Path):
    two = await two_sites(tmp_path)
    told: list[Granted] = []

    async def ask() -> None:
        await revoke(two.b, "a")
        told.append(await two.a.peer.abroad.granted(TENANT, RUN, "beta@b"))

    at(two.b, "site.clean", ask)
    await two.world.migrate(None, **between("a"))
    assert told == [Granted(loss=Loss.REVOKED, late=True)]


async def test_a_partners_run_holds_a_grant_where_it_is_served(tmp_path: Path):
    two = await two_sites(tmp_path)
    await two.world.migrate(None, **between("a"))
    (grant,) = await two.b.grants.listed(EVERYTHING)
    assert (grant.run, grant.called, grant.state) == (foreign_id("a", RUN), RUN, GrantState.OVER)
    assert await two.b.grants.live() == ()
    assert (grant.partner, grant.theirs, grant.tenant) == ("a", TENANT, TENANT)
    assert (grant.clouds, grant.until - grant.since) == (("beta",), 192 * HOUR_S)
    assert await two.a.grants.live() == ()


async def test_of_a_run_that_never_began_nothing_is_allowed_without_a_rule(tmp_path: Path):
    two = await two_sites(tmp_path)
    assert await two.a.peer.abroad.granted(TENANT, "run-9", "beta@b") == Granted()
    two.b.link.allow("a")
    with pytest.raises(errors.Refused) as caught:
        await two.a.peer.abroad.granted(TENANT, "run-9", "beta@b")
    assert caught.value.code == "partner.tenant.none"
