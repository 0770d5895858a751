"""Hold a guest's file systems still for a moment, as a process of its own: ``freezer SOCKET SECONDS``.

It freezes them, says so, and thaws them when its input ends: because its starter is done, or because it died.
After SECONDS it thaws them anyway. With 0 it only thaws, behind a former one that was killed. It tells what
it does in JSON lines. As an entry point it reads clock and random itself; imports are lean, because a guest
waits for nobody's start.
"""

import json
import os
import select
import signal
import sys
import time
from pathlib import Path

from crossport import errors
from crossport.hypervisor import unix_socket
from crossport.hypervisor.guest_agent import Agent

__all__ = ["main"]

_MEET_S = 3.0
_THAW_S = 60.0
_PAUSE_S = 0.2


def main(path: Path, held_s: float) -> int:
    """Freeze, wait, thaw; return 0 when the guest is certainly not left frozen by this."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if held_s <= 0:
        return _end(path, None, frozen=0, wanted=False)
    began = time.monotonic()
    try:
        agent = _met(path, min(held_s, _MEET_S))
    except errors.Error as error:
        _say("none", text=error.text)
        return 0
    try:
        frozen = int(agent.ask("guest-fsfreeze-freeze", timeout_s=held_s))
    except (errors.Error, ValueError, TypeError) as error:
        _say("refused", text=str(error))
        return _end(path, agent, frozen=0, wanted=False)
    _say("frozen", count=frozen)
    left_s = max(0.0, began + held_s - time.monotonic())
    return _end(path, agent, frozen=frozen, wanted=bool(select.select([sys.stdin], [], [], left_s)[0]))


def _end(path: Path, agent: Agent | None, *, frozen: int, wanted: bool) -> int:
    thawed = _thawed(path, agent)
    # Fewer than were frozen: somebody else thawed them while they were to be still.
    _say("thawed" if thawed >= 0 else "stuck", kept=wanted and 0 < frozen <= thawed)
    return 0 if thawed >= 0 else 1


def _thawed(path: Path, agent: Agent | None) -> int:
    """Thaw until the agent confirms it; return how many file systems, -1 when it never does."""
    until, count = time.monotonic() + _THAW_S, 0
    while time.monotonic() < until:
        try:
            agent = agent or _met(path, _MEET_S)
            count += int(agent.ask("guest-fsfreeze-thaw", timeout_s=_THAW_S))
            if agent.ask("guest-fsfreeze-status", timeout_s=_MEET_S) == "thawed":
                return count
        except (errors.Error, ValueError, TypeError):
            if agent is not None:
                agent.close()  # it takes one client at a time
            agent = None
        time.sleep(_PAUSE_S)
    return -1


def _met(path: Path, timeout_s: float) -> Agent:
    try:
        link = unix_socket.connected(path, timeout_s=timeout_s)
    except OSError as error:
        raise errors.Unavailable(
            "hypervisor.agent.silent",
            f"The guest's agent cannot be reached ({error.strerror or error}).",
            remedy="Start qemu-guest-agent in the guest, or check it otherwise: --check tcp:22",
        ) from error
    agent = Agent(link, int.from_bytes(os.urandom(6)))
    try:
        agent.meet(timeout_s)
    except errors.Error:
        agent.close()
        raise
    return agent


def _say(event: str, **facts: object) -> None:
    try:
        sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody listens any more; that the guest goes on matters more than telling it.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - for the rest of a dying process


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2])))
