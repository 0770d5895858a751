"""A VM goes to a cloud that publishes the image it was made from: what it still has of that is not sent.

Both clouds are real, and so are the workers; nothing of this tenant was ever moved to that cloud. No guest is
booted: what one would have changed is written into its disk.
"""

import asyncio
from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest
from tests.lab.local.clouds import act, connected, described, replaced
from tests.lab.transfer.transfer_lab import MachineClock

from crossport.clouds.local import CloudSpec, LocalCloud, create, destroy
from crossport.clouds.local.spec import Layout
from crossport.gateway.claims import ClaimingMover
from crossport.hypervisor import nbd
from crossport.migration.local_site import LocalSite, SiteParts
from crossport.model.artifact import Artifact, Export, ExportPoint, Moved, Progress, Role, Way
from crossport.model.vm import Disk
from crossport.spi.cloud import Cloud, RoomFor
from crossport.spi.secret import Secret
from crossport.testing.conformance.block import noise
from crossport.testing.document import MemoryDocuments
from crossport.testing.run import DirectLedger
from crossport.testing.sealer import MemorySealer
from crossport.transfer.confined import LocalHost
from crossport.transfer.name_keys import NameKeys
from crossport.transfer.names import BLOCK
from crossport.transfer.simple import SimpleMover
from crossport.transfer.stock_table import SEGMENT
from crossport.transfer.stocks import Stocks

pytestmark = pytest.mark.qemu

MIB = 1 << 20
BASE = noise(8 * MIB)
CHANGED = (0, 5, 700, 1400)
CHUNK = 256 << 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """Keep two clouds; in both lies the image, in beta's store for each project that a test wants."""
    folder = tmp_path_factory.mktemp("clouds")
    for name in ("alpha", "beta"):
        spec = CloudSpec(name=name, accelerator="tcg", network="user", projects=("default", "umbrella"))
        create(folder / name, spec, Secret(f"the token of {folder / name}"))
    yield folder
    for name in ("alpha", "beta"):
        asyncio.run(destroy(folder / name))


async def image() -> AsyncIterator[bytes]:
    yield BASE


async def sources_disk(alpha: LocalCloud, root: Path, run: str) -> tuple[Export, bytes]:
    """Make a VM of the image, change some blocks of its disk, and open it for reading."""
    if not await alpha.images():
        await alpha.add_image("base", "raw", image())
    disk = Disk(id="", name="", size=10 * MIB, storage_class="raw")
    described_vm = replaced(described(run, disk=disk), keys=())
    vm = await alpha.create_vm(act("make", run=run), described_vm, "base", power_on=False)
    (path,) = Layout(root).volumes.glob(f"{vm.disks[0].id}*")
    with path.open("r+b") as file:
        for block in CHANGED:
            file.seek(block * BLOCK)
            file.write(noise(BLOCK, f"changed {block}"))
    content = path.read_bytes()
    export = await alpha.export(act("export", run=run), vm.id, ExportPoint.STOPPED)
    return export, content


async def moved(folder: Path, run: str) -> Moved:
    """Move a disk from alpha to beta through the site's own end and real workers."""
    clouds = {name: await connected(folder / name) for name in ("alpha", "beta")}
    clock, beta = MachineClock(), clouds["beta"]
    host = LocalHost(folder / run / "journals", Stocks(folder / run / "stocks", 4 * SEGMENT))
    sealer = MemorySealer("here")
    mover = ClaimingMover(SimpleMover(host, clock, names=NameKeys(bytes(32))), sealer)

    async def connect(name: str) -> Cloud:
        return clouds[name]

    parts = SiteParts(
        tenant="acme",
        connect=connect,
        documents=MemoryDocuments(),
        ledger=DirectLedger(),
        mover=mover,
        sealer=sealer,
        clock=clock,
        token=iter(map(str, range(100))).__next__,
    )
    site = LocalSite("here", parts)
    export, content = await sources_disk(clouds["alpha"], folder / "alpha", run)
    source = export.artifacts[0]
    room = RoomFor(name="disk-0", role=Role.DISK, size=source.ref.size, storage_class="raw")
    (target,) = await site.prepare_import(act("prepare", run=run), "beta", (room,))
    read = await site.ticket(act("copy", run=run), "alpha", source, Way.READ)
    write = await site.ticket(act("copy", run=run), "beta", target, Way.WRITE)
    assert read.published == ()
    found = await mover.move(read, write, ignore)
    certified = await site.seal(act("seal", run=run), "alpha", export.vm, (found,), "here")
    await site.admit(act("admit", run=run), "beta", certified, (found,))
    (sealed,) = await site.verify(act("verify", run=run), "beta", (found,))
    assert await asyncio.to_thread(content_of, sealed) == content
    # What was published for the run is served no longer; the rest is taken away as ever.
    assert not any(
        Path(ref.locator.removeprefix("unix:").partition("?")[0]).exists() for ref in write.published
    )
    assert (await site.clean(act("clean", run=run), "beta", keep_vm=False)).left == ()
    assert await beta.tagged(run) == ()
    for cloud in clouds.values():
        await cloud.close()
    return found


def ignore(progress: Progress) -> None:
    """Do not look at the progress."""


def content_of(artifact: Artifact) -> bytes:
    disk = nbd.open_disk(artifact.ref.locator, writable=False)
    try:
        content = bytearray(artifact.ref.size)
        disk.read_into(0, memoryview(content))
        return bytes(content)
    finally:
        disk.close()


async def test_what_a_vm_has_of_an_image_that_the_target_publishes_is_not_sent(folder: Path) -> None:
    beta = await connected(folder / "beta")
    seen = list[tuple[int, int, int, int]]()
    # Nothing there; then the image of another project; then one that this project may read.
    for run, project in (("run-none", None), ("run-foreign", "umbrella"), ("run-public", "")):
        if project is not None:
            await beta.add_image(run, "raw", image(), project=project)
        counters = (await moved(folder, run)).counters
        seen.append((counters.sent, counters.offered, counters.shared, counters.written))
    await beta.close()
    none, foreign, public = seen
    differs = len(CHANGED) * BLOCK
    assert none[0] > len(BASE)
    assert abs(foreign[0] - none[0]) < 4096
    assert foreign[1:] == none[1:] == (0, 0, len(BASE))
    assert differs < public[0] < differs + 32768
    assert public[1:] == (len(BASE), len(BASE) - differs, len(BASE))
