"""What the target's own look into a guest stands in the way of, between two clouds in memory."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.migration.test_cold import expect_rolled_back
from tests.unit.migration.test_sealing import between
from tests.unit.migration.world import TWIN, World, new_world

from crossport import errors
from crossport.certify.sbom import sbom_of
from crossport.migration.end import Ends
from crossport.migration.grant import lost
from crossport.migration.guest_facts import facts_of
from crossport.migration.import_policy import POLICY
from crossport.migration.inspecting import GuestInspection, SealedGuest
from crossport.model.artifact import Artifact, Copied, Digest, DiskRef, Moved, Place, Role
from crossport.model.certified import Outcome
from crossport.model.grant import Loss
from crossport.model.import_policy import ForbiddenPackage, ImportPolicy, OwnCheck, Partner
from crossport.model.inspection import Guest, GuestPackage, Inspected, PackageKind
from crossport.model.run import Act, Mode, RunState
from crossport.model.vm import PowerState
from crossport.spi.inspect import Found
from crossport.testing.mover import CHUNK

XZ = GuestPackage(kind=PackageKind.DEB, name="xz-utils", version="5.6.1-1", architecture="amd64")
BASH = GuestPackage(kind=PackageKind.DEB, name="bash", version="5.2-1", architecture="amd64")
DEBIAN = Guest(
    system="debian", release="12", title="Debian 12", hostname="web", listed=True, packages=(BASH, XZ)
)
BACKDOOR = (ForbiddenPackage(name="xz-utils", versions=("5.6.*",), why="CVE-2024-3094"),)


async def rule(world: World, **rules: Any) -> None:
    policy = ImportPolicy(site="here", partners=(Partner(site="here"),), **rules)
    await world.documents.put(POLICY, "here", policy)
    world.inspector.guest, world.inspector.scan_fault = DEBIAN, None


async def test_no_guest_is_looked_into_unless_the_policy_asks(world: World):
    report = await world.migrate()
    assert (report.outcome, report.inspected) == (RunState.DONE, Inspected())
    assert world.inspector.looks == []


async def test_the_report_tells_what_was_found_in_the_disks_that_arrived(world: World):
    await rule(world, own_checks=(OwnCheck.PACKAGES,))
    report = await world.migrate()
    assert report.outcome is RunState.DONE
    assert report.inspected is not None
    assert (report.inspected.title, report.inspected.hostname, report.inspected.package_count) == (
        "Debian 12",
        "web",
        2,
    )
    (disks,) = world.inspector.looks
    assert len(disks) == len([one for one in report.moved if one.artifact.startswith("disk")])


async def test_a_forbidden_package_ends_with_the_source_as_it_was(world: World):
    await rule(world, own_checks=(OwnCheck.PACKAGES,), forbidden_packages=BACKDOOR)
    await expect_rolled_back(world, await world.migrate(), "policy.package.forbidden")


async def test_a_guest_that_cannot_be_read_does_not_come_in(world: World):
    await rule(world, own_checks=(OwnCheck.PACKAGES,), forbidden_packages=BACKDOOR)
    world.inspector.guest = Guest(unread=("vda2",))
    report = await world.migrate()
    await expect_rolled_back(world, report, "inspect.packages.unknown")
    assert "vda2" in report.text


async def test_without_an_appliance_nothing_is_touched(world: World):
    await rule(world, own_checks=(OwnCheck.PACKAGES,))
    world.inspector.fault = errors.Refused("inspect.appliance.missing", "There is none.", remedy="Make one.")
    with pytest.raises(errors.Blocked, match="packages"):
        await world.migrate()
    assert "export" not in world.context.calls


async def test_a_run_that_leaves_the_look_out_is_looked_into_all_the_same(world: World):
    await rule(world, own_checks=(OwnCheck.PACKAGES,), forbidden_packages=BACKDOOR)

    async def lied(act: Act, cloud: str, moved: tuple[Moved, ...]) -> Inspected:
        del act, cloud, moved
        return Inspected(made=True)

    between(world, inspect=lied)
    await expect_rolled_back(world, await world.migrate(), "policy.package.forbidden")


async def test_a_guest_is_looked_into_once_however_often_it_is_asked(world: World):
    await rule(world, own_checks=(OwnCheck.PACKAGES,))
    site, twice = world.site, list[Inspected]()

    async def asked_twice(act: Act, cloud: str, moved: tuple[Moved, ...]) -> Inspected:
        twice.extend([await site.inspect(act, cloud, moved), await site.inspect(act, cloud, moved)])
        return twice[0]

    between(world, inspect=asked_twice)
    assert (await world.migrate()).outcome is RunState.DONE
    assert twice[0] == twice[1]
    assert len(world.inspector.looks) == 1


async def test_nothing_is_looked_into_before_it_was_verified(world: World):
    await rule(world, own_checks=(OwnCheck.PACKAGES,))
    report = await world.migrate()
    act = Act(run="run-2", step="inspect", epoch=1)
    with pytest.raises(errors.Refused) as caught:
        await world.site.inspect(act, "beta", report.moved)
    assert caught.value.code == "image.unsealed"


async def looked(world: World, sealed: Guest, told: Guest | None = None, **rules: Any) -> Inspected:
    """Return what is found in a Debian that came with the SBOM of ``sealed`` and the facts of ``told``."""
    await rule(world, own_checks=(OwnCheck.PACKAGES,), **rules)
    disk = Artifact(role=Role.DISK, name="disk-0", ref=DiskRef(kind="memory", locator="a", size=1))
    place = Place(cloud="beta", subnet="import", address="10.0.0.1")
    looking = GuestInspection(world.site.trust, world.inspector)
    return await looking.inspect((disk,), place, SealedGuest(sbom_of(sealed), facts_of(told or sealed)))


async def test_a_sealed_sbom_that_is_not_the_guests_is_told(world: World):
    assert (await looked(world, DEBIAN, sbom_required=True)).differing == 0
    assert (await looked(world, replace(DEBIAN, packages=(BASH,)))).differing == 1


async def test_where_an_sbom_is_required_it_must_be_the_guests(world: World):
    with pytest.raises(errors.Refused) as caught:
        await looked(world, replace(DEBIAN, packages=(BASH,)), sbom_required=True)
    assert caught.value.code == "inspect.sbom.differs"


LIES = {
    "system": replace(DEBIAN, system="ubuntu"),
    "release": replace(DEBIAN, release="11"),
    "title": replace(DEBIAN, title="Debian 13"),
    "architecture": replace(DEBIAN, packages=(replace(BASH, architecture="arm64"),)),
    "hostname": replace(DEBIAN, hostname="db"),
    "agent": replace(DEBIAN, packages=(*DEBIAN.packages, replace(BASH, name="qemu-guest-agent"))),
}


@pytest.mark.parametrize("fact", LIES)
async def test_a_fact_of_the_sealed_descriptor_that_is_not_so_is_told_and_refused_where_it_counts(
    world: World, fact: str
):
    found = await looked(world, DEBIAN, told=LIES[fact])
    assert found.otherwise == (fact,)
    assert f"tells otherwise: {fact}" in found.steps[-1]
    with pytest.raises(errors.Refused, match=fact) as caught:
        await looked(world, DEBIAN, told=LIES[fact], sbom_required=True)
    assert caught.value.code == "inspect.facts.differ"


async def test_what_the_descriptor_does_not_tell_is_no_lie(world: World):
    silent = Guest(listed=False)
    found = await looked(world, DEBIAN, told=silent, sbom_required=True)
    assert (found.otherwise, found.steps[-1]) == (
        (),
        "facts that the sealed descriptor tells otherwise: none",
    )


AWAY = errors.Unavailable("image.scan.away", "clamd is away.", remedy="Start it.")
FOUND = errors.Refused("image.malware", "clamd finds Eicar in 0/a of the guest.", remedy="Clean the guest.")
SCAN = (OwnCheck.MALWARE,)


async def test_a_scanned_guest_comes_in_and_the_report_says_so(world: World):
    await rule(world, own_checks=(OwnCheck.PACKAGES, OwnCheck.MALWARE))
    report = await world.migrate()
    assert (report.outcome, len(world.inspector.looks)) == (RunState.DONE, 1)
    assert report.inspected is not None
    assert (report.inspected.scanned, report.inspected.package_count) == (1, 2)
    checks = (await Ends(world.documents).landing(report.run)).checks
    assert [(one.name, one.outcome) for one in checks] == [
        (OwnCheck.PACKAGES, Outcome.PASSED),
        (OwnCheck.MALWARE, Outcome.PASSED),
    ]


async def test_a_scan_alone_asks_for_no_packages(world: World):
    await rule(world, own_checks=SCAN)
    world.inspector.guest = Guest(title="FreeDOS")
    report = await world.migrate()
    assert report.outcome is RunState.DONE
    assert report.inspected is not None
    assert (report.inspected.title, report.inspected.sbom, report.inspected.steps) == ("FreeDOS", "", ())


async def test_a_memory_that_nobody_can_scan_is_not_let_in_even_where_the_exporter_hides_that(tmp_path: Path):
    """The importer goes by what came, not by what was asked beforehand."""
    world = await new_world(tmp_path, beta=TWIN)
    await rule(world, own_checks=SCAN)
    with pytest.raises(errors.Blocked, match=r"vm\.memory\.unscanned"):
        await world.migrate(mode=Mode.SUSPEND)
    assert (await world.source_vm()).power is PowerState.RUNNING
    memory = Artifact(name="memory", role=Role.MEMORY, ref=DiskRef(kind="file", locator="/m", size=1))
    inspection = GuestInspection(world.site.trust, world.inspector)
    with pytest.raises(errors.Refused) as caught:
        await inspection.inspect((memory,), Place(cloud="beta", subnet="", address=""), SealedGuest())
    assert (caught.value.code, world.inspector.looks) == ("inspect.memory.unscanned", [])


async def test_malware_ends_with_the_source_as_it_was(world: World):
    await rule(world, own_checks=SCAN)
    look = world.inspector.look

    async def finding(
        disks: tuple[DiskRef, ...], place: Place, *, scan: bool = False, found: Found | None = None
    ) -> Guest:
        assert scan
        await look(disks, place, scan=scan, found=found)
        raise FOUND

    world.inspector.look = finding
    await expect_rolled_back(world, await world.migrate(), "image.malware")


async def test_a_part_of_a_disk_that_nobody_can_read_is_no_clean_one(world: World):
    await rule(world, own_checks=SCAN)
    world.inspector.guest = replace(DEBIAN, unread=("vda2",))
    report = await world.migrate()
    await expect_rolled_back(world, report, "image.scan.unread")
    assert "vda2" in report.text


@pytest.mark.parametrize("fault", [AWAY, errors.Refused("image.scan.unset", "None.", remedy="Set clamd.")])
async def test_without_a_clamd_nothing_is_touched(world: World, fault: errors.Error):
    await rule(world, own_checks=SCAN)
    world.inspector.scan_fault = fault
    with pytest.raises(errors.Blocked, match="malware"):
        await world.migrate()
    assert "export" not in world.context.calls


async def test_one_that_looks_into_guests_without_a_clamd_still_reads_packages(world: World):
    await rule(world, own_checks=(OwnCheck.PACKAGES,))
    world.inspector.scan_fault = AWAY
    assert (await world.migrate()).outcome is RunState.DONE


@pytest.mark.parametrize("reading", ["look", "digest"])
async def test_a_right_that_is_lost_ends_what_is_read_and_the_source_comes_back(world: World, reading: str):
    await rule(world, own_checks=(OwnCheck.PACKAGES,))
    ended: list[str] = []

    async def endless(*asked: object, **named: object) -> Any:
        del asked, named
        world.context.cancel(lost(Loss.REVOKED, "run-1"))
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(reading)

    if reading == "look":
        world.inspector.look = endless
    else:
        world.mover.digest = endless
    await expect_rolled_back(world, await world.migrate(), "grant.lost")
    assert ended == [reading]


async def test_a_copy_that_is_damaged_is_told_as_that_whatever_is_found_in_it(world: World):
    await rule(world, own_checks=(OwnCheck.PACKAGES,), forbidden_packages=BACKDOOR)
    digest, looked = world.mover.digest, asyncio.Event()
    look = world.inspector.look

    async def first(
        disks: tuple[DiskRef, ...], place: Place, *, scan: bool = False, found: Found | None = None
    ) -> Guest:
        looked.set()
        return await look(disks, place, scan=scan, found=found)

    async def damaged(
        ref: DiskRef, place: Place, chunk_size: int = CHUNK, copied: Copied | None = None
    ) -> Digest:
        await looked.wait()  # both go on at once
        return replace(await digest(ref, place, chunk_size, copied), root="ab" * 32)

    world.inspector.look, world.mover.digest = first, damaged
    await expect_rolled_back(world, await world.migrate(), "image.digest.mismatch")
