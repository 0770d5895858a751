"""The secrets that a site used, and where else than in their own places they can be seen.

They are looked for in every file below a directory, disks and databases among them, and in the command lines
and the environments of all processes, for as long as somebody looks.
"""

import base64
import contextlib
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from crossport.identity.master_key import MasterKeys

__all__ = ["Processes", "Used", "lying", "secret", "shown", "used_by"]

SHORTEST = 16
EVERY_S = 0.2


@dataclass(frozen=True)
class Used:
    """A secret in the forms in which it could be written; only the file ``at`` may have it."""

    name: str
    forms: tuple[bytes, ...]
    at: Path | None = None

    def is_in(self, content: bytes) -> bool:
        return any(form in content for form in self.forms)


@dataclass
class Processes:
    """What the command lines and environments of all processes were, looked at again and again."""

    seen: set[bytes] = field(default_factory=set[bytes], repr=False)
    _called: dict[str, bytes] = field(default_factory=dict[str, bytes], repr=False)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._over.clear()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        """Look once, at the environment only of what is called otherwise than the last time."""
        before, self._called = self._called, dict[str, bytes]()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                called = self._called[process.name] = (process / "cmdline").read_bytes()
                if before.get(process.name) != called:
                    self.seen |= {called, (process / "environ").read_bytes()}


def used_by(home: Path) -> Iterator[Used]:
    """Yield every secret that lies in a place of its own below the state directory ``home``."""
    control = home / "control"
    master = control / "identity" / "master.key"
    keys = MasterKeys.open(master, entropy=bytes)
    yield secret("master key", keys.key(keys.current), master)
    yield secret("approvals secret", keys.derived("approvals"))
    for path in (*control.rglob("*.pem"), *control.rglob("*.key")):
        lines = path.read_bytes().splitlines()
        for number, line in enumerate(lines):
            if line.startswith(b"-----BEGIN") and b"PRIVATE KEY" in line:
                # Of a P-256 key in PEM, the second line has most of the private number.
                yield Used(f"private key {path.name}", (lines[number + 2],), path)
    for path in home.rglob("token"):
        yield secret(f"token of {path.parent.name}", path.read_bytes().strip(), path)


def secret(name: str, value: bytes, at: Path | None = None) -> Used:
    """Return a secret in all its forms."""
    assert len(value) >= SHORTEST, name
    return Used(name, (value, value.hex().encode(), base64.b64encode(value).rstrip(b"=")), at)


def shown(used: list[Used], content: bytes) -> list[str]:
    """Return the names of those that are in ``content``."""
    return [one.name for one in used if one.is_in(content)]


def lying(used: list[Used], folder: Path, patterns: Path) -> list[str]:
    """Return where a secret lies that is not its place; ``patterns`` is a new file outside of ``folder``."""
    patterns.write_bytes(b"\n".join(form for one in used for form in one.forms if b"\n" not in form))
    command = ["grep", "-r", "-l", "-a", "-F", "-D", "skip", "-f", str(patterns), str(folder)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr  # each is found at least in its place
    places = {one.at: one.name for one in used}
    others = list[str]()
    for path in map(Path, found.stdout.splitlines()):
        content = path.read_bytes()
        others += [f"{one.name} in {path}" for one in used if one.is_in(content) and one.at != path]
    assert {place for place in places if place} <= {Path(line) for line in found.stdout.splitlines()}
    return others
