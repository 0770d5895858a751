"""What the embedded cloud knows, durably: one SQLite file with one owner.

Things are kept as JSON of our own models under their kind and id. A row that was written is on the disk
when the call returns. Small and local, so calls are synchronous.
"""

import contextlib
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

from crossport import errors
from crossport.clouds.local.fabric import Forward
from crossport.hypervisor.daemon import Daemon
from crossport.model import codec
from crossport.model.artifact import Artifact, ExportPoint, Marks, Role
from crossport.model.construct import Image
from crossport.model.record import record
from crossport.model.run import Act
from crossport.model.vm import VM

__all__ = [
    "Guest",
    "Image",
    "OpenExport",
    "OpenImages",
    "OpenImport",
    "Owner",
    "State",
    "Still",
    "Tracking",
    "Volume",
    "kept_facts",
]

VERSION = 2

T = TypeVar("T")


@record()
class Volume:
    """Bytes of a VM: a disk, or firmware, TPM or memory state. ``size`` is exact; the file may be longer.

    ``path`` is relative to the cloud's directory. ``vm_id`` is empty until a VM has it; others may share it.
    ``making`` counts up whenever its bytes are made from nothing.
    """

    id: str
    name: str
    role: Role
    size: int
    format: str
    path: str
    uid: int
    project: str = ""
    vm_id: str = ""
    run: str = ""
    storage_class: str = ""
    seed: bool = False
    making: int = 0

    @property
    def identity(self) -> str:
        """See `crossport.model.artifact.DiskRef`."""
        return f"{self.id}.{self.making}"


@record()
class Guest:
    """A VM and everything about it that is nobody else's business.

    ``disks``, ``nvram``, ``tpm`` and ``memory`` are volume ids. ``detached`` unplugs its NICs; ``seeded``
    says that the seed is still in the drive; ``console_start`` is where the console log of this boot
    begins.
    """

    vm: VM
    uid: int
    nvram: str = ""
    tpm: str = ""
    memory: str = ""
    daemon: Daemon | None = None
    tpm_daemon: Daemon | None = None
    isolated: bool = False
    detached: bool = False
    seeded: bool = False
    console_start: int = 0
    forwards: tuple[tuple[Forward, ...], ...] = ()
    probed: tuple[int, ...] = ()
    run: str = ""


@record()
class OpenExport:
    """A VM opened for reading by a run. ``overlays`` are files made for a snapshot of a running VM."""

    id: str
    run: str
    vm_id: str
    epoch: int
    point: ExportPoint
    artifacts: tuple[Artifact, ...] = ()
    daemon: Daemon | None = None
    live: bool = False
    overlays: int = 0
    marks: Marks = Marks()
    frozen: bool = False


@record()
class Tracking:
    """Which marks a run has set on a VM's disks, and not forgotten; whether or not they are still there."""

    id: str
    run: str
    vm_id: str
    marks: tuple[str, ...] = ()


@record()
class Still:
    """A VM whose guest's file systems are frozen, or were when this was written down."""

    id: str


@record()
class OpenImport:
    """Volumes of a run opened for writing, then sealed, by one step of it."""

    id: str
    run: str
    epoch: int
    volumes: tuple[str, ...]
    uid: int
    daemon: Daemon | None = None
    sealed: bool = False


@record()
class Owner:
    """The project to which alone an image is published; one without is published to all."""

    id: str
    project: str


@record()
class OpenImages:
    """Images that a run has open for reading."""

    id: str
    run: str
    images: tuple[str, ...]
    daemon: Daemon | None = None


class State:
    """The state of one cloud. Raise Broken ``cloud.state.newer`` for a file of a later version."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        found = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if found > VERSION:
            self._db.close()
            raise errors.Broken(
                "cloud.state.newer",
                f"{path} was written by a newer version (format {found}, this one reads {VERSION}).",
                remedy="Run the newer version of crossport.",
            )
        if found < VERSION:
            self._found()

    def _found(self) -> None:
        """Make what is missing. Fields that a later version added have defaults, so rows stay as they are."""
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS thing (kind TEXT, id TEXT, body TEXT, PRIMARY KEY (kind, id))"
        )
        self._db.execute("CREATE TABLE IF NOT EXISTS epoch (run TEXT PRIMARY KEY, highest INTEGER)")
        self._db.execute("CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value TEXT)")
        self._db.execute(f"PRAGMA user_version={VERSION}")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    @contextlib.contextmanager
    def together(self) -> Generator[None]:
        """Make all changes inside the context in one transaction, or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def put(self, key: str, thing: object) -> None:
        """Keep ``thing`` under its class and ``key``, replacing what was there."""
        row = (type(thing).__name__, key, codec.encoded(thing))
        self._db.execute("INSERT OR REPLACE INTO thing VALUES (?, ?, ?)", row)

    def find(self, key: str, kind: type[T]) -> T | None:
        """Return the thing, None when there is none."""
        row = self._db.execute(
            "SELECT body FROM thing WHERE kind = ? AND id = ?", (kind.__name__, key)
        ).fetchone()
        return codec.decoded(row[0], kind) if row else None

    def every(self, kind: type[T]) -> list[T]:
        """Return all things of a kind, in the order of their ids."""
        rows = self._db.execute("SELECT body FROM thing WHERE kind = ? ORDER BY id", (kind.__name__,))
        return [codec.decoded(row[0], kind) for row in rows.fetchall()]

    def drop(self, key: str, kind: type[object]) -> None:
        """Forget the thing. Not an error when it is gone."""
        self._db.execute("DELETE FROM thing WHERE kind = ? AND id = ?", (kind.__name__, key))

    def admit(self, act: Act) -> None:
        """Take note of the act's epoch; raise Refused ``cloud.epoch.old`` if a higher one was seen."""
        row = self._db.execute("SELECT highest FROM epoch WHERE run = ?", (act.run,)).fetchone()
        if row and act.epoch < row[0]:
            raise errors.Refused(
                "cloud.epoch.old",
                f"Run {act.run} goes on elsewhere: epoch {act.epoch} came after {row[0]}.",
                remedy="Nothing has to be done; the newer execution of the run goes on.",
            )
        if not row or act.epoch > row[0]:
            self._db.execute("INSERT OR REPLACE INTO epoch VALUES (?, ?)", (act.run, act.epoch))

    def fact(self, name: str) -> str:
        """Return a single remembered text, empty when there is none."""
        row = self._db.execute("SELECT value FROM fact WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def remember(self, name: str, value: str) -> None:
        """Remember a single text."""
        self._db.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    def count_up(self, name: str) -> int:
        """Return the next number of the counter ``name``, from 1, never the same twice."""
        number = int(self.fact(name) or 0) + 1
        self.remember(name, str(number))
        return number


def kept_facts(path: Path) -> dict[str, str]:
    """Return what `State.remember` put in a file, that another may own; of any other file nothing."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            return dict(database.execute("SELECT name, value FROM fact").fetchall())
    except sqlite3.DatabaseError:  # a cloud that is being made, or no cloud: nothing runs from it
        return {}
