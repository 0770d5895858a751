"""What the source's site finds in a guest that leaves, and what its seal tells: two clouds in memory."""

import asyncio
import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.migration.test_cold import expect_rolled_back
from tests.unit.migration.test_inspecting import DEBIAN
from tests.unit.migration.test_sealing import Told, between
from tests.unit.migration.two_sites import between as sites_between
from tests.unit.migration.two_sites import two_sites
from tests.unit.migration.world import World

from crossport import errors
from crossport.certify.envelope import opened
from crossport.certify.sbom import packages_in, sbom_of
from crossport.certify.statement import seal_in
from crossport.convert.ovf_read import read_descriptor
from crossport.migration import survey
from crossport.migration.end import SURVEY, Ends
from crossport.migration.import_policy import POLICY
from crossport.migration.judge import dry_run
from crossport.migration.local_site import LocalSite
from crossport.migration.survey import Survey
from crossport.model.artifact import DiskRef, Place
from crossport.model.certified import Outcome, PartKind, Seal
from crossport.model.import_policy import ImportPolicy, OwnCheck, Partner
from crossport.model.inspection import Guest, GuestFacts, LookMode
from crossport.model.run import Act, Mode, RunState
from crossport.model.sealing import SealedImage
from crossport.model.vm import VM
from crossport.spi.inspect import Found
from crossport.testing.inspector import MemoryInspector
from crossport.testing.run import Killed, KillPoint

STOPPED, PACKAGES, MALWARE = survey.STOPPED, OwnCheck.PACKAGES.value, OwnCheck.MALWARE.value
NO_CLAMD = errors.Refused("image.scan.unset", "There is no clamd.", remedy="Set clamd.")
NO_APPLIANCE = errors.Refused("inspect.appliance.missing", "There is none.", remedy="Make one.")
FOUND = errors.Refused("image.malware", "clamd finds Eicar in 0/a.", remedy="Clean the guest.")
GONE = errors.Unavailable("inspect.worker.gone", "The worker died.")


class Sealed:
    """The images that a site sealed; their seals are read as whoever gets them reads them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.images: list[SealedImage] = []

    async def seal(self, act: Act, cloud: str, vm: VM, moved: Told, importer: str) -> SealedImage:
        self.images.append(await self._world.site.seal(act, cloud, vm, moved, importer))
        return self.images[-1]

    def last(self) -> Seal:
        return seal_in(opened(base64.b64decode(self.images[-1].envelope)).payload)

    def checks(self) -> dict[str, Outcome]:
        return {one.name: one.outcome for one in self.last().manifest.checks}

    def guest(self) -> GuestFacts | None:
        return read_descriptor(base64.b64decode(self.images[-1].descriptor)).appliance.guest


async def looking(
    world: World, mode: LookMode = LookMode.AUTO, guest: Guest = DEBIAN, **rules: Any
) -> Sealed:
    """Let the site look into guests that leave it, where it finds ``guest``; ``rules`` are of the policy."""
    world.inspector.guest, world.inspector.scan_fault = guest, NO_CLAMD
    world.site = LocalSite("here", replace(world.site_parts, look=mode))
    policy = ImportPolicy(site="here", partners=(Partner(site="here"),), **rules)
    await world.documents.put(POLICY, "here", policy)
    sealed = Sealed(world)
    between(world, seal=sealed.seal)
    return sealed


def hangs(world: World, *, at_scan: bool = False) -> None:
    """Let a look, or the scan in one, never end."""
    look = world.inspector.look

    async def hanging(
        disks: tuple[DiskRef, ...], place: Place, *, scan: bool = False, found: Found | None = None
    ) -> Guest:
        if at_scan:
            told = await look(disks, place, scan=scan, found=found)
            if not scan:
                return told
        await asyncio.Event().wait()
        raise AssertionError

    world.inspector.look = hanging


def fails(world: World, fault: errors.Error, *, at_scan: bool = False) -> None:
    """Let every look, or every scan in one, raise ``fault``."""
    look = world.inspector.look

    async def failing(
        disks: tuple[DiskRef, ...], place: Place, *, scan: bool = False, found: Found | None = None
    ) -> Guest:
        if at_scan:
            told = await look(disks, place, scan=scan, found=found)
            if not scan:
                return told
        raise fault

    world.inspector.look = failing


def shows_less(world: World) -> None:
    """Let the first look, the source's, find a package less than the guest has."""
    look = world.inspector.look

    async def first(
        disks: tuple[DiskRef, ...], place: Place, *, scan: bool = False, found: Found | None = None
    ) -> Guest:
        guest = world.inspector.guest
        if not world.inspector.looks:
            world.inspector.guest = replace(guest, packages=guest.packages[:1])
        try:
            return await look(disks, place, scan=scan, found=found)
        finally:
            world.inspector.guest = guest

    world.inspector.look = first


async def test_a_seal_holds_the_sbom_of_the_guest_and_how_the_checks_ended(world: World):
    sealed = await looking(world)
    report = await world.migrate()
    assert report.outcome is RunState.DONE
    part = sealed.last().manifest.part(PartKind.SBOM)
    assert part is not None
    assert base64.b64decode(sealed.images[-1].sbom) == sbom_of(DEBIAN)
    assert sealed.checks() == {STOPPED: Outcome.PASSED, PACKAGES: Outcome.PASSED}
    assert report.surveyed is not None
    words = report.surveyed.words()
    assert (report.surveyed.sbom, words) == (part.sha256, "Debian 12, 2 packages, sealed SBOM")
    assert report.sealed is not None
    assert 16 in {step.step for step in report.sealed.steps}
    assert any(words in event.text for event in world.context.events)


async def test_the_descriptor_says_what_the_guest_is(world: World):
    sealed = await looking(world)
    await world.migrate()
    assert b'OperatingSystemSection ovf:id="96"' in base64.b64decode(sealed.images[-1].descriptor)
    assert sealed.guest() == GuestFacts(
        system="debian", release="12", title="Debian 12", architecture="amd64", hostname="web", agent=False
    )


async def test_without_a_look_the_seal_says_nothing_of_the_guest(world: World):
    sealed = await looking(world, LookMode.NEVER)
    report = await world.migrate()
    assert (report.outcome, report.surveyed, world.inspector.looks) == (RunState.DONE, None, [])
    assert (sealed.checks(), sealed.images[-1].sbom) == ({STOPPED: Outcome.PASSED}, "")
    assert b"OperatingSystem" not in base64.b64decode(sealed.images[-1].descriptor)
    assert sealed.guest() is None


async def test_what_a_hostile_guest_calls_itself_is_bounded_and_plain(world: World):
    evil = "\x1b]0;x\x07\u202e" + "a" * 300
    sealed = await looking(world, guest=replace(DEBIAN, hostname=evil, title=evil))
    assert (await world.migrate()).outcome is RunState.DONE
    guest = sealed.guest()
    assert guest is not None
    assert (guest.hostname.isprintable(), len(guest.hostname)) == (True, 253)
    assert guest.title.isprintable()


@pytest.mark.parametrize("name", [STOPPED, PACKAGES])
async def test_a_check_that_the_policy_requires_of_the_seal_lets_the_guest_in(world: World, name: str):
    await looking(world, required_checks=(name,))
    assert (await world.migrate()).outcome is RunState.DONE


async def test_a_guest_that_cannot_be_read_is_sealed_as_such(world: World):
    sealed = await looking(world, guest=Guest(unread=("vda2",)))
    report = await world.migrate()
    assert report.outcome is RunState.DONE
    assert sealed.checks() == {STOPPED: Outcome.PASSED, PACKAGES: Outcome.NOT_DONE}
    assert report.surveyed is not None
    assert "vda2" in report.surveyed.why


async def test_where_its_packages_are_asked_for_one_that_cannot_be_read_stays_out(world: World):
    await looking(world, guest=Guest(unread=("vda2",)), required_checks=(PACKAGES,))
    report = await world.migrate()
    await expect_rolled_back(world, report, "policy.check.failed")
    assert "vda2" in report.text


async def test_what_the_operator_wants_read_is_not_sealed_unread(world: World):
    await looking(world, LookMode.REQUIRED, Guest(unread=("vda2",)))
    report = await world.migrate()
    await expect_rolled_back(world, report, "image.unsurveyed")
    assert "vda2" in report.text


@pytest.mark.parametrize(
    ("mode", "rules", "code"),
    [
        (LookMode.REQUIRED, {}, "source.look.unable"),
        (LookMode.AUTO, {"sbom_required": True}, "policy.sbom.missing"),
        (LookMode.NEVER, {"sbom_required": True}, "policy.sbom.missing"),
        (LookMode.AUTO, {"required_checks": (PACKAGES,)}, "policy.check.missing"),
        (LookMode.NEVER, {"required_checks": (MALWARE,)}, "policy.check.missing"),
    ],
)
async def test_where_nobody_can_look_nothing_is_touched(
    world: World, mode: LookMode, rules: dict[str, Any], code: str
):
    await looking(world, mode, **rules)
    world.inspector.fault = NO_APPLIANCE
    found = (await dry_run(world.request(), world.parts)).findings
    assert code in {one.code for one in found}
    with pytest.raises(errors.Blocked):
        await world.migrate()
    assert "export" not in world.context.calls


async def test_the_dry_run_says_what_the_seal_will_tell(world: World):
    await looking(world)
    found = {one.code: one.text for one in (await dry_run(world.request(), world.parts)).findings}
    assert PACKAGES in found["source.look.planned"]
    assert MALWARE not in found["source.look.planned"]
    assert world.inspector.looks == []


async def test_a_look_that_hangs_does_not_hold_up_a_run_for_long(world: World):
    sealed = await looking(world)
    hangs(world)
    report = await world.migrate()
    assert (report.outcome, sealed.checks()) == (RunState.DONE, {STOPPED: Outcome.PASSED})
    assert report.surveyed is not None
    assert "behind the copy" in report.surveyed.why


async def test_what_was_found_before_a_scan_hangs_is_sealed(world: World):
    sealed = await looking(world)
    world.inspector.scan_fault = None
    hangs(world, at_scan=True)
    assert (await world.migrate()).outcome is RunState.DONE
    assert sealed.images[-1].sbom
    assert sealed.checks() == {STOPPED: Outcome.PASSED, PACKAGES: Outcome.PASSED}


async def test_a_copy_that_fails_ends_the_look_beside_it(world: World):
    await looking(world, LookMode.REQUIRED)
    hangs(world)
    world.mover.fail_times = 99
    await expect_rolled_back(world, await world.migrate(), "transfer.worker.gone")


async def test_a_run_waits_for_a_look_that_the_importer_has_to_have(world: World):
    await looking(world, sbom_required=True)
    look, ended = world.inspector.look, asyncio.Event()

    async def slow(
        disks: tuple[DiskRef, ...], place: Place, *, scan: bool = False, found: Found | None = None
    ) -> Guest:
        await asyncio.sleep(0.05)
        ended.set()
        return await look(disks, place, scan=scan, found=found)

    world.inspector.look = slow
    report = await world.migrate()
    assert (report.outcome, ended.is_set()) == (RunState.DONE, True)
    assert report.surveyed is not None
    assert report.surveyed.sbom


async def test_a_clean_guest_is_sealed_as_scanned(world: World):
    sealed = await looking(world, required_checks=(MALWARE,))
    world.inspector.scan_fault = None
    report = await world.migrate()
    assert (report.outcome, sealed.checks()[MALWARE]) == (RunState.DONE, Outcome.PASSED)
    assert report.surveyed is not None
    assert report.surveyed.words().endswith("malware passed")


async def test_the_source_looks_once_for_its_packages_and_its_scan(world: World):
    sealed = await looking(world)
    world.inspector.scan_fault = None
    assert (await world.migrate()).outcome is RunState.DONE
    assert len(world.inspector.looks) == 1
    assert sealed.checks() == {STOPPED: Outcome.PASSED, PACKAGES: Outcome.PASSED, MALWARE: Outcome.PASSED}


async def test_a_clamd_that_goes_away_in_the_scan_takes_nothing_from_what_was_read(world: World):
    sealed = await looking(world)
    world.inspector.scan_fault = None
    fails(world, GONE, at_scan=True)
    assert (await world.migrate()).outcome is RunState.DONE
    assert base64.b64decode(sealed.images[-1].sbom) == sbom_of(DEBIAN)
    assert sealed.checks()[MALWARE] is Outcome.NOT_DONE


async def test_a_scan_that_clamds_limits_forbid_is_told_and_not_taken_for_one_that_nobody_wants(world: World):
    sealed = await looking(world)
    world.inspector.scan_fault = errors.Refused("image.scan.limit", "clamd takes less.", remedy="Raise it.")
    report = await world.migrate()
    assert (report.outcome, sealed.checks()[MALWARE]) == (RunState.DONE, Outcome.NOT_DONE)


async def test_malware_at_the_source_is_sealed_and_keeps_the_guest_out(world: World):
    sealed = await looking(world, required_checks=(MALWARE,))
    world.inspector.scan_fault = None
    fails(world, FOUND, at_scan=True)
    report = await world.migrate()
    await expect_rolled_back(world, report, "policy.check.failed")
    assert sealed.checks()[MALWARE] is Outcome.FAILED
    assert "Eicar" in report.text


async def test_a_warm_migration_looks_only_where_somebody_has_to_have_it(world: World):
    sealed = await looking(world)
    report = await world.migrate(mode=Mode.WARM)
    assert (report.outcome, report.surveyed, sealed.images[-1].sbom) == (RunState.DONE, None, "")
    assert "source.look.omitted" in {one.code for one in report.findings}


async def test_the_look_of_a_warm_migration_is_at_the_stopped_disks(world: World):
    await looking(world, sbom_required=True)
    look, fenced = world.inspector.look, list[bool]()

    async def seen(
        disks: tuple[DiskRef, ...], place: Place, *, scan: bool = False, found: Found | None = None
    ) -> Guest:
        fenced.append((await world.source_vm()).fenced)
        return await look(disks, place, scan=scan, found=found)

    world.inspector.look = seen
    report = await world.migrate(mode=Mode.WARM)
    assert (report.outcome, fenced) == (RunState.DONE, [True])


@pytest.mark.parametrize("mode", [Mode.COLD, Mode.WARM])
async def test_a_test_migration_is_sealed_as_a_copy_of_what_may_go_on(world: World, mode: Mode):
    sealed = await looking(world)
    assert (await world.migrate(mode=mode, test=True)).outcome is RunState.DONE
    assert sealed.checks() == {STOPPED: Outcome.NOT_DONE, PACKAGES: Outcome.PASSED}


async def test_where_an_sbom_is_required_one_that_is_not_the_guests_keeps_it_out(world: World):
    """The importer reads the guest itself, and finds one package more than the exporter sealed."""
    await looking(world, own_checks=(OwnCheck.PACKAGES,), sbom_required=True)
    shows_less(world)
    await expect_rolled_back(world, await world.migrate(), "inspect.sbom.differs")


async def test_elsewhere_a_sealed_sbom_that_differs_is_told(world: World):
    await looking(world, own_checks=(OwnCheck.PACKAGES,))
    shows_less(world)
    report = await world.migrate()
    assert report.outcome is RunState.DONE
    assert report.inspected is not None
    assert report.inspected.differing == 1


@pytest.mark.parametrize("point", list(KillPoint))
@pytest.mark.parametrize("required", [False, True])
async def test_a_service_that_dies_in_the_look_goes_on(world: World, point: KillPoint, required: bool):
    sealed = await looking(world, sbom_required=required)
    world.context.kill("survey", point)
    with pytest.raises(Killed):
        await world.migrate()
    report = await world.migrate(world.context.successor())
    assert report.outcome is RunState.DONE
    assert packages_in(base64.b64decode(sealed.images[-1].sbom)) == packages_in(sbom_of(DEBIAN))
    assert len(await world.running()) == 1


@pytest.mark.parametrize("required", [False, True])
async def test_a_worker_that_always_dies_is_told_or_brings_the_guest_back(world: World, required: bool):
    sealed = await looking(world, sbom_required=required)
    fails(world, GONE)
    report = await world.migrate()
    if required:
        await expect_rolled_back(world, report, GONE.code)
    else:
        assert (report.outcome, sealed.checks()) == (RunState.DONE, {STOPPED: Outcome.PASSED})
        assert report.surveyed is not None
        assert not report.surveyed.made


async def test_an_sbom_too_large_for_the_link_is_told(world: World, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(survey, "MAX_SBOM", 10)
    sealed = await looking(world)
    report = await world.migrate()
    assert (report.outcome, sealed.images[-1].sbom) == (RunState.DONE, "")
    assert sealed.checks()[PACKAGES] is Outcome.NOT_DONE


async def test_nothing_of_the_look_is_kept_once_the_run_is_forgotten(world: World):
    await looking(world)
    await world.migrate()
    assert (await world.documents.fetch(SURVEY, "run-1", Survey)).value.sbom
    await Ends(world.documents).forget("run-1")
    with pytest.raises(errors.NotFound):
        await world.documents.fetch(SURVEY, "run-1", Survey)


@pytest.mark.parametrize("initiator", ["a", "b"])
async def test_a_site_reads_its_guest_for_the_seal_whoever_makes_the_run(tmp_path: Path, initiator: str):
    two = await two_sites(tmp_path, initiator)
    two.a.inspector, two.a.look = MemoryInspector(DEBIAN), LookMode.AUTO
    policy = ImportPolicy(site="b", partners=(Partner(site="a", required_checks=(PACKAGES,)),))
    await two.b.documents.put(POLICY, "b", replace(policy, sbom_required=True))
    report = await two.world.migrate(None, **sites_between(initiator))
    assert report.outcome is RunState.DONE
    assert report.surveyed is not None
    assert report.surveyed.words() == "Debian 12, 2 packages, sealed SBOM"
    assert len(two.a.inspector.looks) == 1


async def test_a_partner_gets_no_seal_of_a_guest_that_has_to_be_read_and_was_not(tmp_path: Path):
    two = await two_sites(tmp_path, "b")
    two.a.inspector, two.a.look = MemoryInspector(Guest()), LookMode.REQUIRED
    report = await two.world.migrate(None, **sites_between("b"))
    assert (report.outcome, report.code) == (RunState.ROLLED_BACK, "image.unsurveyed")
