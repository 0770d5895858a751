"""`crossport source`: what a migration left at the source."""

from typing import Annotated

from cyclopts import App, Parameter

from crossport import errors
from crossport.cli.session import Here
from crossport.cli.text import Table, aligned
from crossport.client import calls

__all__ = ["app"]

app = App(name="source", help="Retire the source that a migration left behind.")


@app.command
def retire(
    run: str,
    /,
    *,
    yes: Annotated[bool, Parameter(negative=(), help="Delete without asking again.")] = False,
    session: Here,
) -> None:
    """Delete the retained source of a committed run. It cannot be undone, and needs the right `retire`.

    What would be deleted is printed first; then you are asked, unless --yes is given.

    For example:

      crossport source retire run-0001

      crossport source retire run-0001 --yes

    Parameters
    ----------
    run
        The run that moved the VM.
    """
    preview = session.send(calls.retirement(run))
    if not preview.things:
        session.out.result(preview)
        session.out.say(f"The source of run {run} is gone already. Nothing was deleted.")
        return
    if not yes:
        session.out.say(aligned(Table(("WILL BE DELETED",), tuple((thing,) for thing in preview.things))))
        if session.ask("Delete these for ever? Type yes: ") != "yes":
            raise errors.Cancelled(
                "source.retire.unconfirmed", "Nothing was deleted.", remedy="Confirm, or add --yes."
            )
    done = session.send(calls.retire(run))
    session.out.result(done, Table(("DELETED",), tuple((thing,) for thing in done.things)))
