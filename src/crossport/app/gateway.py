"""Both ends of gateways as processes: the doors at which they knock, and the gateway itself."""

import asyncio
import contextlib
import os
import random
import secrets
import signal
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from crossport import errors
from crossport.app import log
from crossport.app.clock import SystemClock
from crossport.app.settings import Settings, load
from crossport.app.site import OpenSite
from crossport.cli.surroundings import GatewayOptions
from crossport.client.state_dir import StateDir
from crossport.gateway.agent import Agent, Means, join
from crossport.gateway.identity import Kept
from crossport.gateway.jobs import Jobs
from crossport.gateway.join import unpacked
from crossport.gateway.listener import Doors, listening
from crossport.spi.clock import Clock
from crossport.transfer.confined import piped

__all__ = ["doors_of", "gateways_served", "run_gateway"]


@contextlib.asynccontextmanager
async def gateways_served(
    site: OpenSite | None, settings: Settings, state: StateDir, clock: Clock, *, embedded: bool
) -> AsyncGenerator[None]:
    """Let gateways connect to ``site`` until the block ends; an embedded one only has those nearby."""
    if site is None:
        yield
        return
    doors = Doors(state.path / "gate")
    if settings.gateway_listen and not embedded:
        doors = doors_of(settings, doors.socket)
    node = settings.node or settings.site_name
    async with listening(site.hub, site.identity, doors, node, clock):
        yield


def run_gateway(environment: Mapping[str, str], options: GatewayOptions) -> None:
    """Run a gateway until SIGTERM or SIGINT; join its site first where it has not yet.

    Raise Refused when the site does not take it, Invalid when it is not clear which gateway is meant.
    """
    settings = load(dict(environment) | {"CROSSPORT_HOME": str(options.home)}, root=os.geteuid() == 0)
    log.configure(settings.log_level)
    asyncio.run(_run(options, settings.stock_size))


async def _run(options: GatewayOptions, stock_size: int) -> None:
    clock = SystemClock()
    kept = await _kept(options)
    with kept.owned():
        jobs = Jobs(piped, clock, options.namespace, kept.directory, stock_size)
        agent = Agent(kept, jobs, Means(clock, random.random, secrets.token_hex(8)))
        running = asyncio.create_task(agent.run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def _kept(options: GatewayOptions) -> Kept:
    """Return what is kept of the gateway that is meant, joined."""
    if options.join:
        invitation = unpacked(options.join, options.authority)
        kept = Kept(options.home / "gateway" / invitation.gateway)
        if not kept.joined:
            await join(invitation, kept)
        return kept
    found = {kept.directory.name: kept for kept in Kept.all(options.home)}
    if options.gateway in found:
        return found[options.gateway]
    if len(found) == 1 and not options.gateway:
        return next(iter(found.values()))
    raise errors.Invalid(
        "gateway.state.which",
        f"Below {options.home} there is {', '.join(found) or 'no gateway that joined a site'}.",
        field="gateway" if found else "join",
        remedy="Say which one by --gateway." if found else "Enroll one at the site, and join by --join.",
    )


def doors_of(settings: Settings, socket: Path) -> Doors:
    """Return where the settings let gateways of other machines knock; raise Invalid naming the setting."""
    host, _, port = settings.gateway_listen.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
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
    return Doors(socket, bare, int(port), tuple(f"{name}:{port}" for name in dict.fromkeys(names)))
