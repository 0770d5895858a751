"""Which boot of this machine it is. Lean: workers import it, too."""

from pathlib import Path

__all__ = ["boot_id"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return what names this boot of the machine."""
    return _BOOT_ID.read_text().strip()
