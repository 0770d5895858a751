"""`crossport demo`: a real VM moves between two small clouds on this machine, and the proof is shown."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from crossport import errors
from crossport.cli.session import Here

__all__ = ["command"]


def command(
    *,
    chaos: Annotated[
        bool, Parameter(negative=(), help="Kill, spoil and fail on purpose, and watch.")
    ] = False,
    facts: Annotated[
        Path | None, Parameter(help="Write the figures as JSON to this file.", show_default=False)
    ] = None,
    clean: Annotated[bool, Parameter(negative=(), help="Remove everything the demonstration made.")] = False,
    session: Here,
) -> int:
    """Migrate a real VM between two clouds on this machine, and see the proof.

    It has a state directory of its own, below yours. What an earlier demonstration left there is removed
    first. As root, networks and security groups are enforced; otherwise it says what is not. The exit status
    is 0 only when the guest answered at the target, with its data.

    Examples:

      crossport demo

      crossport demo --chaos

      crossport demo --facts facts.json

      crossport demo --clean
    """
    if clean and (chaos or facts):
        raise errors.Invalid(
            "demo.clean.alone", "This goes with no other option.", field="--clean", remedy="Give it alone."
        )
    from crossport.cli.demo.play import play  # noqa: PLC0415 - help must not pay for it

    return play(session, chaos=chaos, facts_file=facts, clean=clean)
