"""`crossport trust runs|run|clean`: what partners' runs have here, and an end to those that nobody ends."""

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import Parameter

from crossport.cli.run import cleaned_tables
from crossport.cli.session import Here
from crossport.cli.text import Table, fields
from crossport.cli.trust import app
from crossport.cli.watch import exit_status
from crossport.client import partner_calls as calls
from crossport.model.partner_run import CleanRequest, PartnerRun
from crossport.model.run import RunState

__all__ = ["app"]

Id = Annotated[str, Parameter(help="The run, as `crossport trust runs` shows it.")]


@app.command
def runs(partner: str = "", /, *, session: Here) -> None:
    """List runs that partners execute and that have an end here, newest first.

    For example:

      crossport trust runs

      crossport trust runs south

    Parameters
    ----------
    partner
        Only runs of this partner.
    """
    found = session.all(lambda after: calls.partner_runs(partner, after))
    rows = tuple(
        (one.id, one.partner, one.tenant, one.cloud, one.vm, _state(one), _time(one.begun)) for one in found
    )
    heads = ("RUN", "PARTNER", "TENANT", "CLOUD", "VM", "STATE", "SINCE")
    session.out.result(found, Table(heads, rows, ""))


@app.command
def run(run: Id, /, *, session: Here) -> None:
    """Show one, with all that stands here because of it.

    For example:

      crossport trust run p-5d0a9c31f7b24e6688d3a1c0
    """
    one = session.send(calls.partner_run(run))
    told = fields(
        f"Run {one.id}",
        ("partner", one.partner),
        ("its run", one.run),
        ("its tenant", one.theirs),
        ("tenant", one.tenant),
        ("end here", f"{one.end or 'none yet'} at {one.cloud}"),
        ("VM", one.vm),
        ("state", _state(one)),
        ("since", _time(one.begun)),
        ("ended", _time(one.ended)),
    )
    stands = Table(("STANDS HERE",), tuple((each,) for each in one.stands) or (("nothing",),))
    session.out.result(one, told, stands)


@app.command
def clean(
    run: Id,
    /,
    *,
    gone: Annotated[bool, Parameter(help="The partner will never go on with this run.", negative=())] = False,
    session: Here,
) -> int:
    """Remove what a partner's run left here, and bring back a VM that it stopped. It may be repeated.

    What may be the last copy is kept: a VM that was let go for its copy stays off, and a copy whose source
    may have been let go is not removed.

    For example:

      crossport trust clean p-5d0a9c31f7b24e6688d3a1c0 --gone
    """
    cleaned = session.send(calls.clean_partner_run(run, CleanRequest(gone=gone)))
    session.out.result(cleaned, *cleaned_tables(cleaned))
    return exit_status(RunState.ATTENTION) if cleaned.left else 0


def _state(one: PartnerRun) -> str:
    return f"{one.state}, over" if one.over else one.state.value


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""
