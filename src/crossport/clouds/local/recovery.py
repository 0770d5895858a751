"""Take up a cloud whose service ended, at whatever moment: find again what runs, end and remove what is left.

Whoever calls this owns the directory, so a process of it that the state does not know belongs to nobody: a
QEMU that never ran, a server whose address was never told. The same holds for drafts and for images that
were never confirmed. Volumes that are whole are left alone, whatever the state says.
"""

import asyncio
import logging
import shutil

from crossport import errors
from crossport.clouds.local import freeze, guest, orphan, provision, serving
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.state import Guest, Image, OpenExport, OpenImages, OpenImport
from crossport.clouds.local.volume import drafts
from crossport.hypervisor.daemon import boot_id

__all__ = ["found_again"]

_LOG = logging.getLogger("crossport.clouds.local")
_ANSWER_S = 10.0


async def found_again(cloud: Installation) -> None:
    """Make the networks, and take up every guest as it is now.

    A guest that does not answer is left as it is and told in the log: the others have nothing to do with it.
    """
    serving.ensure_runtime(cloud)
    for text in await orphan.end_orphans(cloud):
        _LOG.warning("orphan ended: %s", text)
    _remove_left(cloud)
    await cloud.fabric.ensure(cloud.spec.networks)
    await asyncio.gather(*(_taken_up(cloud, one) for one in cloud.state.every(Guest)))
    running = [one for one in cloud.state.every(Guest) if one.daemon is not None and not one.detached]
    await cloud.fabric.keep({(one.vm.id, index) for one in running for index in range(len(one.vm.nics))})
    _LOG.info("boot=%s", boot_id())


async def _taken_up(cloud: Installation, one: Guest) -> None:
    try:
        async with asyncio.timeout(_ANSWER_S):
            found = await guest.settled(cloud, one)
            if found.daemon is not None:
                _LOG.info("vm=%s found again, pid=%s", found.vm.id, found.daemon.pid)
                await provision.refresh_ports(cloud, found)
                await guest.go_on(cloud, found)
                await freeze.thaw_left(cloud, found)
    except (errors.Error, TimeoutError) as error:
        _LOG.error("vm=%s could not be taken up: %s", one.vm.id, error or "it does not answer")


def _remove_left(cloud: Installation) -> None:
    """Delete what a killed service began and the state does not know, or no process can need any more."""
    layout = cloud.layout
    kept = {f"{image.id}.{image.format}" for image in cloud.state.every(Image)}
    left = [path for path in layout.images.iterdir() if path.name not in kept]
    left += drafts(cloud)
    opened = [one for kind in (OpenExport, OpenImport, OpenImages) for one in cloud.state.every(kind)]
    folders = {serving.socket_path(cloud, one.id).parent.name for one in opened}
    left += [path for path in layout.exports.iterdir() if path.name.partition(".")[0] not in folders]
    for path in left:
        _LOG.warning("left over, removed: %s", path.name)
        path.unlink(missing_ok=True)
    for folder in cloud.runtime.iterdir():
        if folder.name not in folders:
            shutil.rmtree(folder)
