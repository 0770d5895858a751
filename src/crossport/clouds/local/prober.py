"""Ask a guest from inside its cloud whether it is well: TCP, HTTP, a text or a command on its console."""

import asyncio
import contextlib
import dataclasses
import re
import socket

from crossport.clouds.local import console, shell
from crossport.clouds.local.halt import halted
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.launch import control_of, port_of, typing_of
from crossport.clouds.local.provision import refresh_ports
from crossport.clouds.local.state import Guest
from crossport.hypervisor import qmp
from crossport.model.health import Probe, ProbeKind, ProbeResult

__all__ = ["probe"]

_TRY_S = 5.0
_CONNECT_S = 1.0
"""A guest that boots drops the first packets, and TCP waits 1, 2 and 4 s before it sends another: asking
anew finds the guest seconds earlier, and those are seconds of outage."""
_ASK_AGAIN_S = 0.1
_LARGEST_ANSWER = 256 * 1024


async def probe(cloud: Installation, guest: Guest, asked: Probe, *, nonce: str) -> ProbeResult:
    """Try once. Whatever goes wrong is a bad result that says what was seen.

    ``nonce`` is random text that no probe had before.
    """
    if guest.daemon is None:
        return ProbeResult(probe=asked, good=False, text=f"{guest.vm.name} is {guest.vm.power}.")
    if asked.kind is ProbeKind.CONSOLE:
        return await _printed(cloud, guest, asked)
    if asked.kind is ProbeKind.COMMAND:
        return await _commanded(cloud, guest, asked, nonce)
    if not guest.vm.nics or guest.detached:
        return ProbeResult(probe=asked, good=False, text=f"{guest.vm.name} has no network card plugged in.")
    if asked.port not in guest.probed:
        guest = await refresh_ports(cloud, dataclasses.replace(guest, probed=(*guest.probed, asked.port)))
    try:
        async with asyncio.timeout(_TRY_S):
            return await _asked(cloud, guest, asked)
    except TimeoutError:
        text = f"Port {asked.port} did not answer in time."
    except OSError as error:
        text = f"Port {asked.port} cannot be reached: {error.strerror or error}."
    return ProbeResult(probe=asked, good=False, text=text)


async def _printed(cloud: Installation, guest: Guest, asked: Probe) -> ProbeResult:
    # The other probes ask the guest itself; what it printed is there even when it stands still.
    if why := await halted(cloud, guest):
        return ProbeResult(probe=asked, good=False, text=f"{guest.vm.name} stands still: {why}.")
    seen = asked.expect in console.tail(cloud, guest, cloud.spec.console_size, this_boot=True)
    text = f"The console {'shows' if seen else 'does not show'} {asked.expect!r}."
    return ProbeResult(probe=asked, good=seen, text=text)


async def _commanded(cloud: Installation, guest: Guest, asked: Probe, nonce: str) -> ProbeResult:
    good, quoted = False, f"The command {asked.command!r}"
    try:
        answer = await shell.typed(typing_of(cloud, guest), asked.command, nonce=nonce)
    except shell.Silence as error:
        text = f"{quoted} was not answered at the console: waited for {error}."
    except OSError as error:
        text = f"{quoted} cannot be typed: the console takes no input ({error.strerror or error})."
    else:
        good = answer.status == 0 and asked.expect in answer.output
        text = f"{quoted} ends with {answer.status}."
        if answer.status == 0 and not good:
            text = f"{quoted} ends with 0, but without {asked.expect!r}."
    return ProbeResult(probe=asked, good=good, text=text)


async def _asked(cloud: Installation, guest: Guest, asked: Probe) -> ProbeResult:
    link = await cloud.fabric.connect(port_of(cloud, guest, 0), asked.port, _CONNECT_S)
    with link:
        if asked.kind is ProbeKind.HTTP:
            return _judged(asked, await _fetched(link, guest, asked))
        if not await _stays_open(link):
            return ProbeResult(probe=asked, good=False, text=f"Port {asked.port} hangs up at once.")
        if not await _taken_by_guest(cloud, guest, asked.port):
            return ProbeResult(probe=asked, good=False, text=f"The guest does not answer at {asked.port}.")
        return ProbeResult(probe=asked, good=True, text=f"Port {asked.port} is open.")


async def _taken_by_guest(cloud: Installation, guest: Guest, guest_port: int) -> bool:
    """Say whether the guest itself has taken the connection that was just opened.

    User-mode networking takes connections for a guest that is not there, and tells in which state its own
    connection to the guest is.
    """
    ports = [one.host_port for one in guest.forwards[0] if one.guest_port == guest_port and not one.public]
    if not ports:
        return True  # dialled through the kernel, to the guest itself
    loop = asyncio.get_running_loop()
    until = loop.time() + _CONNECT_S
    async with qmp.monitor(control_of(cloud, guest)) as steer:
        while True:
            if _newest_state(await steer.ask_hmp("info usernet"), ports[0]) == "ESTABLISHED":
                return True
            if loop.time() > until:
                return False
            await asyncio.sleep(_ASK_AGAIN_S)


def _newest_state(told: str, host_port: int) -> str:
    """Return how the last connection that came in at ``host_port`` stands with the guest.

    The newest is told first; ones that were given up before the guest was there stay for a minute. A line:
    ``  TCP[ESTABLISHED]   27  127.0.0.1 20123  10.20.0.10    80     0     0``.
    """
    for line in told.splitlines():
        found = re.match(r"\s*TCP\[(\w+)\]\s+\d+\s+\S+\s+(\d+)\s", line)
        if found and found[1] != "HOST_FORWARD" and int(found[2]) == host_port:
            return found[1]
    return ""


async def _stays_open(link: socket.socket) -> bool:
    link.setblocking(False)
    loop = asyncio.get_running_loop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            return bool(await loop.sock_recv(link, 1))
    return True


async def _fetched(link: socket.socket, guest: Guest, asked: Probe) -> bytes:
    link.setblocking(False)
    loop = asyncio.get_running_loop()
    host = guest.vm.nics[0].addresses[0].partition("/")[0] if guest.vm.nics[0].addresses else "guest"
    request = f"GET {asked.path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    await loop.sock_sendall(link, request.encode())
    answer = b""
    while len(answer) < _LARGEST_ANSWER and (piece := await loop.sock_recv(link, 65536)):
        answer += piece
    return answer


def _judged(asked: Probe, answer: bytes) -> ProbeResult:
    # A CGI program behind a small server ends its lines by LF alone, which RFC 9112, 2.2 lets us accept.
    head, body = (*re.split(rb"\r?\n\r?\n", answer, maxsplit=1), b"")[:2]
    words = head.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return ProbeResult(probe=asked, good=False, text=f"Port {asked.port} does not speak HTTP.")
    status = int(words[1])
    if status >= 400:
        return ProbeResult(probe=asked, good=False, text=f"GET {asked.path} answers {status}.")
    if asked.expect and asked.expect.encode() not in body:
        text = f"GET {asked.path} answers {status}, but without {asked.expect!r}."
        return ProbeResult(probe=asked, good=False, text=text)
    return ProbeResult(probe=asked, good=True, text=f"GET {asked.path} answers {status}.")
