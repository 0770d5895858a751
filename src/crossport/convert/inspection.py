"""What an inspection says: the format, the size a guest sees, and what stands against the image.

Codes are stable and name the format where only that format can have the fault. A blocker means that the
image is not given to any tool.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from crossport.model.finding import Finding, Severity

__all__ = ["Facts", "Format", "Inspection"]

Facts = Mapping[str, str | int | bool]


class Format(StrEnum):
    """The forms of a disk image that are read and written."""

    RAW = "raw"
    QCOW2 = "qcow2"
    VMDK = "vmdk"
    """monolithicSparse: one file that grows."""
    VMDK_STREAM = "vmdk-stream"
    """streamOptimized: compressed, the form inside an OVA."""
    VHD = "vhd"
    """dynamic: one file that grows."""
    VHD_FIXED = "vhd-fixed"
    VHDX = "vhdx"
    VDI = "vdi"


@dataclass(frozen=True, slots=True)
class Inspection:
    """What an image is. ``format`` is None if it is none that we read; ``virtual_size`` is what a guest
    sees."""

    format: Format | None
    virtual_size: int
    details: Facts = field(default_factory=dict[str, str | int | bool])
    findings: tuple[Finding, ...] = ()

    @property
    def blockers(self) -> tuple[Finding, ...]:
        """The findings for which the image is refused."""
        return tuple(each for each in self.findings if each.severity is Severity.BLOCKER)
