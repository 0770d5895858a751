"""What a worker that looks into a guest is told: one JSON line."""

import json
from dataclasses import asdict, dataclass

from crossport.model.artifact import DiskRef

__all__ = ["BATCH", "LookingJob"]

BATCH = 200
"""Packages that are told in one line, so that no line is long."""


@dataclass(frozen=True, slots=True)
class LookingJob:
    """Look into the guest of these disks, for at most so long; with ``scan`` hand out all its files, too."""

    disks: tuple[DiskRef, ...]
    limit_s: float
    scan: bool = False

    def line(self) -> bytes:
        """Return the job as one line."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> "LookingJob":
        """Read a line of `line`."""
        said = json.loads(line)
        return cls(tuple(DiskRef(**one) for one in said["disks"]), said["limit_s"], said["scan"])
