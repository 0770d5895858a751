"""A migration between two sites: each with its own documents, ledger and keys, either of them the initiator.

The real desk and the real remote site, over a link in this process.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.migration.two_sites import TwoSites, between, two_sites
from tests.unit.migration.world import disk_bytes

from crossport import errors
from crossport.migration.end import Ends
from crossport.migration.judge import assess, dry_run
from crossport.migration.partner.foreign import foreign_id
from crossport.migration.permit import SourceState, TargetState
from crossport.model.gateway import Presence
from crossport.model.permit import StatementKind
from crossport.model.request import DryRun, Verdict
from crossport.model.run import LedgerState, MigrationReport, Mode, RunState, WarmRules
from crossport.model.vm import PowerState
from crossport.testing.partner import Fate

INITIATORS = ("a", "b")


async def moved(two: TwoSites, initiator: str, **changes: Any) -> MigrationReport:
    return await two.world.migrate(None, **{**between(initiator), **changes})


@pytest.mark.parametrize("initiator", INITIATORS)
async def test_a_vm_goes_over_to_another_site(tmp_path: Path, initiator: str):
    two = await two_sites(tmp_path, initiator)
    report = await moved(two, initiator)
    assert report.outcome is RunState.DONE
    source, (copy,) = await two.world.source_vm(), await two.world.target_vms()
    assert (source.power, source.fenced) == (PowerState.STOPPED, True)
    assert (copy.power, copy.quarantined, copy.id) == (PowerState.RUNNING, False, report.vm_id)
    assert disk_bytes(two.world.beta, copy) == disk_bytes(two.world.alpha, source)
    assert report.left_behind == ()


@pytest.mark.parametrize("initiator", INITIATORS)
async def test_each_site_keeps_its_own_ledger_and_its_own_end(tmp_path: Path, initiator: str):
    two = await two_sites(tmp_path, initiator)
    await moved(two, initiator)
    runs = {"a": "run-1", "b": foreign_id("a", "run-1")}
    if initiator == "b":
        runs = {"a": foreign_id("b", "run-1"), "b": "run-1"}
    here, there = await two.a.ledger.entries(runs["a"]), await two.b.ledger.entries(runs["b"])
    assert {(one.cloud, one.state) for one in here} == {("alpha", LedgerState.REMOVED)}
    assert {(one.cloud, one.state) for one in there} == {("beta", LedgerState.KEPT)}
    hold = await Ends(two.a.documents).hold(runs["a"])
    assert hold is not None
    assert hold.state is SourceState.COMMITTED
    assert (await Ends(two.b.documents).landing(runs["b"])).state is TargetState.OPEN
    assert await Ends(two.b.documents).hold(runs["b"]) is None


async def test_what_the_source_s_end_kept_of_its_disks_is_forgotten_too(tmp_path: Path):
    two = await two_sites(tmp_path, "a")
    await moved(two, "a")
    assert "run-1" in two.world.mover.forgotten


@pytest.mark.parametrize("initiator", INITIATORS)
async def test_a_vm_comes_back_when_its_copy_is_not_well(tmp_path: Path, initiator: str):
    two = await two_sites(tmp_path, initiator, guest_health="bad-elsewhere")
    report = await moved(two, initiator)
    assert report.outcome is RunState.ROLLED_BACK
    source = await two.world.source_vm()
    assert (source.power, source.fenced) == (PowerState.RUNNING, False)
    assert await two.world.target_vms() == ()
    assert report.left_behind == ()


@pytest.mark.parametrize("initiator", INITIATORS)
async def test_a_running_vm_goes_over_to_another_site(tmp_path: Path, initiator: str):
    two = await two_sites(tmp_path, initiator)
    report = await moved(two, initiator, mode=Mode.WARM, warm=WarmRules(max_outage_s=60.0))
    assert report.outcome is RunState.DONE, report.text
    source, (copy,) = await two.world.source_vm(), await two.world.target_vms()
    assert disk_bytes(two.world.beta, copy) == disk_bytes(two.world.alpha, source)


@pytest.mark.parametrize("initiator", INITIATORS)
async def test_both_sites_keep_what_was_stated_and_signed(tmp_path: Path, initiator: str):
    two = await two_sites(tmp_path, initiator)
    await moved(two, initiator)
    one, other = (two.a, two.b) if initiator == "a" else (two.b, two.a)
    here = await one.peer.notary.evidence("run-1")
    there = await other.peer.notary.evidence(foreign_id(initiator, "run-1"))
    assert {one.signed for one in here} == {one.signed for one in there}
    stated = {(one.statement.site, one.statement.kind) for one in here}
    assert stated - {("b", StatementKind.OPENED)} == {
        ("a", StatementKind.STOPPED_AND_FENCED),
        ("b", StatementKind.PREPARED),
        ("a", StatementKind.START_PERMITTED),
    }
    assert (("b", StatementKind.OPENED) in stated) == (initiator == "a")  # nobody asks for it otherwise


async def dry(two: TwoSites) -> DryRun:
    return await dry_run(two.world.request(**between("a")), two.world.parts)


async def test_a_dry_run_proposes_what_there_is_at_the_partners_cloud(tmp_path: Path):
    found = await dry(await two_sites(tmp_path))
    assert found.verdict is Verdict.GO
    assert {"medium", "frontend", "ann-at-beta"} <= {one.target for one in found.mapping.choices}


def lost(from_: str, to: str, operation: str) -> Fate:
    del from_, to, operation
    return Fate(arrives=0)


async def newer(partner: object, content: bytes) -> bytes:
    raise errors.Conflict("message.version.newer", "b reads version 1.", remedy=errors.SAME_RELEASE)


Trouble = Callable[[TwoSites], Any]
TROUBLES: list[tuple[Trouble, str]] = [
    (lambda two: setattr(two.link, "fate", lost), "partner.end.away"),
    (lambda two: setattr(two.a.keys, "elsewhere", True), "partner.signer.elsewhere"),
    (lambda two: setattr(two.b.keys, "elsewhere", True), "partner.signer.elsewhere"),
    (lambda two: two.b.link.revoke("a"), "partner.end.refused"),
    (lambda two: two.a.link.revoke("b"), "partner.end.refused"),
    (lambda two: two.b.link.allow("a"), "partner.end.refused"),
    (lambda two: two.b.link.answers.update({"site.describe": newer}), "partner.release.apart"),
    (lambda two: two.b.link.answers.clear(), "partner.release.apart"),
]


@pytest.mark.parametrize(("trouble", "code"), TROUBLES)
async def test_what_keeps_a_partner_from_being_the_target_is_a_finding(
    tmp_path: Path, trouble: Trouble, code: str
):
    two = await two_sites(tmp_path)
    trouble(two)
    found = await dry(two)
    assert (found.findings[0].code, found.findings[0].subject) == (code, "partner b")
    assert found.findings[0].remedy
    assert found.verdict is Verdict.FIX
    assessment = await assess("alpha", "beta@b", await two.world.alpha.vms(), two.world.parts)
    assert [one.findings[0].code for one in assessment.vms] == [code]


@pytest.mark.parametrize(("end", "subnet"), [("a", "VMExportSubnet"), ("b", "VMImportSubnet")])
@pytest.mark.parametrize(
    ("presence", "code"),
    [
        (Presence.AWAY, "gateway.away"),
        (Presence.DRAINING, "gateway.draining"),
        (Presence.APART, "gateway.release.apart"),
        (Presence.MUTE, "gateway.release.claims"),
    ],
)
async def test_each_site_tells_of_its_own_gateway(
    tmp_path: Path, end: str, subnet: str, presence: Presence, code: str
):
    """The other one cannot see it: it would be met in the copy, when the source is stopped."""
    two = await two_sites(tmp_path)
    site = two.a if end == "a" else two.b
    site.gateway = replace(site.gateway, presence=presence)
    found = await dry(two)
    told = [one for one in found.findings if one.code.startswith("gateway")]
    assert [(one.code, one.subject) for one in told] == [(code, f"gateway {end}-{subnet}")]
    assert found.verdict is Verdict.FIX
    assessment = await assess("alpha", "beta@b", await two.world.alpha.vms(), two.world.parts)
    assert {one.code for vm in assessment.vms for one in vm.findings if one.subject[:7] == "gateway"} == {
        code
    }


@pytest.mark.parametrize("initiator", INITIATORS)
@pytest.mark.parametrize("end", ["a", "b"])
async def test_a_vm_is_not_stopped_while_either_signer_is_away(tmp_path: Path, initiator: str, end: str):
    """Who verifies and signs is started before the outage, at both sites."""
    two = await two_sites(tmp_path, initiator)
    (two.a if end == "a" else two.b).keys.sealer.away = True
    report = await moved(two, initiator)
    assert (report.outcome, report.outage_s) == (RunState.ROLLED_BACK, 0.0)
    assert not [one for one in two.world.context.calls if one.startswith(("export", "copy"))]
    assert (await two.world.source_vm()).power is PowerState.RUNNING
