"""The doors of a site at which gateways knock."""

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from crossport.app.door import door
from crossport.app.settings import Settings
from crossport.app.site import OpenSite
from crossport.client.state_dir import StateDir
from crossport.gateway.listener import Doors, listening
from crossport.spi.clock import Clock

__all__ = ["doors_of", "gateways_served"]


@contextlib.asynccontextmanager
async def gateways_served(
    site: OpenSite, settings: Settings, state: StateDir, clock: Clock, *, embedded: bool
) -> AsyncGenerator[None]:
    """Let gateways connect to ``site`` until the block ends; an embedded one only has those nearby."""
    doors = Doors(state.path / "gate")
    if settings.gateway_listen and not embedded:
        doors = doors_of(settings, doors.socket)
    node = settings.node or settings.site_name
    async with listening(site.hub, site.identity, doors, node, clock):
        yield


def doors_of(settings: Settings, socket: Path) -> Doors:
    """Return where the settings let gateways of other machines knock; raise Invalid naming the setting."""
    host, port, names = door(settings, settings.gateway_listen, "gateway_listen")
    return Doors(socket, host, port, tuple(f"{name}:{port}" for name in names))
