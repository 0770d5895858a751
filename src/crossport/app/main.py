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
from crossport.cli.surroundings import Place, ServeOptions

if TYPE_CHECKING:
    from crossport.client.embedded import Starter

__all__ = ["Machine", "main"]

TOOL_TIMEOUT_S = 20


class Machine:
    """This machine, as ``cli.surroundings.Surroundings`` wants it."""

    def __init__(self) -> None:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    return run(list(sys.argv[1:] if arguments is None else arguments), Machine())
