"""Give finished files their names: all of them, durably, and never over another file."""

import os
from collections.abc import Sequence
from pathlib import Path

from crossport import errors

__all__ = ["placed"]


def placed(files: Sequence[Path], names: Sequence[Path]) -> None:
    """Link each of ``files`` under its name, in this order; they lie in the same file system.

    Raise Conflict ``image.target.exists``; then none has its name.
    """
    done: list[Path] = []
    try:
        for path, name in zip(files, names, strict=True):
            _synced(path)
            os.link(path, name)
            done.append(name)
    except OSError as error:
        for name in done:
            name.unlink(missing_ok=True)
        raise errors.Conflict(
            "image.target.exists",
            f"{error.filename2 or names[-1]} cannot be made: {error.strerror}.",
            remedy="Name another target.",
            field="target",
        ) from error


def _synced(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
