"""One process owns a state directory; a second one is told who does."""

import fcntl
import os
from pathlib import Path
from typing import Self

from crossport import errors

__all__ = ["Ownership"]


class Ownership:
    """The lock on a state directory. It ends with the process, however that ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, state_dir: Path) -> Self:
        """Make ``state_dir`` (0700) if need be and own it; raise Conflict ``state.owned`` naming the pid."""
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(state_dir / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise errors.Conflict(
                "state.owned",
                f"The process with pid {pid} owns {state_dir}.",
                remedy="Talk to that process, end it, or use another state directory.",
                field="state_dir",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Give the directory up. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
