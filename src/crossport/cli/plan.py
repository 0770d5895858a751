"""`crossport plan`: several VMs, in waves, from a file."""

import json
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from crossport import errors
from crossport.cli import plan_file
from crossport.cli.report import finding_table
from crossport.cli.session import Here, Session
from crossport.cli.text import Table, fields
from crossport.cli.watch import how_to_go_on, watch
from crossport.client import calls
from crossport.model.finding import Severity
from crossport.model.plan import Plan, PlanCheck, PlanStatus
from crossport.units import seconds_text, size_text

__all__ = ["app"]

app = App(name="plan", help="Move several VMs in waves, from a file.")

File = Annotated[Path, Parameter(help="The plan's file: .yaml, .yml or .json.")]
Name = Annotated[str, Parameter(help="The plan's name, as `crossport plan list` shows it.")]
PlanOrFile = Annotated[str, Parameter(help="The plan, by its name; a file is put first.")]


@app.command
def put(file: File, /, *, session: Here) -> None:
    """Keep a plan at the site, replacing an older one of its name.

    For example:

      crossport plan put shop.yaml
    """
    plan = session.send(calls.put_plan(_read(file)))
    session.out.result(plan, _one(plan))


@app.command(name="list")
def list_(*, session: Here) -> None:
    """List the plans.

    For example:

      crossport plan list
    """
    plans = session.all(calls.plans)
    rows = tuple((plan.name, plan.source, plan.target, str(len(plan.vms))) for plan in plans)
    session.out.result(plans, Table(("PLAN", "FROM", "TO", "VMS"), rows, right=frozenset({"VMS"})))


@app.command
def show(plan: Name, /, *, session: Here) -> None:
    """Show a plan that is kept: its VMs in their waves, and what each waits for.

    For example:

      crossport plan show shop

      crossport plan show shop --json
    """
    kept = session.send(calls.plan(plan))
    session.out.result(kept, _one(kept), _vm_table(kept))


@app.command
def remove(plan: Name, /, *, session: Here) -> None:
    """Forget a plan that does not run. Its runs and their reports stay, and so do the VMs.

    For example:

      crossport plan remove shop
    """
    session.send(calls.remove_plan(plan))
    session.out.result({"removed": plan}, fields("", ("removed", plan)))


@app.command
def check(plan: PlanOrFile, /, *, session: Here) -> int:
    """Dry-run every VM of a plan: findings, expected time. Exit status 3 when something stands in the way.

    For example:

      crossport plan check shop.yaml

      crossport plan check shop --json
    """
    checked = session.send(calls.check_plan(_name(session, plan)))
    session.out.result(checked, *_check_tables(checked))
    found = [finding for findings in checked.findings.values() for finding in findings]
    blocked = any(finding.severity in (Severity.BLOCKER, Severity.DECISION) for finding in found)
    return errors.Blocked.exit_code if blocked else 0


@app.command
def run(
    plan: PlanOrFile,
    /,
    *,
    detach: Annotated[bool, Parameter(negative=(), help="Return when the run began.")] = False,
    session: Here,
) -> int:
    """Move the plan's VMs, wave by wave.

    For example:

      crossport plan run shop.yaml

      crossport plan run shop --detach
    """
    name = _name(session, plan)
    record = session.begin(calls.run_plan(name, session.machine.new_key()))
    if detach:
        session.out.result(record, fields("", ("run", record.id), ("state", record.state.value)))
        session.out.say(how_to_go_on(record.id, record.state))
        return 0
    session.out.say(f"Run {record.id}: plan {name}")
    code = watch(session, record.id)
    told = session.send(calls.plan_status(name))
    session.out.result(told, *_status_tables(told))
    return code


@app.command
def status(plan: Name, /, *, session: Here) -> None:
    """Say how far a plan is, VM by VM.

    For example:

      crossport plan status shop
    """
    told = session.send(calls.plan_status(plan))
    session.out.result(told, *_status_tables(told))


@app.command
def schema(*, session: Here) -> None:
    """Print the JSON schema of plan files: editors check and complete with it.

    For example:

      crossport plan schema > plan.schema.json
    """
    session.out.stdout.write(json.dumps(plan_file.schema(), indent=2) + "\n")


@app.command
def from_csv(
    file: Annotated[Path, Parameter(help=f"A CSV with the columns {', '.join(plan_file.COLUMNS)}.")],
    /,
    *,
    name: Annotated[str, Parameter(help="The plan's name.")],
    source: Annotated[str, Parameter(name="--from", help="The cloud the VMs are in.")],
    target: Annotated[str, Parameter(name="--to", help="The cloud they move to.")],
    session: Here,
) -> None:
    """Print the plan that a CSV describes, one VM per line, as YAML.

    For example:

      crossport plan from-csv vms.csv --name shop --from alpha --to beta > shop.yaml
    """
    plan = plan_file.from_csv(_text(file), name=name, source=source, target=target)
    if session.out.as_json:
        session.out.json(plan)
    else:
        session.out.stdout.write(plan_file.written(plan))


@app.command
def to_csv(file: File, /, *, session: Here) -> None:
    """Print the VMs of a plan as CSV.

    For example:

      crossport plan to-csv shop.yaml > vms.csv
    """
    session.out.stdout.write(plan_file.to_csv(_read(file)))


def _name(session: Session, plan: str) -> str:
    """Return the plan's name; when a file is meant, put it first."""
    if not plan.endswith((".yaml", ".yml", ".json")):
        return plan
    return session.send(calls.put_plan(_read(Path(plan)))).name


def _read(file: Path) -> Plan:
    return plan_file.parsed(_text(file), file.name)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.Invalid(
            "cli.file.unreadable",
            f"{file} cannot be read: {error.strerror if isinstance(error, OSError) else error}.",
            field="file",
            remedy="Correct the path.",
        ) from error


def _one(plan: Plan) -> Table:
    return fields(
        f"Plan {plan.name}",
        ("from", plan.source),
        ("to", plan.target),
        ("VMs", ", ".join(vm.vm for vm in plan.vms)),
        ("approval", "asked before each cutover" if plan.approval else ""),
    )


def _vm_table(plan: Plan) -> Table:
    rows = tuple((vm.vm, str(vm.wave), " ".join(vm.after), vm.name) for vm in plan.vms)
    return Table(("VM", "WAVE", "AFTER", "NAME THERE"), rows, right=frozenset({"WAVE"}))


def _check_tables(checked: PlanCheck) -> list[Table]:
    waves = {vm: str(number) for number, wave in enumerate(checked.waves, 1) for vm in wave}
    rows = tuple(
        (
            vm,
            waves.get(vm, ""),
            seconds_text(estimate.seconds),
            seconds_text(estimate.outage_s),
            size_text(estimate.size),
            str(len(checked.findings.get(vm, ()))),
        )
        for vm, estimate in checked.estimates.items()
    )
    headers = ("VM", "WAVE", "TIME", "OUTAGE", "BYTES", "FINDINGS")
    tables = [Table(headers, rows, f"Plan {checked.plan}", right=frozenset(headers[1:]))]
    return tables + [finding_table(found, vm) for vm, found in checked.findings.items() if found]


def _status_tables(told: PlanStatus) -> list[Table]:
    rows = tuple((vm.vm, str(vm.wave), vm.state.value, vm.run, vm.text) for vm in told.vms)
    return [
        fields(
            f"Plan {told.plan.name}",
            ("state", told.state.value if told.run else "not started"),
            ("run", told.run),
        ),
        Table(("VM", "WAVE", "STATE", "RUN", ""), rows, "VMs"),
    ]
