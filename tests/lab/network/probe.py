"""Look from one network at addresses of others: which of them answer, and how.

`PROBE` and `SERVER` are programs that run inside a network namespace, one process for all questions.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterable

__all__ = ["SYSTEM", "WORKER", "answering", "serving"]

WORKER, SYSTEM = 7000, 22
"""A port at which a worker could listen, and one at which it never does."""
PATIENCE_S = 0.6

PROBE = """
import json, os, select, socket, struct, sys, time
asked = json.load(sys.stdin)
tried, waiting, found = select.poll(), {}, []

def begin(kind, protocol, address, port, word, said):
    one = socket.socket(socket.AF_INET, kind, protocol)
    one.setblocking(False)
    try:
        if asked["source"]:
            one.bind((asked["source"], 0))
        if one.connect_ex((address, port)) not in (0, 115):  # EINPROGRESS
            return
        if said:
            one.send(said)
    except OSError:
        return  # no way there
    waiting[one.fileno()] = (one, word)
    tried.register(one, select.POLLIN)

head = struct.pack("!BBHHH", 8, 0, 0, os.getpid() & 0xffff, 1)
words = struct.unpack("!4H", head)
total = sum(words)
total = (total >> 16) + (total & 0xffff)
echo = struct.pack("!BBHHH", 8, 0, ~(total + (total >> 16)) & 0xffff, os.getpid() & 0xffff, 1)
for address in asked["targets"]:
    for port in asked["ports"]:
        begin(socket.SOCK_STREAM, 0, address, port, f"tcp {address} {port}", b"")
        begin(socket.SOCK_DGRAM, 0, address, port, f"udp {address} {port}", b"?")
    begin(socket.SOCK_RAW, socket.IPPROTO_ICMP, address, 0, f"icmp {address}", echo)
until = time.monotonic() + asked["patience_s"]
while waiting and (left := until - time.monotonic()) > 0:
    for number, _ in tried.poll(left * 1000):
        one, word = waiting.pop(number)
        tried.unregister(number)
        try:
            answer = one.recv(1000)
        except OSError:
            continue  # refused
        # Somebody else may stand between this machine and all others, and take every connection.
        if one.type == socket.SOCK_RAW or answer == b"here":
            found.append(word)
print(json.dumps(found))
"""

SERVER = """
import select, socket, sys
address, *ports = sys.argv[1:]
listening = select.poll()
there = {}
for port in map(int, ports):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        one = socket.socket(socket.AF_INET, kind)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((address, port))
        if kind == socket.SOCK_STREAM:
            one.listen(64)
        there[one.fileno()] = one
        listening.register(one, select.POLLIN)
print("there", flush=True)
while True:
    for number, _ in listening.poll():
        one = there[number]
        if one.type == socket.SOCK_STREAM:
            peer, _ = one.accept()
            peer.send(b"here")
            peer.close()
        else:
            _, peer = one.recvfrom(100)
            one.sendto(b"here", peer)
"""


def within(namespace: str, program: str, *words: str) -> list[str]:
    """Return the command that runs a program inside a namespace; without a name in this machine's own."""
    entered = ["nsenter", f"--net=/run/netns/{namespace}", "--"] if namespace else []
    return [*entered, sys.executable, "-ISc", program, *words]


async def answering(namespace: str, targets: Iterable[str], *, source: str = "") -> set[str]:
    """Return what answers somebody in the namespace: ``tcp ADDRESS PORT``, ``udp …``, ``icmp ADDRESS``.

    Beyond this machine's default route somebody else may have the address and answer an echo: that tells of
    nothing here.
    """
    asked = {"targets": list(targets), "ports": [WORKER, SYSTEM], "source": source, "patience_s": PATIENCE_S}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*within(namespace, PROBE), stdin=pipe, stdout=pipe)
    out, _ = await process.communicate(json.dumps(asked).encode())
    assert process.returncode == 0
    found = set[str](json.loads(out))
    echoes = [word for word in found if word.startswith("icmp ") and not namespace]
    return found - {word for word in echoes if await _leaves_the_machine(word.removeprefix("icmp "))}


async def _leaves_the_machine(address: str) -> bool:
    """Say whether what is sent to an address goes by the default route of this machine's own network."""
    usual, taken = await _routes("show", "default"), await _routes("get", address)
    return bool(usual) and all(taken.get(name) == usual.get(name) for name in ("dev", "gateway"))


async def _routes(*words: str) -> dict[str, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("ip", "-json", "route", *words, stdout=pipe)
    out, _ = await process.communicate()
    found: list[dict[str, str]] = json.loads(out or b"[]")
    return found[0] if found else {}


@contextlib.asynccontextmanager
async def serving(namespace: str, address: str) -> AsyncGenerator[None]:
    """Let something answer at an address inside a namespace, by every way that `answering` tries."""
    command = within(namespace, SERVER, address, str(WORKER), str(SYSTEM))
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"there\n"
        yield
    finally:
        process.kill()
        await process.wait()
