"""A gateway as a process. What belongs to servers is not imported here: a gateway that died is soon back."""

import asyncio
import contextlib
import os
import random
import secrets
import signal
from collections.abc import Mapping

from crossport import errors
from crossport.app import log
from crossport.app.clock import SystemClock
from crossport.app.settings import load
from crossport.cli.surroundings import GatewayOptions
from crossport.gateway.agent import Agent, Means, join
from crossport.gateway.identity import Kept
from crossport.gateway.jobs import Jobs
from crossport.gateway.join import unpacked
from crossport.gateway.reach import Reach
from crossport.transfer.confined import piped

__all__ = ["run_gateway"]


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
        reach = Reach(kept.directory, options.disks, options.namespace)
        jobs = Jobs(piped, clock, reach, kept.directory, stock_size)
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
