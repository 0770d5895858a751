"""Waiting for a server that was just started: its socket exists a moment before it listens."""

import time
from pathlib import Path

__all__ = ["wait_until_it_listens"]

_LISTENS = 1 << 16  # __SO_ACCEPTCON in linux/net.h


def wait_until_it_listens(path: Path, timeout_s: float = 60.0) -> None:
    """Return when a socket at ``path`` listens; raise TimeoutError after ``timeout_s``.

    It looks rather than connects: qemu-nbd 7.2 hangs at its end after a client that said nothing.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
            words = line.split(maxsplit=7)
            if len(words) == 8 and words[7] == str(path) and int(words[3], 16) & _LISTENS:
                return
        time.sleep(0.01)
    raise TimeoutError(f"nothing listens at {path}")
