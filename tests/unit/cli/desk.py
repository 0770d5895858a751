"""A person at a terminal, and a site in another thread on a socket: the whole way of a command."""

import asyncio
import io
import json
import os
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import uvicorn
from tests.unit.api.site import Site, site

from crossport.cli.main import run
from crossport.cli.surroundings import GatewayOptions, Place, ServeOptions
from crossport.client.embedded import Starter


class Screen(io.StringIO):
    """A stream that may claim to be a terminal."""

    def __init__(self, text: str = "", *, terminal: bool = False) -> None:
        super().__init__(text)
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@dataclass
class Desk:
    """Implements ``Surroundings``. ``code`` is the exit status of the last command.

    ``meanwhile`` happens whenever a command waits, for as long as ``pauses`` say.
    """

    home: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])
    stdin: Screen = field(default_factory=Screen)
    stdout: Screen = field(default_factory=Screen)
    stderr: Screen = field(default_factory=Screen)
    served: list[ServeOptions] = field(default_factory=list[ServeOptions])
    gateways: list[GatewayOptions] = field(default_factory=list[GatewayOptions])
    code: int = 0
    pauses: list[float] = field(default_factory=list[float])
    meanwhile: Callable[[], None] = lambda: None

    def place(self) -> Place:
        return Place(home=self.home)

    def starter(self, home: Path) -> Starter:
        return Starter(["/bin/false"], {}, lambda: 0.0, lambda _: None)

    def serve(self, options: ServeOptions) -> None:
        self.served.append(options)

    def run_gateway(self, options: GatewayOptions) -> None:
        self.gateways.append(options)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.meanwhile()

    def wall(self) -> float:
        return 1795262400.0

    def new_key(self) -> str:
        return os.urandom(8).hex()

    def run_tool(self) -> Callable[[list[str]], tuple[int, str]]:
        return lambda _: (127, "")

    def type(self, *arguments: str, answer: str = "", terminal: bool = False) -> str:
        """Run a command; return its standard output. ``terminal`` puts all streams on one."""
        self.stdin = Screen(answer, terminal=terminal)
        self.stdout, self.stderr = Screen(terminal=terminal), Screen(terminal=terminal)
        self.code = run(arguments, self)
        return self.stdout.getvalue()

    def json(self, *arguments: str) -> Any:
        """Run a command with --json; return what it printed."""
        return json.loads(self.type(*arguments, "--json"))


@dataclass
class Served:
    """A site that answers at ``home``, and a way to do something in its thread."""

    home: Path
    site: Site
    loop: asyncio.AbstractEventLoop

    def do(self, work: Any) -> Any:
        """Return what the coroutine returned in the site's thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)


@contextmanager
def served(home: Path, egress: tuple[str, ...] = ()) -> Generator[Served]:
    """Serve a site at ``home`` until the end, which may fetch what ``egress`` says."""
    (home / "control").mkdir(mode=0o700, parents=True)
    ready, stop = threading.Event(), threading.Event()
    box: list[Served] = []

    async def live() -> None:
        async with site(home, egress=egress) as one:
            token = home / "control" / "token"
            token.write_text(one.secret)
            config = uvicorn.Config(
                one.application.asgi, uds=str(home / "control" / "socket"), log_config=None, lifespan="off"
            )
            server = uvicorn.Server(config)
            task = asyncio.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110 - the server has no event for it
                await asyncio.sleep(0.01)
            box.append(Served(home, one, asyncio.get_running_loop()))
            ready.set()
            await asyncio.to_thread(stop.wait)
            server.should_exit = server.force_exit = True
            await task

    with structlog.testing.capture_logs():
        thread = threading.Thread(target=lambda: asyncio.run(live()))
        thread.start()
        assert ready.wait(20)
        try:
            yield box[0]
        finally:
            stop.set()
            thread.join(20)
