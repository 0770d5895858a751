"""Freeze a running guest's file systems around the moment of a snapshot, where an agent in it can do that.

What is copied then is as after a clean unmount. That a guest may be frozen is written down first, so that one
whose freezer was killed together with this service is thawed when the service comes back.
"""

import contextlib
import logging
from collections.abc import AsyncGenerator

from crossport.clouds.local.installation import Installation
from crossport.clouds.local.launch import agent_of
from crossport.clouds.local.state import Guest, Still
from crossport.hypervisor import qmp, stillness
from crossport.hypervisor.qemu import AGENT
from crossport.hypervisor.stillness import Stillness

__all__ = ["held", "thaw_left"]

_LOG = logging.getLogger("crossport.clouds.local")


@contextlib.asynccontextmanager
async def held(cloud: Installation, guest: Guest, steer: qmp.Monitor) -> AsyncGenerator[Stillness]:
    """Keep the guest's file systems still while the context lasts; behind it, it is known if they were."""
    await thaw_left(cloud, guest)
    if not await _listens(steer):
        yield Stillness(text="No agent runs in the guest.")
        return
    cloud.state.put(guest.vm.id, Still(id=guest.vm.id))
    async with stillness.held(agent_of(cloud, guest)) as still:
        yield still
    _settle(cloud, guest, thawed=still.thawed)
    if not still.kept:
        _LOG.warning("vm=%s was not frozen: %s", guest.vm.id, still.text)


async def thaw_left(cloud: Installation, guest: Guest) -> None:
    """Thaw a guest that may have been left frozen; ``guest`` is settled."""
    if cloud.state.find(guest.vm.id, Still) is None:
        return
    thawed = guest.daemon is None or await stillness.thaw(agent_of(cloud, guest))
    _LOG.info("vm=%s may have been left frozen, thawed=%s", guest.vm.id, thawed)
    _settle(cloud, guest, thawed=thawed)


def _settle(cloud: Installation, guest: Guest, *, thawed: bool) -> None:
    if thawed:
        cloud.state.drop(guest.vm.id, Still)
    else:
        _LOG.error("vm=%s does not confirm that its file systems were thawed", guest.vm.id)


async def _listens(steer: qmp.Monitor) -> bool:
    """Whether a program in the guest has opened the agent's port."""
    known = {one["label"]: one for one in await steer.execute("query-chardev")}
    return bool(known.get(AGENT, {}).get("frontend-open"))
