"""`crossport test`: migrations into an isolated network, which leave the source alone."""

from cyclopts import App

from crossport import errors
from crossport.cli.run import cleaned_tables, run_table
from crossport.cli.session import Here
from crossport.client import calls

__all__ = ["app"]

app = App(name="test", help="List and remove test migrations.")


@app.command(name="list")
def list_(*, session: Here) -> None:
    """List test migrations, newest first. `crossport migrate --test` makes one.

    For example:

      crossport test list
    """
    runs = session.all(lambda after: calls.runs(kind="test", after=after))
    session.out.result(runs, run_table(runs))


@app.command
def finish(run: str, /, *, session: Here) -> int:
    """Remove the isolated copy of a test migration and everything that was made for it.

    For example:

      crossport test finish run-0004

    Parameters
    ----------
    run
        The test migration's run.
    """
    cleaned = session.send(calls.finish_test(run))
    session.out.result(cleaned, *cleaned_tables(cleaned))
    return errors.NeedsAttention.exit_code if cleaned.left else 0
