"""Plans as files: YAML or JSON with errors that name line and field, CSV in and out. Pure.

YAML is read with its nodes' places kept, so that a wrong field is told with its line; JSON is read by the
same reader, being YAML. A CSV has one VM per line and columns for what differs between VMs.
"""

import csv
import io
import json
from collections.abc import Iterable
from functools import cache
from typing import Any, cast

import yaml
from pydantic import TypeAdapter, ValidationError

from crossport import errors
from crossport.cli.parameter import pairs
from crossport.model import codec
from crossport.model.mapping import MappingRules
from crossport.model.name import reason
from crossport.model.plan import Plan, PlannedVM, PlannedWarm
from crossport.model.run import Mode

__all__ = ["COLUMNS", "from_csv", "parsed", "schema", "to_csv", "written"]

VERSION = 1
SIZE_MAX = 4 * 1024 * 1024
DEPTH_MAX = 20
COLUMNS = (
    *("vm", "wave", "after", "name", "mode", "flavor", "zone", "networks", "accept"),
    *("max_outage_s", "cutover", "cutover_at"),
)
"""Of a CSV. ``after``, ``networks`` (a=b) and ``accept`` take several texts with spaces between."""


def parsed(text: str, name: str) -> Plan:
    """Return the plan that YAML or JSON ``text`` describes; ``name`` is the file's, for messages."""
    if len(text) > SIZE_MAX:
        raise errors.Invalid("plan.file.large", f"{name} is too large.", remedy="Split the plan.")
    node = _composed(text, name)
    value = _plain(node, name)
    version: Any = cast("dict[str, Any]", value).get("version") if isinstance(value, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise errors.Invalid(
            "plan.file.newer",
            f"{name} has version {version} of the file format; this program knows {VERSION}.",
            field="version",
            remedy="Use a newer crossport.",
        )
    try:
        plan = _adapter().validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise _invalid(error, node, name) from error
    _check_names(plan, node, name)
    return plan


def schema() -> dict[str, Any]:
    """Return the JSON schema of a plan file, as it is published."""
    made = _adapter().json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:crossport:plan:1",
        **made,
        "title": "A Crossport plan, version 1",
    }


def written(plan: Plan) -> str:
    """Return the plan as YAML, without what says no more than the default does."""
    value = _trimmed(codec.plain(plan), codec.plain(Plan(name="", source="", target="", vms=())))
    vms = [_trimmed(codec.plain(vm), codec.plain(PlannedVM(vm=""))) for vm in plan.vms]
    whole = {"version": VERSION, "name": plan.name, "source": plan.source, "target": plan.target}
    return yaml.safe_dump(whole | value | {"vms": vms}, sort_keys=False, allow_unicode=True)


def from_csv(text: str, *, name: str, source: str, target: str) -> Plan:
    """Return the plan of a CSV with the columns of COLUMNS, of which only ``vm`` is needed."""
    rows = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    unknown = set(rows.fieldnames or ()) - set(COLUMNS)
    if unknown or "vm" not in (rows.fieldnames or ()):
        wrong = min(unknown) if unknown else "vm"
        raise errors.Invalid(
            "plan.csv.columns",
            f"Line 1: {'there is no such column' if unknown else 'this column is needed'}.",
            field=wrong,
            remedy=f"Use the columns {', '.join(COLUMNS)}.",
        )
    vms = tuple(_row(row, rows.line_num) for row in rows)
    return Plan(name=name, source=source, target=target, vms=vms)


def to_csv(plan: Plan) -> str:
    """Return the plan's VMs as CSV. Texts that a spreadsheet would take for a formula are quoted for it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for vm in plan.vms:
        networks = " ".join(f"{one}={other}" for one, other in vm.rules.networks.items())
        mode = vm.mode.value if vm.mode else ""
        row = (vm.vm, str(vm.wave), " ".join(vm.after), vm.name, mode)
        row += (vm.rules.flavor, vm.rules.zone, networks, " ".join(vm.accept))
        outage = "" if vm.warm.max_outage_s is None else f"{vm.warm.max_outage_s:g}"
        row += (outage, vm.warm.cutover.value if vm.warm.cutover else "", vm.warm.cutover_at)
        writer.writerow([f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell for cell in row])
    return out.getvalue()


@cache
def _adapter() -> TypeAdapter[Plan]:
    """Return what reads plans; making it takes a tenth of a second."""
    return TypeAdapter(Plan)


def _row(row: dict[str, str | None], line: int) -> PlannedVM:
    cells = {key: (row.get(key) or "").strip().removeprefix("'") for key in COLUMNS}
    if not cells["vm"]:
        raise _csv_error(line, "vm", "The name is missing.")
    wave = cells["wave"] or "1"
    if not wave.isdigit() or not int(wave):
        raise _csv_error(line, "wave", f"{wave!r} is not a number from 1.")
    if cells["mode"] not in ("", *(mode.value for mode in Mode)):
        raise _csv_error(line, "mode", f"{cells['mode']!r} is no mode.")
    networks = pairs(cells["networks"].split(), f"line {line}: networks")
    return PlannedVM(
        vm=cells["vm"],
        wave=int(wave),
        after=tuple(cells["after"].split()),
        name=cells["name"],
        mode=Mode(cells["mode"]) if cells["mode"] else None,
        rules=MappingRules(flavor=cells["flavor"], zone=cells["zone"], networks=networks),
        accept=tuple(cells["accept"].split()),
        warm=_warm(cells, line),
    )


def _warm(cells: dict[str, str], line: int) -> PlannedWarm:
    said = {name: cells[name] for name in ("max_outage_s", "cutover", "cutover_at") if cells[name]}
    try:
        # Of a spreadsheet everything is a text, so a number is one that reads as one.
        return TypeAdapter(PlannedWarm).validate_python(said, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _csv_error(line, str(first["loc"][0]), reason(first)) from error


def _csv_error(line: int, field: str, text: str) -> errors.Invalid:
    return errors.Invalid("plan.csv.cell", f"Line {line}: {text}", field=field, remedy="Correct this cell.")


def _composed(text: str, name: str) -> yaml.Node:
    """Return the file's tree with the place of each part."""
    try:
        _check_shape(text, name)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = mark.line + 1 if mark else 1
        reason = getattr(error, "problem", None) or "it cannot be read"
        raise errors.Invalid(
            "plan.file.syntax", f"{name}, line {line}: {reason}.", remedy="Correct the YAML."
        ) from error
    if node is None:
        raise errors.Invalid("plan.file.empty", f"{name} is empty.", remedy="Write the plan.")
    return node


def _check_shape(text: str, name: str) -> None:
    """Refuse what would cost too much to read: aliases to aliases become gigabytes, depth takes for ever."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise errors.Invalid(
                "plan.file.alias", f"{name}, line {line}: aliases are not allowed.", remedy="Write it out."
            )
        if depth > DEPTH_MAX:
            raise errors.Invalid(
                "plan.file.depth", f"{name}, line {line}: this is nested too deeply.", remedy="Flatten it."
            )


def _plain(node: yaml.Node, name: str) -> Any:
    """Return the tree as plain data. A name that is used twice in one table is an error, not a choice."""
    if isinstance(node, yaml.MappingNode):
        table: dict[str, Any] = {}
        for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            if str(key.value) in table:
                raise _at(name, key, "plan.file.twice", str(key.value), "This name is there twice.")
            table[str(key.value)] = _plain(value, name)
        return table
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, name) for item in cast("list[yaml.Node]", node.value)]
    try:
        value = yaml.SafeLoader("").construct_object(node)  # type: ignore[no-untyped-call]
    except (yaml.YAMLError, ValueError) as error:
        text = f"{node.value!r} is no plain value."
        raise _at(name, node, "plan.file.value", str(node.value), text) from error
    # Dates and times are written without quotes by habit (`start: 22:00`); they are texts here.
    plain = (
        value is None
        or isinstance(value, bool | float | str)
        or (isinstance(value, int) and ":" not in node.value)
    )
    return value if plain else str(node.value)


def _invalid(error: ValidationError, root: yaml.Node, name: str) -> errors.Invalid:
    first = error.errors(include_url=False, include_input=False)[0]
    path = list(first["loc"])
    return _at(name, _found(root, path), "plan.file.field", _named(path), reason(first))


def _check_names(plan: Plan, root: yaml.Node, name: str) -> None:
    """Refuse a VM that is named twice, waits for none of the plan, or has rules of another mode."""
    names = [vm.vm for vm in plan.vms]
    for number, vm in enumerate(plan.vms):
        if vm.vm in names[:number]:
            place = _found(root, ["vms", number, "vm"])
            raise _at(name, place, "plan.vm.twice", f"vms[{number}].vm", f"{vm.vm} is there twice.")
        if vm.warm != PlannedWarm() and (vm.mode or plan.mode) is not Mode.WARM:
            place = _found(root, ["vms", number, "warm"])
            text = f"{vm.vm} moves in mode {vm.mode or plan.mode}: these rules are those of mode warm."
            raise _at(name, place, "plan.vm.warm", f"vms[{number}].warm", text)
        for position, other in enumerate(vm.after):
            if other not in names or other == vm.vm:
                place = _found(root, ["vms", number, "after", position])
                field = f"vms[{number}].after[{position}]"
                raise _at(name, place, "plan.vm.after", field, f"{other} is no other VM of this plan.")


def _found(node: yaml.Node, path: Iterable[str | int]) -> yaml.Node:
    """Return the part at ``path``, or the nearest one above it."""
    for part in path:
        children = _children(node)
        if part not in children:
            return node
        node = children[part]
    return node


def _children(node: yaml.Node) -> dict[str | int, yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return {str(key.value): value for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value)}
    if isinstance(node, yaml.SequenceNode):
        return dict(enumerate(cast("list[yaml.Node]", node.value)))
    return {}


def _named(path: Iterable[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _at(name: str, node: yaml.Node, code: str, field: str, text: str) -> errors.Invalid:
    line = node.start_mark.line + 1
    return errors.Invalid(
        code, f"{name}, line {line}: {text}", field=field, remedy="Correct it; see `crossport plan schema`."
    )


def _trimmed(value: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in value.items() if each != default.get(key, ...)}
