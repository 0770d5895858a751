"""Start a site on this machine when none answers: one server, however many commands ask at once.

The server is detached: it belongs to no terminal and outlives the command. It ends by itself when it is
idle, so a command may meet one that is just leaving; then it starts the next one.
"""

import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crossport import errors
from crossport.client.endpoint import Endpoint, over_socket
from crossport.client.state_dir import StateDir
from crossport.spi.secret import Secret

__all__ = ["Starter", "answers", "read_token"]

POLL_S = 0.05
LOG_TAIL = 12
"""Lines of the log that are shown when the server did not start."""


@dataclass(frozen=True, slots=True)
class Starter:
    """How a server is started: its argument list and environment, and how long it may take."""

    arguments: Sequence[str]
    environment: Mapping[str, str]
    monotonic: Callable[[], float]
    sleep: Callable[[float], object]
    patience_s: float = 60.0

    def connect(self, state: StateDir) -> Endpoint:
        """Return the site of ``state``, starting its server when none answers.

        Raise Unavailable (``serve.start.failed``) with the end of the server's log.
        """
        state.prepare()
        deadline = self.monotonic() + self.patience_s
        while not answers(state.socket):
            with state.starting() as mine:
                if mine and not answers(state.socket):
                    self._start(state, deadline)
            if self.monotonic() > deadline:
                raise _failed(state, "did not answer in time")
            self.sleep(POLL_S)
        return over_socket(state.socket)

    def _start(self, state: StateDir, deadline: float) -> None:
        """Start a server and wait until it answers."""
        begun = state.log_file.stat().st_size if state.log_file.exists() else 0
        server = self._spawn(state)
        while not answers(state.socket):
            ended, status = os.waitpid(server, os.WNOHANG)
            if ended:
                raise _failed(state, f"ended with status {os.waitstatus_to_exitcode(status)}", begun)
            if self.monotonic() > deadline:
                os.kill(server, signal.SIGKILL)
                os.waitpid(server, 0)
                raise _failed(state, "did not answer in time", begun)
            self.sleep(POLL_S)

    def _spawn(self, state: StateDir) -> int:
        """Start the process in a session of its own, with its output in the log; return its id."""
        appending = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        return os.posix_spawn(
            self.arguments[0],
            list(self.arguments),
            dict(self.environment),
            setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.fspath(state.log_file), appending, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
        )


def answers(path: Path) -> bool:
    """Say whether somebody listens on the socket at ``path``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(os.fspath(path))
        except OSError:
            return False
        return True


def read_token(path: Path) -> Secret:
    """Return the token that the file holds; raise Refused when it cannot be read."""
    try:
        return Secret(path.read_text().strip())
    except OSError as error:
        raise errors.Refused(
            "client.token.unreadable",
            f"The token file {path} cannot be read: {error.strerror}.",
            field="token-file",
            remedy="Pass the file of a token by --token-file.",
        ) from error


def _failed(state: StateDir, what: str, begun: int = 0) -> errors.Unavailable:
    try:
        tail = state.log_file.read_bytes()[begun:].decode(errors="replace").splitlines()[-LOG_TAIL:]
    except OSError:
        tail = []
    log = "".join(f"\n    {line}" for line in tail)
    return errors.Unavailable(
        "serve.start.failed",
        f"The server of {state.path} {what}. The end of its log:{log}\n",
        remedy=f"See {state.log_file}, or run `crossport serve` to watch it start.",
    )
