"""A megabyte kept back, so that a cloud on a full file system can still write down what it cleans up."""

import contextlib
import os

from crossport.clouds.local.spec import Layout
from crossport.units import MIB

__all__ = ["give_up", "keep"]

_SIZE = 1 * MIB
_SPARE = 8 * MIB


def keep(layout: Layout) -> None:
    """Take the reserve if it is not there and the file system has room enough."""
    if layout.reserve.exists():
        return
    facts = os.statvfs(layout.root)
    if facts.f_bavail * facts.f_frsize < _SPARE:
        return
    descriptor = os.open(layout.reserve, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        # Somebody else may have been quicker; then there is no reserve for now.
        with contextlib.suppress(OSError):
            os.posix_fallocate(descriptor, 0, _SIZE)
    finally:
        os.close(descriptor)


def give_up(layout: Layout) -> None:
    """Give the reserve back to the file system. Not an error when it is given up already."""
    layout.reserve.unlink(missing_ok=True)
