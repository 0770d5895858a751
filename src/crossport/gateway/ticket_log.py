"""The tickets that a gateway was shown, on its disk: one line each, durable before the worker gets its job.

A gateway that is killed and started anew refuses what it would have refused before. Lines of tickets that
expired go when there are more of them than of others.
"""

import errno
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crossport import errors
from crossport.identity import private_file

__all__ = ["Shown", "TicketLog"]

_HEAD = b"crossport tickets 1\n"
_SPARE = 256
"""So many lines of expired tickets are worth no rewriting."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One ticket: the copy it is for, and between which ends, as a digest. ``expires`` is in Unix seconds."""

    copy: tuple[str, str, str, str]
    epoch: int
    nonce: str
    ends: str
    expires: float

    def line(self) -> bytes:
        """Return it as one line."""
        return json.dumps(asdict(self), separators=(",", ":")).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> "Shown":
        """Read a line of `line`; raise ValueError, TypeError or KeyError for what is none."""
        said: dict[str, Any] = json.loads(line)
        tenant, run, artifact, way = said["copy"]
        return cls((tenant, run, artifact, way), said["epoch"], said["nonce"], said["ends"], said["expires"])


class TicketLog:
    """The file ``path``. Only one process may have it: the one that owns the gateway's directory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0

    def read(self) -> tuple[Shown, ...]:
        """Return what was kept, in order. A last line that a kill has cut was not admitted, and goes.

        Raise Broken (``gateway.tickets.damaged``) when the file is not as it was written.
        """
        content = self._path.read_bytes() if self._path.exists() else b""
        whole, newline, torn = content.rpartition(b"\n")
        if torn:
            os.truncate(self._path, len(whole) + len(newline))
        if not newline:
            return ()
        head, *lines = (whole + newline).splitlines(keepends=True)
        try:
            if head != _HEAD:
                raise ValueError(head)
            kept = tuple(Shown.of(line) for line in lines)
        except (ValueError, TypeError, KeyError) as error:
            raise errors.Broken(
                "gateway.tickets.damaged",
                f"{self._path} is damaged, or of a newer Crossport.",
                remedy="Enroll a new gateway, and remove this one: then nothing that it was shown counts.",
            ) from error
        self._lines = len(kept)
        return kept

    def add(self, shown: Shown) -> None:
        """Keep one more; durable on return. Raise Unavailable when the disk does not take it."""
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                _append(descriptor, shown.line())
            finally:
                os.close(descriptor)
            if not self._lines:
                private_file.sync(self._path.parent)
        except OSError as error:
            raise errors.Unavailable(
                "gateway.tickets.closed",
                f"{self._path} cannot be written ({error.strerror}).",
                remedy="Look at its directory: is there room, may the gateway write there?",
            ) from error
        self._lines += 1

    def keep_only(self, valid: Iterable[Shown]) -> None:
        """Drop the lines of all others, once it is worth it."""
        kept = tuple(valid)
        if self._lines < 2 * len(kept) + _SPARE:
            return
        draft = self._path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_HEAD + b"".join(one.line() for one in kept))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        private_file.sync(self._path.parent)
        self._lines = len(kept)


def _append(descriptor: int, line: bytes) -> None:
    """Append a line, behind the head where it is the first; the file is as before when that fails."""
    before = os.fstat(descriptor).st_size
    data = line if before else _HEAD + line
    try:
        if os.write(descriptor, data) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fdatasync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise
