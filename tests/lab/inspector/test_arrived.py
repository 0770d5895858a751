"""A guest of a real cloud is read at both ends by the site itself, with real workers and appliance.

No guest is booted: the VM is off, and its disk was written by mke2fs.
"""

import asyncio
import base64
import contextlib
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.interop.clamd.daemon import EICAR, running_clamd
from tests.lab.local.clouds import act, connected, described, replaced
from tests.lab.transfer.transfer_lab import MachineClock

from crossport import errors
from crossport.certify.sbom import packages_in
from crossport.clouds.local import CloudSpec, LocalCloud, create, destroy
from crossport.gateway.claims import ClaimingMover
from crossport.inspector import Appliance, Clamd, GuestLook
from crossport.migration.end import Ends
from crossport.migration.import_policy import POLICY
from crossport.migration.local_site import LocalSite, SiteParts
from crossport.model.artifact import Export, ExportPoint, Moved, Progress, Role, Way
from crossport.model.certified import Outcome
from crossport.model.import_policy import ForbiddenPackage, ImportPolicy, OwnCheck, Partner
from crossport.model.inspection import LookMode
from crossport.model.sealing import SealedImage
from crossport.model.vm import Disk
from crossport.spi.cloud import Cloud, RoomFor
from crossport.spi.secret import Secret
from crossport.testing.document import MemoryDocuments
from crossport.testing.run import DirectLedger
from crossport.testing.sealer import MemorySealer
from crossport.transfer.confined import LocalHost, Tool
from crossport.transfer.simple import SimpleMover
from crossport.units import MIB

pytestmark = pytest.mark.qemu

STATUS = "var/lib/dpkg/status"
XZ = "Package: xz-utils\nStatus: install ok installed\nArchitecture: amd64\nVersion: 5.6.1-1\n\n"
POLICY_OF_HERE = ImportPolicy(
    site="here",
    partners=(Partner(site="here"),),
    own_checks=(OwnCheck.PACKAGES,),
    forbidden_packages=(ForbiddenPackage(name="xz-utils", versions=("5.6.*",)),),
)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """Keep two clouds."""
    folder = tmp_path_factory.mktemp("clouds")
    for name in ("alpha", "beta"):
        spec = CloudSpec(name=name, accelerator="tcg", network="user")
        create(folder / name, spec, Secret(f"the token of {folder / name}"))
    yield folder
    for name in ("alpha", "beta"):
        asyncio.run(destroy(folder / name))


async def pieces(path: Path) -> AsyncIterator[bytes]:
    yield path.read_bytes()


async def exported(alpha: LocalCloud, file: Path) -> Export:
    """Make a VM whose disk is ``file``, and open it for reading."""
    await alpha.add_image("base", "raw", pieces(file))
    disk = Disk(id="", name="", size=16 * MIB, storage_class="raw")
    vm = replaced(described("web", disk=disk), keys=())
    made = await alpha.create_vm(act("make"), vm, "base", power_on=False)
    return await alpha.export(act("export"), made.id, ExportPoint.STOPPED)


async def arrived(site: LocalSite, mover: ClaimingMover, export: Export) -> tuple[Moved, SealedImage]:
    """Bring the disk to beta, sealed and admitted, with whatever the source looks at beside it."""
    source = export.artifacts[0]
    room = RoomFor(name="disk-0", role=Role.DISK, size=source.ref.size, storage_class="raw")
    (target,) = await site.prepare_import(act("prepare"), "beta", (room,))
    read = await site.ticket(act("copy"), "alpha", source, Way.READ)
    write = await site.ticket(act("copy"), "beta", target, Way.WRITE)
    found, _ = await asyncio.gather(
        mover.move(read, write, ignore), site.survey(act("survey"), "alpha", export.artifacts)
    )
    certified = await site.seal(act("seal"), "alpha", export.vm, (found,), "here")
    await site.admit(act("admit"), "beta", certified, (found,))
    return found, certified


def ignore(progress: Progress) -> None:
    """Do not look at the progress."""


@contextlib.asynccontextmanager
async def standing(
    appliance: Appliance, folder: Path, look: LookMode, clamd: str = ""
) -> AsyncGenerator[tuple[LocalSite, ClaimingMover, LocalCloud, MemoryDocuments]]:
    """Keep a site with both clouds; it looks into guests that leave it as ``look`` says.

    At the end nothing is left of what arrived.
    """
    paths = (appliance.kernel, appliance.ram_disk)

    async def tool() -> Tool:
        return Tool(module="crossport.inspector.worker", arguments=(*map(str, paths), "tcg"), read=paths)

    clouds = {name: await connected(folder / name) for name in ("alpha", "beta")}

    async def connect(name: str) -> Cloud:
        return clouds[name]

    sealer, clock, documents = MemorySealer("here"), MachineClock(), MemoryDocuments()
    host = LocalHost(folder / "journals", inspecting=tool)
    mover = ClaimingMover(SimpleMover(host, clock), sealer)
    site = LocalSite(
        "here",
        SiteParts(
            tenant="acme",
            connect=connect,
            documents=documents,
            ledger=DirectLedger(),
            mover=mover,
            sealer=sealer,
            clock=clock,
            token=iter(map(str, range(100))).__next__,
            inspector=GuestLook(host, tool, limit_s=100.0, scanner=Clamd(clamd) if clamd else None),
            look=look,
        ),
    )
    try:
        yield site, mover, clouds["alpha"], documents
        assert (await site.clean(act("clean"), "beta", keep_vm=False)).left == ()
    finally:
        for cloud in clouds.values():
            await cloud.close()


async def disk(folder: Path, files: dict[str, bytes] | None = None) -> Path:
    """Write the disk of a guest with these files; without any, with one package."""
    for name, content in (files or {STATUS: XZ.encode()}).items():
        (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tree" / name).write_bytes(content)
    file = folder / "disk.raw"
    written = ["mke2fs", "-q", "-t", "ext4", "-d", folder / "tree", file, "16M"]
    await asyncio.to_thread(subprocess.run, written, check=True, capture_output=True)
    return file


async def test_a_forbidden_package_is_found_in_what_arrived_whatever_the_seal_says(
    appliance: Appliance, folder: Path, tmp_path: Path
):
    async with standing(appliance, folder, LookMode.NEVER) as (site, mover, alpha, documents):
        await documents.put(POLICY, "here", POLICY_OF_HERE)
        found, _ = await arrived(site, mover, await exported(alpha, await disk(tmp_path)))
        with pytest.raises(errors.Refused, match=r"xz-utils 5\.6\.1-1") as caught:
            await site.verify(act("verify"), "beta", (found,))
    assert caught.value.code == "policy.package.forbidden"


async def test_the_source_reads_its_guest_beside_the_copy_and_seals_what_it_found(
    appliance: Appliance, folder: Path, tmp_path: Path
):
    """The look and the copy read the same export at the same time; the importer requires what was found."""
    policy = replace(POLICY_OF_HERE, required_checks=("packages",), sbom_required=True, forbidden_packages=())
    async with standing(appliance, folder, LookMode.AUTO) as (site, mover, alpha, documents):
        await documents.put(POLICY, "here", policy)
        _, image = await arrived(site, mover, await exported(alpha, await disk(tmp_path)))
    assert [(one.name, one.version) for one in packages_in(base64.b64decode(image.sbom))] == [
        ("xz-utils", "5.6.1-1")
    ]


@pytest.fixture(scope="module")
def clamd(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with running_clamd(tmp_path_factory.mktemp("clamd")) as place:
        yield str(place)


async def test_malware_is_found_in_what_arrived(
    appliance: Appliance, folder: Path, tmp_path: Path, clamd: str
):
    async with standing(appliance, folder, LookMode.NEVER, clamd) as (site, mover, alpha, documents):
        await documents.put(POLICY, "here", replace(POLICY_OF_HERE, own_checks=(OwnCheck.MALWARE,)))
        guest = await disk(tmp_path, {"tmp/mail": EICAR})
        found, _ = await arrived(site, mover, await exported(alpha, guest))
        with pytest.raises(errors.Refused, match="tmp/mail") as caught:
            await site.verify(act("verify"), "beta", (found,))
    assert caught.value.code == "image.malware"


async def test_malware_at_the_source_is_sealed_beside_the_packages_of_the_same_look(
    appliance: Appliance, folder: Path, tmp_path: Path, clamd: str
):
    async with standing(appliance, folder, LookMode.AUTO, clamd) as (site, _mover, alpha, _documents):
        guest = await disk(tmp_path, {STATUS: XZ.encode(), "tmp/mail": EICAR})
        told = await site.survey(act("survey"), "alpha", (await exported(alpha, guest)).artifacts)
    assert {one.name: one.outcome for one in told.checks} == {
        "packages": Outcome.PASSED,
        "malware": Outcome.FAILED,
    }
    assert (told.package_count, "tmp/mail" in told.checks[-1].detail) == (1, True)


async def test_a_guest_that_passes_every_check_comes_in(
    appliance: Appliance, folder: Path, tmp_path: Path, clamd: str
):
    async with standing(appliance, folder, LookMode.NEVER, clamd) as (site, mover, alpha, documents):
        await documents.put(POLICY, "here", replace(POLICY_OF_HERE, own_checks=tuple(OwnCheck)))
        guest = await disk(tmp_path, {STATUS: XZ.replace("5.6.1", "5.4.1").encode()})
        found, _ = await arrived(site, mover, await exported(alpha, guest))
        await site.verify(act("verify"), "beta", (found,))
        looked = await site.inspect(act("inspect"), "beta", (found,))
        landing = await Ends(documents).landing(act("verify").run)
    assert (looked.package_count, looked.scanned) == (1, 1)
    assert [one.name for one in landing.checks] == list(OwnCheck)


async def test_room_that_was_made_twice_for_one_disk_is_taken_for_neither(
    appliance: Appliance, folder: Path, tmp_path: Path
):
    """The cloud tells both by their ids; what was looked into might not be what is started."""
    async with standing(appliance, folder, LookMode.NEVER) as (site, mover, alpha, documents):
        await documents.put(POLICY, "here", POLICY_OF_HERE)
        guest = await disk(tmp_path, {"etc/hostname": b"web"})
        found, _ = await arrived(site, mover, await exported(alpha, guest))
        image = (await Ends(documents).landing(act("again").run)).image
        assert image is not None
        room = RoomFor(name="disk-0", role=Role.DISK, size=16 * MIB, storage_class="raw")
        await site.prepare_import(act("again"), "beta", (room,))
        await Ends(documents).admitted(act("again").run, image)
        with pytest.raises(errors.Refused) as caught:
            await site.verify(act("verify"), "beta", (found,))
    assert caught.value.code == "image.artifact.twice"
