"""Speak to the kernel's networks through the system's own tools, from outside, namespace by namespace.

The tools are `ip`, `bridge` and `tc` of iproute2 and `nft`, called with argument lists and fed on standard
input (``-batch -``, ``-f -``), and the program `inside`. Every call has a bound; a cancelled one kills the
tool. Raise Unavailable ``cloud.network.failed`` with what the tool said, and ``cloud.network.tool_missing``
without the tool.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import sys
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from crossport import errors
from crossport.clouds.local.network import inside

__all__ = [
    "HOST",
    "ROUTER",
    "apply",
    "batch",
    "inside_command",
    "listed",
    "locked",
    "make_namespace",
    "namespaces",
    "opened",
    "remove_namespace",
    "run",
    "set_switches",
    "there",
]

TIMEOUT_S = 30.0
# Without IPv6, which is not carried; ``?`` marks what not every kernel has.
HOST = {"?net/ipv6/conf/all/disable_ipv6": "1", "?net/ipv6/conf/default/disable_ipv6": "1"}
ROUTER = {
    **HOST,
    "net/ipv4/ip_forward": "1",
    # Packets come only from where answers to them would go.
    "net/ipv4/conf/all/rp_filter": "1",
    "net/ipv4/conf/default/rp_filter": "1",
    # Guests of one network are to send through the router, although they could be told a shorter way.
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
    "net/ipv4/conf/all/accept_redirects": "0",
    "net/ipv4/conf/default/accept_redirects": "0",
    "?net/bridge/bridge-nf-call-iptables": "0",
    "?net/bridge/bridge-nf-call-arptables": "0",
}
_LOCKS = Path("/run/crossport-network")


async def run(
    argv: Sequence[str], *, text: str = "", namespace: str = "", pass_fds: tuple[int, ...] = ()
) -> str:
    """Run a tool, inside ``namespace`` when given, with ``text`` as its input; return what it printed."""
    line = [*(("nsenter", f"--net={inside.NAMESPACES}/{namespace}", "--") if namespace else ()), *argv]
    try:
        process = await asyncio.create_subprocess_exec(
            *line,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=pass_fds,
        )
    except FileNotFoundError as error:
        raise errors.Unavailable(
            "cloud.network.tool_missing",
            f"{line[0]} is not installed.",
            remedy="Install the packages iproute2, nftables and util-linux.",
        ) from error
    try:
        async with asyncio.timeout(TIMEOUT_S):
            stdout, stderr = await process.communicate(text.encode())
    except TimeoutError as error:
        raise _failed(argv, f"it did not end within {TIMEOUT_S:.0f} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
    if process.returncode != 0:
        raise _failed(argv, (stderr or stdout).decode("utf-8", "replace").strip())
    return stdout.decode("utf-8", "replace")


def inside_command(work: str) -> list[str]:
    """Return the command line of the program `inside`, isolated from the environment's Python paths."""
    return [sys.executable, "-I", "-S", str(Path(inside.__file__).resolve()), work]


async def batch(tool: str, commands: Iterable[str], *, namespace: str) -> None:
    """Give ``commands`` to `ip`, `bridge` or `tc` in one go; nothing runs when there are none."""
    if lines := list(commands):
        await run([tool, "-batch", "-"], text="".join(f"{line}\n" for line in lines), namespace=namespace)


async def apply(script: str, *, namespace: str) -> None:
    """Give a script to nft, which does all of it or nothing."""
    if script:
        await run(["nft", "-f", "-"], text=script, namespace=namespace)


async def listed(argv: Sequence[str], *, namespace: str) -> Any:
    """Return the JSON that a tool prints; an empty list when it prints nothing."""
    return json.loads(await run(argv, namespace=namespace) or "[]")


async def opened(work: str, request: Mapping[str, object]) -> int:
    """Return a descriptor that `inside` opened in another namespace. The caller closes it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        asked = json.dumps({**request, "socket": theirs.fileno()})
        await run(inside_command(work), text=asked, pass_fds=(theirs.fileno(),))
        # The program has ended well, so the message is here.
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    os.set_inheritable(descriptors[0], False)
    return descriptors[0]


async def set_switches(switches: Mapping[str, Mapping[str, str]]) -> None:
    """Set ``/proc/sys`` files by namespace."""
    await run(inside_command("switches"), text=json.dumps(switches))


def namespaces(prefix: str) -> tuple[str, ...]:
    """Return the names of this machine's network namespaces that begin with ``prefix``."""
    folder = Path(inside.NAMESPACES)
    found = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208 - names are wanted
    return tuple(sorted(name for name in found if name.startswith(prefix)))


def there(namespace: str) -> bool:
    """Say whether a namespace exists whole: its file, and the kernel's mount on it."""
    return os.path.ismount(f"{inside.NAMESPACES}/{namespace}")


async def make_namespace(name: str) -> None:
    """Make the namespace unless it exists, with its loopback up. To be called under a lock."""
    if not there(name):
        _forget(name)
        await run(["ip", "netns", "add", name])
    await run(["ip", "link", "set", "lo", "up"], namespace=name)


async def remove_namespace(name: str) -> None:
    """Remove the namespace and all in it, unless it is gone. Processes in it keep what they have open."""
    if there(name):
        await run(["ip", "netns", "delete", name])
    _forget(name)


def _forget(name: str) -> None:
    """Remove the file that a killed `ip netns` leaves without a namespace on it."""
    Path(inside.NAMESPACES, name).unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def locked(name: str) -> AsyncGenerator[None]:
    """Hold the machine-wide lock ``name``; the kernel frees it when its holder dies.

    Raise Unavailable ``cloud.network.busy`` when somebody else holds it for too long. The files stay, since
    removing one would let two in; names come from a small set for that reason.
    """
    descriptor = _lock_file(name)
    try:
        await _wait_for(descriptor, name)
        yield
    finally:
        os.close(descriptor)


def _lock_file(name: str) -> int:
    _LOCKS.mkdir(mode=0o700, exist_ok=True)
    return os.open(_LOCKS / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


async def _wait_for(descriptor: int, name: str) -> None:
    try:
        async with asyncio.timeout(2 * TIMEOUT_S):
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise errors.Unavailable(
            "cloud.network.busy",
            f"Another command has worked on the networks for over a minute ({_LOCKS / name} is locked).",
            remedy="See which process holds it (fuser), and try again.",
        ) from error


def _failed(argv: Sequence[str], said: str) -> errors.Unavailable:
    return errors.Unavailable(
        "cloud.network.failed",
        f"{'The networks' if argv[0] == sys.executable else Path(argv[0]).name} failed: {said}.",
        remedy="Run crossport doctor to see what this machine can do.",
    )
