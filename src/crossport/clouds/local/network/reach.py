"""Ask a guest from outside it: does it accept, what does it answer, and from when to when did it not.

`reached` asks once, `watching` goes on until it is left; both from the network namespace that is named, in a
process of their own that gives up root. From a shell::

    python -m crossport.clouds.local.network.reach --namespace NAME http://10.20.0.5/    # once
    python -m crossport.clouds.local.network.reach --watch 0.05 --namespace NAME http://10.20.0.5/

print JSON lines: ``good``, ``status``, ``text``, ``seconds``, and with ``--watch`` also ``monotonic`` and
``wall`` for each answer and for the first of each row of failures. ``tcp://`` asks for a connection only.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import json
import re
import sys
import urllib.parse
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from crossport import errors
from crossport.clouds.local.network import kernel

__all__ = ["Question", "Reached", "Seen", "main", "question", "reached", "watching"]

_PRINTED = re.compile(r"[!-~]+")  # what may stand in a request line; no space, no end of line


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of an IPv4 address: whether it accepts (``tcp``), or ``http`` for ``path``."""

    host: str
    port: int
    namespace: str = ""
    kind: Literal["tcp", "http"] = "tcp"
    path: str = "/"
    timeout_s: float = 3.0

    def __post_init__(self) -> None:
        if not _is_address(self.host):
            raise _unaskable(self.host)
        if not self.path.startswith("/") or not _PRINTED.fullmatch(self.path):
            raise _unaskable(self.path)


@dataclass(frozen=True, slots=True)
class Reached:
    """What came back: ``status`` of HTTP (0 without), its body or the reason of the failure, and how long."""

    good: bool
    status: int
    text: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer and when it was there: ``monotonic`` for durations, ``wall`` in Unix seconds for people."""

    monotonic: float
    wall: float
    answer: Reached


async def reached(asked: Question) -> Reached:
    """Ask once. A guest that does not answer is an answer that is not good.

    Raise Unavailable when the namespace cannot be entered.
    """
    said = await kernel.run(kernel.inside_command("ask"), text=json.dumps(_request(asked)))
    return Reached(**json.loads(said))


@contextlib.asynccontextmanager
async def watching(asked: Question, interval_s: float) -> AsyncGenerator[AsyncIterator[Seen]]:
    """Ask every ``interval_s`` until the block is left; iterate over what was seen.

    Each good answer is seen, and of failures in a row the first. The iteration raises Unavailable
    ``cloud.reach.ended`` when the namespace cannot be entered.
    """
    process = await asyncio.create_subprocess_exec(
        *kernel.inside_command("watch"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        if process.stdin is not None:
            process.stdin.write(json.dumps({**_request(asked), "interval_s": interval_s}).encode())
            process.stdin.close()
        yield _seen(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(process.wait())


def question(url: str, *, namespace: str = "", timeout_s: float = 3.0) -> Question:
    """Return the question that ``http://host:port/path`` or ``tcp://host:port`` puts. Raise Invalid."""
    parts = urllib.parse.urlsplit(url)
    try:
        port = parts.port or (80 if parts.scheme == "http" else 0)
    except ValueError:
        port = 0
    if parts.scheme not in ("tcp", "http") or not port:
        raise _unaskable(url)
    return Question(
        host=parts.hostname or "",
        port=port,
        namespace=namespace,
        kind="tcp" if parts.scheme == "tcp" else "http",
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        timeout_s=timeout_s,
    )


def _unaskable(what: str) -> errors.Invalid:
    return errors.Invalid(
        "cloud.reach.url",
        f"{what!r} cannot be asked.",
        remedy="Write http://ADDRESS[:PORT]/PATH or tcp://ADDRESS:PORT.",
        field="url",
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def main() -> int:
    """Ask as the command line says; the status is 0 when the (last) answer was good."""
    parser = argparse.ArgumentParser(description="Ask a guest from a network namespace.")
    parser.add_argument("url", help="http://ADDRESS[:PORT]/PATH or tcp://ADDRESS:PORT")
    parser.add_argument("--namespace", default="", help="network namespace to ask from")
    parser.add_argument("--timeout", type=float, default=3.0, help="seconds for one answer")
    parser.add_argument("--watch", type=float, metavar="SECONDS", help="go on, one question every SECONDS")
    chosen = parser.parse_args()
    try:
        asked = question(chosen.url, namespace=chosen.namespace, timeout_s=chosen.timeout)
        return asyncio.run(_print_answers(asked, chosen.watch))
    except errors.Error as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 0


async def _print_answers(asked: Question, interval_s: float | None) -> int:
    if interval_s is None:
        answer = await reached(asked)
        _print(_fields(answer))
        return 0 if answer.good else 1
    good = False
    async with watching(asked, interval_s) as seen:
        async for moment in seen:
            good = moment.answer.good
            _print({"monotonic": moment.monotonic, "wall": moment.wall, **_fields(moment.answer)})
    return 0 if good else 1


async def _seen(process: asyncio.subprocess.Process) -> AsyncIterator[Seen]:
    while process.stdout is not None and (line := await process.stdout.readline()):
        fields = json.loads(line)
        monotonic, wall = fields.pop("monotonic"), fields.pop("wall")
        yield Seen(monotonic, wall, Reached(**fields))
    # It goes on until it is killed, so it could not begin, or somebody killed it.
    said = await process.stderr.read() if process.stderr is not None else b""
    raise errors.Unavailable(
        "cloud.reach.ended",
        f"The watching has ended: {said.decode('utf-8', 'replace').strip() or 'it was killed'}.",
        remedy="See that the cloud's service runs, and watch again.",
    )


def _request(asked: Question) -> dict[str, Any]:
    return {
        "namespace": asked.namespace,
        "host": asked.host,
        "port": asked.port,
        "kind": asked.kind,
        "path": asked.path,
        "timeout_s": asked.timeout_s,
    }


def _fields(answer: Reached) -> dict[str, object]:
    return {
        "good": answer.good,
        "status": answer.status,
        "text": answer.text,
        "seconds": answer.seconds,
    }


def _print(fields: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
