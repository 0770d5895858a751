"""Ask the agent in a guest: QEMU's guest agent protocol, one JSON object a line (QEMU, interop/qemu-ga-ref).

What answers is the guest's and may say anything: lines are bounded, and every wait ends.
"""

import json
import socket
import time
from typing import Any

from crossport import errors

__all__ = ["Agent"]

_LONGEST = 64 << 10
_PIECE = 4096


class Agent:
    """An open connection to an agent. ``nonce`` tells its answers from those to whoever asked before."""

    def __init__(self, link: socket.socket, nonce: int) -> None:
        self._link = link
        self._nonce = nonce
        self._kept = b""

    def meet(self, timeout_s: float) -> None:
        """Return when it answers; raise Unavailable ``hypervisor.agent.silent`` when it does not in time."""
        until = time.monotonic() + timeout_s
        self._say("guest-sync", {"id": self._nonce})
        while self._answer(until).get("return") != self._nonce:
            pass  # what it still had to say to somebody else

    def ask(self, command: str, *, timeout_s: float) -> Any:
        """Return what it answers to ``command``.

        Raise Broken ``hypervisor.agent.refused`` with its own words, Unavailable as ``meet`` does.
        """
        self._say(command, {})
        answer = self._answer(time.monotonic() + timeout_s)
        if "return" not in answer:
            said = answer.get("error", answer)
            raise errors.Broken(
                "hypervisor.agent.refused",
                f"The guest's agent refused {command}: {str(said)[:200]}",
                remedy="Look at the agent's log in the guest.",
            )
        return answer["return"]

    def close(self) -> None:
        """Let go. May be called twice."""
        self._link.close()

    def _say(self, command: str, arguments: dict[str, Any]) -> None:
        said = {"execute": command, "arguments": arguments} if arguments else {"execute": command}
        try:
            self._link.sendall(json.dumps(said).encode() + b"\n")
        except OSError as error:
            raise _silent() from error

    def _answer(self, until: float) -> dict[str, Any]:
        while True:
            line, found, rest = self._kept.partition(b"\n")
            if found:
                self._kept = rest
                if (answer := _object(line)) is not None:
                    return answer
                continue
            left_s = until - time.monotonic()
            if left_s <= 0 or len(self._kept) > _LONGEST:
                raise _silent()
            self._link.settimeout(left_s)
            try:
                piece = self._link.recv(_PIECE)
            except OSError as error:
                raise _silent() from error
            if not piece:
                raise _silent()
            self._kept += piece


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _silent() -> errors.Unavailable:
    return errors.Unavailable(
        "hypervisor.agent.silent",
        "The guest's agent does not answer.",
        remedy="See that the package qemu-guest-agent runs in the guest.",
    )
