"""Run one command: parse, call, and turn errors into a text and an exit status."""

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossport.cli.table import overview

if TYPE_CHECKING:
    from crossport.cli.surroundings import Surroundings

__all__ = ["run"]

USAGE = 2
INTERRUPTED = 130
UNWRITABLE = 1
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def run(arguments: Sequence[str], surroundings: "Surroundings") -> int:
    """Run the command that ``arguments`` name; return its exit status."""
    try:
        status = _run(arguments, surroundings)
        surroundings.stdout.flush()
    except KeyboardInterrupt:
        surroundings.stderr.write("Interrupted.\n")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has seen enough (`crossport run list | head`).
        return 0
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        surroundings.stderr.write(
            f"Error: The output cannot be written: {error.strerror}.\n"
            "Remedy: What was asked for may have been done; write to a place with room.\n"
            "Code: cli.output.unwritable\n"
        )
        return UNWRITABLE
    return status


def _run(arguments: Sequence[str], surroundings: "Surroundings") -> int:
    if not arguments or list(arguments) in (["--help"], ["-h"], ["help"]):
        surroundings.stdout.write(overview())
        return 0 if arguments else USAGE
    from crossport.cli.dispatch import dispatch  # noqa: PLC0415 - the overview must not pay for it

    return dispatch(arguments, surroundings)
