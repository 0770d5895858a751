"""Files with secrets that the site tells once: made for their owner's eyes before anything is asked for."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from crossport import errors

__all__ = ["claimed"]


@contextmanager
def claimed(file: Path) -> Generator[None]:
    """Make the new file ``file`` (0600); take it away again where the block fails.

    Raise Invalid (``cli.file.unwritable``) when it cannot be made or is there.
    """
    try:
        file.touch(mode=0o600, exist_ok=False)
    except OSError as error:
        raise errors.Invalid(
            "cli.file.unwritable",
            f"{file} cannot be made: {error.strerror}.",
            field="--file",
            remedy="Name a file that does not exist yet.",
        ) from error
    try:
        yield
    except errors.Error:
        file.unlink()
        raise
