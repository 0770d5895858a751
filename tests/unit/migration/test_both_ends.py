"""What a site knows of a run that a partner has an end of: as the partner answers, or as it has signed."""

from pathlib import Path

import pytest
from tests.unit.migration.two_sites import TENANT, TwoSites, between, two_sites

from crossport.migration.both_ends import BothEnds, Look
from crossport.migration.cold import ColdMigration
from crossport.migration.end import Ends
from crossport.migration.permit import SourceState, TargetState
from crossport.migration.resolve import advice
from crossport.migration.standing import Standings
from crossport.model.run import RunState
from crossport.testing.partner import Fate
from crossport.testing.run import Killed, KillPoint


class Viewer:
    """Looks from the site that executes the run."""

    def __init__(self, two: TwoSites, initiator: str) -> None:
        self.two = two
        self.site = two.a if initiator == "a" else two.b
        self.request = two.world.request(**between(initiator))
        ends = Ends(self.site.documents)
        here = Standings(
            lambda: ends, lambda: self.site.ledger, lambda tenant, cloud: self.site.connect(cloud)
        )
        self.ends = BothEnds(lambda: ends, here, self.site.peer.abroad)

    async def look(self) -> Look:
        return await self.ends.look(TENANT, self.request, "run-1")

    async def settled(self) -> bool:
        return await self.ends.settled(self.request, "run-1")

    async def go_until(self, step: str, point: KillPoint = KillPoint.BEFORE_CALL) -> None:
        self.two.world.context.kill(step, point)
        with pytest.raises(Killed):
            await self.go()

    async def go(self) -> RunState:
        migration = ColdMigration(self.two.world.context, self.request, self.two.world.parts)
        return (await migration.run()).outcome

    def cut(self) -> None:
        def lost(from_: str, to: str, operation: str) -> Fate:
            del from_, to, operation
            return Fate(arrives=0)

        self.two.link.fate = lost


@pytest.fixture(params=["a", "b"])
async def viewer(tmp_path: Path, request: pytest.FixtureRequest) -> Viewer:
    initiator: str = request.param
    return Viewer(await two_sites(tmp_path, initiator), initiator)


def stands(look: Look) -> tuple[SourceState | None, TargetState, bool]:
    return look.hold.state if look.hold else None, look.landing.state, look.landing.verified


async def test_nothing_is_known_of_a_run_that_did_nothing(viewer: Viewer):
    look = await viewer.look()
    assert stands(look) == (None, TargetState.EMPTY, False)
    assert (look.target_vm, look.ledger) == (None, ())
    assert await viewer.settled()


async def test_who_a_tenant_is_at_a_partners_end_is_known_when_a_run_has_ended(viewer: Viewer):
    abroad, far = viewer.site.peer.abroad, "beta@b" if viewer.site is viewer.two.a else "alpha@a"
    assert await abroad.tenants(viewer.request, "run-1") == {}
    assert await viewer.go() is RunState.DONE
    assert await abroad.tenants(viewer.request, "run-1") == {far: TENANT}
    viewer.cut()
    assert await abroad.tenants(viewer.request, "run-1") == {}


async def test_both_ends_are_seen_where_they_are(viewer: Viewer):
    await viewer.go_until("commit-source")
    look = await viewer.look()
    assert stands(look) == (SourceState.HELD, TargetState.QUARANTINED, True)
    there = "target beta@b" if viewer.site is viewer.two.a else "source alpha@a"
    assert look.words[0] == f"{there}: tenant default of this site is tenant default there"
    assert look.source_vm
    assert look.source_vm.fenced
    assert look.target_vm
    assert look.target_vm.quarantined
    assert {one.cloud for one in look.ledger} == {"alpha", "beta"}
    assert not await viewer.settled()


async def test_a_partner_that_is_away_is_taken_at_its_signed_word(viewer: Viewer):
    await viewer.go_until("commit-target")
    there = stands(await viewer.look())
    viewer.cut()
    look = await viewer.look()
    assert stands(look) == there == (SourceState.COMMITTED, TargetState.QUARANTINED, True)
    assert any("does not answer" in line or "partner" in line for line in look.words)
    assert "The commit was recorded" in advice(look.hold, look.landing, copy=look.target_vm is not None)
    assert not await viewer.settled()


async def test_a_run_that_is_over_is_settled_without_asking_anybody(viewer: Viewer):
    assert await viewer.go() is RunState.DONE
    viewer.cut()
    assert await viewer.settled()
    signed = [line for line in (await viewer.look()).words if "signed with key" in line]
    assert len(signed) >= 3
    await viewer.ends.forget("run-1")
    assert await viewer.site.peer.notary.evidence("run-1") == ()


async def test_a_run_that_came_back_is_settled_without_asking_anybody(tmp_path: Path):
    for initiator in ("a", "b"):
        two = await two_sites(tmp_path / initiator, initiator, guest_health="bad-elsewhere")
        viewer = Viewer(two, initiator)
        assert await viewer.go() is RunState.ROLLED_BACK
        viewer.cut()
        assert await viewer.settled()
        state, landing, _ = stands(await viewer.look())
        assert (state, landing) == (SourceState.RELEASED, TargetState.GONE)
