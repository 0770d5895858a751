"""The entry point of ``crossport``: hands the machine to the command line, and serves when it asks to.

Nothing heavy is imported before it is needed: ``crossport --help`` answers in a tenth of a second.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from crossport.cli.main import run
from crossport.cli.surroundings import GatewayOptions, Place, ServeOptions

if TYPE_CHECKING:
    from crossport.client.embedded import Starter

__all__ = ["Machine", "main"]

TOOL_TIMEOUT_S = 20


class Machine:
    """This machine, as ``cli.surroundings.Surroundings`` wants it."""

    def __init__(self) -> None:
        _open_standard_streams()
        self.environment: Mapping[str, str] = dict(os.environ)
        self.stdin: TextIO = sys.stdin
        self.stdout: TextIO = sys.stdout
        self.stderr: TextIO = sys.stderr

    def place(self) -> Place:
        """Return where the settings say the site is."""
        from crossport.app.settings import load  # noqa: PLC0415 - costs time that --help does not have

        settings = load(self.environment, root=os.geteuid() == 0)
        return Place(
            home=settings.home, server=settings.server, ca=settings.ca, token_file=settings.token_file
        )

    def starter(self, home: Path) -> "Starter":
        """Return what starts a detached server of ``home``, with the settings of this environment."""
        from crossport.client.embedded import Starter  # noqa: PLC0415

        environment = dict(self.environment) | {"CROSSPORT_HOME": str(home)}
        arguments = [sys.executable, "-m", "crossport.app", "serve", "--embedded"]
        return Starter(arguments, environment, time.monotonic, time.sleep)

    def serve(self, options: ServeOptions) -> None:
        """Serve until told to stop, or embedded until idle."""
        from crossport.app.serving import serve_with  # noqa: PLC0415

        serve_with(self.environment, options)

    def run_gateway(self, options: GatewayOptions) -> None:
        """Run a gateway until told to stop."""
        from crossport.app.gateway import run_gateway  # noqa: PLC0415

        run_gateway(self.environment, options)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def wall(self) -> float:
        """Return Unix seconds."""
        return time.time()

    def new_key(self) -> str:
        """Return 128 random bits as text."""
        return os.urandom(16).hex()

    def run_tool(self) -> Callable[[list[str]], tuple[int, str]]:
        """Return what runs a program of this machine with a time limit."""

        def call(arguments: list[str]) -> tuple[int, str]:
            try:
                done = subprocess.run(
                    arguments, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return 127, str(error)
            return done.returncode, done.stdout + done.stderr

        return call


def _open_standard_streams() -> None:
    """Let nothing else get the number of a standard stream that was closed (`crossport … >&-`)."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            void = os.open(os.devnull, os.O_RDWR)
            if void != number:
                os.dup2(void, number)
                os.close(void)
            setattr(sys, name, os.fdopen(number, mode))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    status = run(list(sys.argv[1:] if arguments is None else arguments), Machine())
    try:
        sys.stdout.flush()
    except OSError:
        # It was told already, or nobody listens. Without this the interpreter would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
