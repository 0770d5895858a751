"""Run one command: parse, call, and turn errors into a text and an exit status."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from crossport.cli.table import overview

if TYPE_CHECKING:
    from crossport.cli.surroundings import Surroundings

__all__ = ["run"]

USAGE = 2
INTERRUPTED = 130


def run(arguments: Sequence[str], surroundings: "Surroundings") -> int:
    """Run the command that ``arguments`` name; return its exit status."""
    try:
        if not arguments or list(arguments) in (["--help"], ["-h"], ["help"]):
            surroundings.stdout.write(overview())
            return 0 if arguments else USAGE
        from crossport.cli.dispatch import dispatch  # noqa: PLC0415 - the overview must not pay for it

        return dispatch(arguments, surroundings)
    except KeyboardInterrupt:
        surroundings.stderr.write("Interrupted.\n")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has seen enough (`crossport run list | head`).
        return 0
