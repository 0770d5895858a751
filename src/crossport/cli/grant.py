"""`crossport grant`: by whose right runs go on, and taking it away."""

from datetime import UTC, datetime

from cyclopts import App

from crossport.cli.session import Here
from crossport.cli.text import Table, fields
from crossport.client import grant_calls as calls
from crossport.model.federation import Ceilings
from crossport.model.grant import RunGrant

__all__ = ["app"]

app = App(
    name="grant",
    help="""See by whose right runs go on, and take it away.

    A run that somebody began who signed in at an identity provider, or that a partner executes, holds a grant
    here. Runs that were begun with a token of the site need none.
    """,
)


@app.command(name="list")
def list_(*, session: Here) -> None:
    """List grants: your own, or those that you may see.

    For example:

      crossport grant list
    """
    found = session.all(calls.grants)
    rows = tuple(
        (each.run, each.about, _who(each), each.tenant, _time(each.until), _state(each)) for each in found
    )
    session.out.result(tuple(found), Table(("RUN", "ABOUT", "WHO", "TENANT", "UNTIL", "STATE"), rows))


@app.command
def show(run: str, /, *, session: Here) -> None:
    """Show by whose right a run goes on, and until when.

    For example:

      crossport grant show 3f9a1c7e20b4

    Parameters
    ----------
    run
        The run, as `crossport grant list` shows it.
    """
    found = session.send(calls.grant(run))
    session.out.result(found, _page(found))


@app.command
def revoke(run: str, /, *, session: Here) -> None:
    """Take a run its right: it stops within a minute, and its source is as it was before.

    Behind the commit nothing is taken back: the run is finished, and says so.

    For example:

      crossport grant revoke 3f9a1c7e20b4

    Parameters
    ----------
    run
        The run, as `crossport grant list` shows it.
    """
    taken = session.send(calls.revoke_grant(run))
    session.out.result(taken, _page(taken))


def _page(grant: RunGrant) -> Table:
    holder = grant.holder
    bound = holder.ceilings if holder else Ceilings()
    ceilings = (*bound.clouds, *bound.vms, *bound.projects)
    return fields(
        "",
        ("run", grant.run),
        ("about", grant.about),
        ("clouds", " ".join(grant.clouds)),
        ("who", _who(grant)),
        ("issuer", holder.subject.issuer if holder else ""),
        ("rule", holder.rule.name if holder else ""),
        ("ceilings", " ".join(ceilings)),
        ("their run", grant.called),
        ("acts as", grant.tenant),
        ("since", _time(grant.since)),
        ("until", _time(grant.until)),
        ("state", _state(grant)),
        ("lost", _time(grant.lost) if grant.lost else ""),
        ("taken by", grant.by),
    )


def _who(grant: RunGrant) -> str:
    if grant.holder:
        return grant.holder.subject.sub
    return f"{grant.theirs}@{grant.partner}"


def _state(grant: RunGrant) -> str:
    why = f"{grant.state.value}: {grant.loss.value}" if grant.loss else grant.state.value
    return f"{why}, behind the commit" if grant.late else why


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
