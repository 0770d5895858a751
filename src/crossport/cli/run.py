"""`crossport run`: watch runs, decide about them, read their reports, clean up after them."""

from datetime import UTC, datetime
from typing import Annotated

from cyclopts import App, Parameter

from crossport.cli.limit import bound_text
from crossport.cli.parameter import rate
from crossport.cli.report import report_tables
from crossport.cli.session import Here
from crossport.cli.story import MIGRATIONS
from crossport.cli.text import Table, fields
from crossport.cli.watch import exit_status, how_to_go_on, watch
from crossport.client import calls
from crossport.model.limit import RunLimit
from crossport.model.request import Evidence, ResolveAs
from crossport.model.run import RunRecord, RunState
from crossport.model.sealing import Admission
from crossport.spi.site import Cleaned

__all__ = ["app", "cleaned_tables", "run_table"]

app = App(name="run", help="Watch, decide, report and clean up runs.")

RunName = Annotated[str, Parameter(help="The run, as `crossport run list` shows it.")]


@app.command(name="list")
def list_(
    *,
    state: Annotated[RunState | None, Parameter(help="Only runs in this state.")] = None,
    kind: Annotated[str, Parameter(help="Only runs of this kind.", show_default=False)] = "",
    vm: Annotated[
        str, Parameter(help="Only runs of the VM, named as it was to them.", show_default=False)
    ] = "",
    session: Here,
) -> None:
    """List runs, newest first.

    For example:

      crossport run list

      crossport run list --state attention

      crossport run list --vm web
    """
    runs = session.all(lambda after: calls.runs(state=state, kind=kind, vm=vm, after=after))
    session.out.result(runs, run_table(runs))


@app.command
def show(run: RunName, /, *, session: Here) -> None:
    """Show a run; one that needs attention or waits, or that a partner has an end of, with all that is known
    about both ends, and what both sites have signed.

    For example:

      crossport run show run-0001
    """
    record = session.send(calls.run(run))
    undecided = record.state in (RunState.ATTENTION, RunState.WAITING)
    shared = any("@" in record.labels.get(end, "") for end in ("source", "target"))
    if (undecided or shared) and record.kind == MIGRATIONS:
        evidence = session.send(calls.evidence(run))
        session.out.result(evidence, *_evidence(evidence))
    else:
        kept = session.send(calls.evidence(run)).admission if record.kind == MIGRATIONS else None
        session.out.result(record, _one(record), *_admission(kept))
    if undecided:
        session.out.say(how_to_go_on(run, record.state, record.labels, record.kind))


@app.command(name="watch")
def watch_(run: RunName, /, *, session: Here) -> int:
    """Watch a run until nothing more happens by itself. With --json every event is one line of JSON.

    Ctrl-C asks whether to detach (the run goes on) or to cancel it; where nobody can be asked it detaches,
    with exit status 130.

    For example:

      crossport run watch run-0001

      crossport run watch run-0001 --json
    """
    return watch(session, run, stream=session.out.as_json)


@app.command
def cancel(run: RunName, /, *, session: Here) -> None:
    """Ask a run to stop and to bring the source back. Refused past the commit.

    For example:

      crossport run cancel run-0001
    """
    _tell(session, session.send(calls.cancel(run)))


@app.command
def resume(run: RunName, /, *, session: Here) -> None:
    """Try a run that needs attention again, from the step that failed.

    For example:

      crossport run resume run-0001
    """
    _tell(session, session.send(calls.resume(run)))


@app.command
def cutover(run: RunName, /, *, session: Here) -> None:
    """Let a warm migration shut its source down, whatever outage it takes, and go over.

    What changed is copied once more first.

    For example:

      crossport run cutover run-0001
    """
    _tell(session, session.send(calls.cut_over(run)))


@app.command
def commit(run: RunName, /, *, session: Here) -> None:
    """Commit a run that waits for it: the point of no return.

    For example:

      crossport run commit run-0001
    """
    _tell(session, session.send(calls.decide(run, commit=True)))


@app.command
def rollback(run: RunName, /, *, session: Here) -> None:
    """Roll back a run that waits. What the target wrote meanwhile is discarded.

    For example:

      crossport run rollback run-0001
    """
    _tell(session, session.send(calls.decide(run, commit=False)))


@app.command
def limit(run: RunName, bound: Annotated[str, Parameter(name="RATE")], /, *, session: Here) -> None:
    """Let the copies of a run together send at most RATE, at once.

    For example:

      crossport run limit run-0001 100M

      crossport run limit run-0001 none

    Parameters
    ----------
    bound
        Bits per second: 100M, 1.5G, 800k, or none.
    """
    told = session.send(calls.limit_run(run, RunLimit(rate_bps=rate(bound, "RATE"))))
    session.out.result(told, fields("", ("run", run), ("rate", bound_text(told.rate_bps))))


@app.command
def resolve(
    run: RunName,
    /,
    *,
    outcome: Annotated[
        ResolveAs, Parameter(name="--as", help="Which end is the truth; abandon touches nothing any more.")
    ],
    session: Here,
) -> None:
    """End a run that needs attention as you say. See `crossport run show` first: it has the evidence.

    For example:

      crossport run resolve run-0001 --as source

      crossport run resolve run-0001 --as abandon
    """
    _tell(session, session.send(calls.resolve(run, outcome)))


@app.command
def clean(run: RunName, /, *, session: Here) -> int:
    """Remove what a run left behind. It may be repeated; what could not be removed is told.

    For example:

      crossport run clean run-0001
    """
    cleaned = session.send(calls.clean(run))
    session.out.result(cleaned, *cleaned_tables(cleaned))
    return exit_status(RunState.ATTENTION) if cleaned.left else 0


@app.command
def report(run: RunName, /, *, session: Here) -> None:
    """Print the report of a run that is final: phases, bytes, outage, mapping, findings, estimate.

    For example:

      crossport run report run-0001

      crossport run report run-0001 --json > report.json
    """
    told = session.send(calls.report(run))
    session.out.result(told, *report_tables(told))


@app.command
def ledger(run: RunName, /, *, session: Here) -> None:
    """List what a run created and what became of it.

    For example:

      crossport run ledger run-0001
    """
    created = session.all(lambda _: calls.ledger(run))
    rows = tuple((each.cloud, each.kind, each.name, each.id, each.state.value, each.note) for each in created)
    session.out.result(created, Table(("CLOUD", "KIND", "NAME", "ID", "STATE", "NOTE"), rows))


def run_table(runs: tuple[RunRecord, ...]) -> Table:
    """Return runs as a table."""
    rows = tuple(
        (
            run.id,
            run.kind,
            run.subject,
            run.labels.get("source", ""),
            run.labels.get("target", ""),
            run.state.value,
            _time(run.created),
        )
        for run in runs
    )
    return Table(("RUN", "KIND", "SUBJECT", "FROM", "TO", "STATE", "CREATED"), rows)


def cleaned_tables(cleaned: Cleaned) -> list[Table]:
    """Return what was removed, and what could not be."""
    removed = Table(("REMOVED",), tuple((thing,) for thing in cleaned.removed) or (("nothing",),))
    left = Table(("COULD NOT BE REMOVED",), tuple((thing,) for thing in cleaned.left))
    return [removed, left] if cleaned.left else [removed]


def _tell(session: Here, record: RunRecord) -> None:
    session.out.result(record, _one(record))
    if not record.state.final:
        session.out.say(f"Watch it: `crossport run watch {record.id}`.")


def _one(run: RunRecord) -> Table:
    return fields(
        f"Run {run.id}",
        ("kind", run.kind),
        ("subject", run.subject),
        ("from", run.labels.get("source", "")),
        ("to", run.labels.get("target", "")),
        ("state", run.state.value),
        ("attention", run.attention),
        ("created", _time(run.created)),
        ("started", _time(run.started)),
        ("ended", _time(run.ended)),
        ("node", run.node),
    )


def _evidence(evidence: Evidence) -> list[Table]:
    ends = tuple(
        (name, vm.name if vm else "none", vm.power.value if vm else "", "fenced" if vm and vm.fenced else "")
        for name, vm in (("source", evidence.source_vm), ("target", evidence.target_vm))
    )
    return [
        _one(evidence.run),
        Table(("END", "VM", "POWER", ""), ends, "The VMs now"),
        Table(("STATEMENT",), tuple((each,) for each in evidence.statements), "What both ends stated"),
        *_admission(evidence.admission),
        fields("", ("advice", evidence.advice)),
    ]


def _admission(admission: Admission | None) -> list[Table]:
    """Return who sealed, by whose policy that was admitted, and each step of the verification."""
    if admission is None:
        return []
    policy = f"policy {admission.generation}" if admission.generation else "the first policy"
    by = f"by {policy} of {admission.importer}, {_time(admission.admitted)}"
    sealed = f"by {admission.site} with key {admission.key[:16]}, {_time(admission.made)}"
    rows = tuple((str(one.step), one.text) for one in admission.steps)
    return [
        fields("The certified image", ("sealed", sealed), ("admitted", by)),
        Table(("STEP", "WHAT HELD"), rows, right=frozenset({"STEP"})),
    ]


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S") if seconds else ""
