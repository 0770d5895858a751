"""The doors of a site at which gateways knock."""

import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from crossport import errors
from crossport.app.settings import Settings, host_and_port
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
    host, port = host_and_port(settings.gateway_listen)
    if not host:
        raise errors.Invalid(
            "gateway.listen.form",
            f"{settings.gateway_listen!r} is not HOST:PORT.",
            field="gateway_listen",
            remedy="Write 192.0.2.7:8444.",
        )
    bare = host.strip("[]")
    everywhere = bare in ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not listened on
    names = (*settings.hosts, *(() if everywhere else (host,)))
    if not names:
        raise errors.Invalid(
            "gateway.listen.unnamed",
            f"Nobody can dial {host}.",
            field="hosts",
            remedy="Name the addresses of this server in the setting hosts.",
        )
    return Doors(socket, bare, port, tuple(f"{name}:{port}" for name in dict.fromkeys(names)))
