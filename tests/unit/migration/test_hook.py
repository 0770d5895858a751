"""Hooks for real: programs that run, and webhooks that arrive at an HTTP server of this process, signed."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from tests.unit.migration.world import TestClock

from crossport import errors
from crossport.migration.hook import Command, OperatorHooks, Webhook, signature
from crossport.model.run import Hook
from crossport.spi.secret import Secret
from crossport.testing.world import web_vm

SECRET = Secret("between us")


class Receiver(BaseHTTPRequestHandler):
    """Keeps what arrives, and answers with the statuses it was given, the last one for ever."""

    statuses: list[int]
    arrived: list[tuple[Mapping[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.arrived.append((dict(self.headers.items()), body))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the base class's name
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[HTTPServer]:
    kind = type("OwnReceiver", (Receiver,), {"statuses": [200], "arrived": []})
    server = HTTPServer(("127.0.0.1", 0), kind)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def of(receiver: HTTPServer) -> type[Receiver]:
    kind = receiver.RequestHandlerClass
    assert isinstance(kind, type)
    assert issubclass(kind, Receiver)
    return kind


async def post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> int:
    try:
        async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client:
            return (await client.post(url, content=body, headers=dict(headers))).status_code
    except httpx.HTTPError as error:
        raise errors.Unavailable("hook.receiver.gone", str(error)) from error


def hooks(*argv: str, url: str = "", timeout_s: float = 10.0) -> OperatorHooks:
    return OperatorHooks(
        {"program": Command(argv=argv, timeout_s=timeout_s)},
        {"web": Webhook(url, SECRET, timeout_s)},
        post=post,
        clock=TestClock(),
    )


async def run(these: OperatorHooks, name: str = "program") -> None:
    await these.run(Hook(name=name, phase="image_creation"), "run-1", web_vm())


def test_what_nobody_registered_is_told():
    wanted = tuple(Hook(name=name, phase="instantiation") for name in ("web", "nobody", "program", "nobody"))
    assert hooks("/bin/true").unknown(wanted) == ("nobody",)


async def test_a_program_is_told_what_happens_and_inherits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OF_THE_SERVER", "secret")
    told = tmp_path / "told"
    await run(hooks("/bin/sh", "-c", f"cat > {told}; env >> {told}"))
    text = told.read_text()
    notice = json.loads(text[: text.index("}") + 1])
    assert (notice["run"], notice["phase"], notice["vm"]) == ("run-1", "image_creation", "web")
    assert "OF_THE_SERVER" not in text


async def test_no_shell_reads_the_arguments(tmp_path: Path):
    await run(hooks("/bin/echo", f"; touch {tmp_path}/made"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("argv", "word"),
    [(("/bin/sh", "-c", "echo no >&2; exit 3"), "status 3: no"), (("/no/such/program",), "started")],
)
async def test_a_program_that_fails_says_why(argv: tuple[str, ...], word: str):
    with pytest.raises(errors.RolledBack) as failure:
        await run(hooks(*argv))
    assert failure.value.code == "hook.failed"
    assert word in failure.value.text


async def test_a_program_that_hangs_is_ended_with_all_it_started(tmp_path: Path):
    alive = tmp_path / "alive"
    script = f"(while :; do date +%s%N > {alive}; sleep 0.02; done) & wait"
    began = time.monotonic()
    with pytest.raises(errors.RolledBack, match="did not end"):
        await run(hooks("/bin/sh", "-c", script, timeout_s=0.3))
    assert time.monotonic() - began < 5
    await asyncio.sleep(0.1)
    last = alive.read_text()
    await asyncio.sleep(0.15)
    assert alive.read_text() == last


async def test_a_webhook_arrives_signed(receiver: HTTPServer):
    await run(hooks(url=f"http://127.0.0.1:{receiver.server_port}/hook"), "web")
    ((headers, body),) = of(receiver).arrived
    assert headers["Crossport-Signature"] == signature(SECRET, headers["Crossport-Timestamp"], body)
    assert headers["Crossport-Signature"] != signature(Secret("other"), headers["Crossport-Timestamp"], body)
    assert json.loads(body)["hook"] == "web"
    assert SECRET.reveal() not in str(headers) + body.decode()


@pytest.mark.parametrize(
    ("statuses", "calls", "good"),
    [([500, 503, 204], 3, True), ([500], 4, False), ([404], 1, False), ([302], 1, False)],
    ids=["tried-again", "given-up", "refused", "not-followed"],
)
async def test_a_receiver_in_trouble_is_asked_again_and_one_that_refuses_is_not(
    receiver: HTTPServer, statuses: list[int], calls: int, good: bool
):
    of(receiver).statuses = statuses
    url = f"http://127.0.0.1:{receiver.server_port}/hook"
    if good:
        await run(hooks(url=url), "web")
    else:
        with pytest.raises(errors.RolledBack):
            await run(hooks(url=url), "web")
    assert len(of(receiver).arrived) == calls


async def test_a_receiver_that_is_gone_fails_the_hook():
    with pytest.raises(errors.RolledBack, match="answered nothing"):
        await run(hooks(url="http://127.0.0.1:9/hook"), "web")
