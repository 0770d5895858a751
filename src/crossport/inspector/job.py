"""What a worker that looks into a guest is told: one JSON line."""

import json
from dataclasses import asdict, dataclass

from crossport.model.artifact import DiskRef

__all__ = ["BATCH", "LookingJob"]

BATCH = 200
"""Packages that are told in one line, so that no line is long."""


@dataclass(frozen=True, slots=True)
class LookingJob:
    """Look into the guest of these disks: tell within ``limit_s`` seconds what it is, its start included.

    With ``scan_limit_s`` hand out all its files, too, in as many seconds after that.
    """

    disks: tuple[DiskRef, ...]
    limit_s: float
    scan_limit_s: float = 0.0

    @property
    def scan(self) -> bool:
        """Whether its files are wanted."""
        return self.scan_limit_s > 0

    def line(self) -> bytes:
        """Return the job as one line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> "LookingJob":
        """Read a line of `line`."""
        said = json.loads(line)
        return cls(tuple(DiskRef(**one) for one in said["disks"]), said["limit_s"], said["scan_limit_s"])
