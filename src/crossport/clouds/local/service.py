"""The process that owns one embedded cloud: ``python -m crossport.clouds.local.service --root DIR``.

It takes the directory's lock (a second one ends at once), finds again what is still running, listens on a
unix socket inside the directory, and ends when it was idle long enough: no call and no running guest. While
guests run it stays, because it bounds their console logs and takes their seeds out. Killed at any moment it
loses nothing: guests and copies are processes of their own.
"""

import argparse
import asyncio
import contextlib
import logging
import logging.handlers
import os
import secrets
import sys
import time
from pathlib import Path

import uvicorn

from crossport import errors
from crossport.clouds.local import console, guest, recovery, reserve, wire
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.ownership import locked, open_installation
from crossport.clouds.local.routes import Desk, application
from crossport.clouds.local.spec import Layout
from crossport.clouds.local.state import Guest
from crossport.hypervisor import unix_socket
from crossport.model import codec
from crossport.model.vm import PowerState

__all__ = ["main"]

_LOG = logging.getLogger("crossport.clouds.local")
_TICK_S = 0.5
_LOOK_S = 10.0
_FAILED_IDLE_S = 5.0
_GLANCE_S = 0.1
_GRACE_S = 5  # every call can be broken off and made again
_LOG_SIZE = 1 << 20


def main(arguments: list[str]) -> int:
    """Own the cloud until it is idle or told to end; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m crossport.clouds.local.service", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the cloud's directory")
    parser.add_argument("--voice", type=int, help="an open descriptor: where to say why it cannot start")
    asked = parser.parse_args(arguments)
    layout = Layout(asked.root.resolve())
    if asked.voice is not None:
        os.set_inheritable(asked.voice, False)
    try:
        lock = _locked(layout)
    except errors.Conflict:
        return 0
    try:
        _log_to(layout.log)
        asyncio.run(_owned(layout))
    except errors.Error as error:
        _LOG.error("The cloud cannot start: %s", error)
        _tell(asked.voice, error)
        return 1
    finally:
        os.close(lock)
    return 0


def _locked(layout: Layout) -> int:
    """Take the lock. Who asks whether there is an owner has it for an instant: then it is free again."""
    try:
        return locked(layout)
    except errors.Conflict:
        time.sleep(_GLANCE_S)
        return locked(layout)


def _tell(voice: int | None, error: errors.Error) -> None:
    if voice is None:
        sys.stderr.write(f"{error}\n")
        return
    with contextlib.suppress(BrokenPipeError):  # nobody waits any more
        os.write(voice, codec.encoded(wire.fault_of(error)).encode())


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=_LOG_SIZE, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


async def _owned(layout: Layout) -> None:
    cloud = open_installation(layout)
    failure: errors.Error | None = None
    try:
        await recovery.found_again(cloud)
    except errors.Error as error:
        # Whoever calls is told why; a service that just ended would leave them guessing.
        _LOG.error("The cloud cannot start: %s", error)
        failure = error
    desk = Desk(cloud, failure)
    config = uvicorn.Config(
        application(cloud, desk, nonce=lambda: secrets.token_hex(8)),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = uvicorn.Server(config)
    with unix_socket.listening(layout.socket) as listener:
        _LOG.info("cloud=%s serves", cloud.spec.name)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_kept(cloud, desk, server, failed=failure is not None))]
            if failure is None:
                tasks.append(group.create_task(guest.start_all(cloud)))
            await server.serve(sockets=[listener])
            for task in tasks:
                task.cancel()
    _LOG.info("cloud=%s ends", cloud.spec.name)
    cloud.state.close()


async def _kept(cloud: Installation, desk: Desk, server: uvicorn.Server, *, failed: bool) -> None:
    """Look after guests, and end the service when nobody needs it."""
    idle_s = _FAILED_IDLE_S if failed else cloud.spec.idle_s
    while not server.should_exit:
        await asyncio.sleep(_TICK_S)
        reserve.keep(cloud.layout)
        for log in cloud.layout.exports.glob("*.log"):
            console.shorten(log, cloud.spec.console_size)
        # One that does not answer keeps nobody waiting but itself.
        guests = cloud.state.every(Guest)
        running = any(await asyncio.gather(*(_looked_after(cloud, one) for one in guests)))
        idle = asyncio.get_running_loop().time() - desk.last_call > idle_s
        if idle and not running and not desk.open_calls:
            server.should_exit = True


async def _looked_after(cloud: Installation, one: Guest) -> bool:
    """Settle, trim, eject; say whether the guest runs. One that does not answer is told in the log."""
    if one.vm.power is not PowerState.RUNNING:
        return False
    if cloud.is_busy(one.vm.id):
        return True
    try:
        async with cloud.working(one.vm.id, ""), asyncio.timeout(_LOOK_S):
            return await _looked_at(cloud, one.vm.id)
    except (errors.Error, TimeoutError) as error:
        _LOG.warning("vm=%s cannot be looked after: %s", one.vm.id, error or "it does not answer")
        return True


async def _looked_at(cloud: Installation, vm_id: str) -> bool:
    current = await guest.settled(cloud, cloud.guest(vm_id))
    if current.daemon is None:
        _LOG.info("vm=%s switched itself off", vm_id)
        return False
    console.trim(cloud, current)
    current = cloud.guest(vm_id)
    if current.seeded and console.has_reported(cloud, current):
        await console.eject_seed(cloud, current)
        _LOG.info("vm=%s seed ejected", vm_id)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
