"""Plan files: what is read, and that what is wrong is told with line and field."""

import datetime
import json

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossport import errors
from crossport.cli.plan_file import from_csv, parsed, schema, to_csv, written
from crossport.model import codec
from crossport.model.mapping import MappingRules
from crossport.model.name import seconds_of
from crossport.model.plan import Plan, PlannedVM, PlannedWarm, Window
from crossport.model.run import Cutover, Mode

GOOD = """\
name: shop
source: alpha
target: beta
approval: true
window:
  days: [sat, sun]
  start: 22:00
  end: 24:00
rules:
  networks: {lan: office}
vms:
  - vm: db
    mode: suspend
  - vm: web
    wave: 2
    after: [db]
"""

WAITS = PlannedWarm(cutover=Cutover.MANUAL)
AT = PlannedWarm(cutover_at="2026-12-31T22:30:00+01:00")
FIELD = "plan.file.field"
NAMES = st.text("abcxyz019-", min_size=1, max_size=8).filter(lambda name: not name.startswith("-"))


def test_a_plan_in_yaml_is_read():
    plan = parsed(GOOD, "shop.yaml")
    assert plan.window == Window(days=("sat", "sun"), start="22:00", end="24:00")
    assert plan.rules.networks == {"lan": "office"}
    assert plan.vms[0].mode is Mode.SUSPEND
    assert plan.vms[1].after == ("db",)


def test_the_same_plan_in_json_is_read():
    plan = parsed(GOOD, "shop.yaml")
    assert parsed(codec.encoded(plan), "shop.json") == plan


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "code"),
    [
        ("approval: true", "approval: maybe", 4, "approval", "plan.file.field"),
        ("    wave: 2", "    wave: two", 15, "vms[1].wave", "plan.file.field"),
        ("    wave: 2", "    wafe: 2", 15, "vms[1].wafe", "plan.file.field"),
        ("{lan: office}", "{lan: [a]}", 10, "rules.networks.lan", "plan.file.field"),
        ("target: beta\n", "", 1, "target", "plan.file.field"),
        ("after: [db]", "after: [mail]", 16, "vms[1].after[0]", "plan.vm.after"),
        ("after: [db]", "after: [web]", 16, "vms[1].after[0]", "plan.vm.after"),
        ("- vm: web", "- vm: db", 14, "vms[1].vm", "plan.vm.twice"),
        ("approval: true", "name: again", 4, "name", "plan.file.twice"),
        ("days: [sat, sun]", "days: [sat, sun", 7, "", "plan.file.syntax"),
        ("mode: suspend", "mode: !!python/name:os.system x", 13, "x", "plan.file.value"),
        ("rules:", "rules: &r", 0, "", ""),
        ("mode: suspend", "mode: warm\n    warm: {max_outage_s: 0}", 14, "vms[0].warm.max_outage_s", FIELD),
        ("mode: suspend", "mode: warm\n    warm: {cutover: now}", 14, "vms[0].warm.cutover", FIELD),
        ("mode: suspend", "mode: warm\n    warm: {cutover_at: 22:30}", 14, "vms[0].warm.cutover_at", FIELD),
        (
            "mode: suspend",
            "mode: warm\n    warm: {cutover_at: 2026-02-30T22:30Z}",
            14,
            "vms[0].warm.cutover_at",
            FIELD,
        ),
        ("mode: suspend", "mode: cold\n    warm: {cutover: manual}", 14, "vms[0].warm", "plan.vm.warm"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_wrong_is_told_with_line_and_field(old: str, new: str, line: int, field: str, code: str):
    text = GOOD.replace(old, new, 1)
    if not code:
        assert parsed(text, "shop.yaml").name == "shop"
        return
    with pytest.raises(errors.Invalid) as caught:
        parsed(text, "shop.yaml")
    assert (caught.value.code, caught.value.field) == (code, field)
    assert f"line {line}" in caught.value.text
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "plan.file.empty"),
        ("version: 2\nname: x", "plan.file.newer"),
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "plan.file.alias"),
        ("[" * 20000, "plan.file.depth"),
        ("- just\n- a list", "plan.file.field"),
        ("{[a]: 1}", "plan.file.field"),
    ],
    ids=["empty", "newer", "aliases", "deep", "list", "odd-key"],
)
def test_a_file_that_is_no_plan_is_refused(text: str, code: str):
    with pytest.raises(errors.Invalid) as caught:
        parsed(text, "x.yaml")
    assert caught.value.code == code


def test_the_published_schema_accepts_the_plan_and_refuses_a_typing_error():
    plan = codec.plain(parsed(GOOD, "shop.yaml"))
    jsonschema.validate(plan, schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plan | {"vmz": []}, schema())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(NAMES, min_size=1, max_size=5, unique=True),
    st.integers(1, 9),
    st.sampled_from([None, *Mode]),
    st.dictionaries(NAMES, NAMES, max_size=3),
    st.sampled_from([PlannedWarm(), PlannedWarm(max_outage_s=60.5), WAITS, AT]),
)
def test_a_plan_survives_yaml_and_csv(
    names: list[str], wave: int, mode: Mode | None, networks: dict[str, str], warm: PlannedWarm
):
    warm = warm if mode is Mode.WARM else PlannedWarm()
    vms = tuple(
        PlannedVM(
            vm=name,
            wave=wave,
            mode=mode,
            after=tuple(names[:number]),
            rules=MappingRules(networks=networks),
            warm=warm,
        )
        for number, name in enumerate(names)
    )
    plan = Plan(name="shop", source="alpha", target="beta", vms=vms)
    assert parsed(written(plan), "shop.yaml") == plan
    assert from_csv(to_csv(plan), name="shop", source="alpha", target="beta") == plan


@pytest.mark.parametrize(
    ("text", "field", "line"),
    [
        ("name\nx\n", "vm", 1),
        ("vm,colour\nx,red\n", "colour", 1),
        ("vm,wave\nx,1\ny,soon\n", "wave", 3),
        ("vm,wave\n,1\n", "vm", 2),
        ("vm,mode\nx,hot\n", "mode", 2),
        ("vm,mode,max_outage_s\nx,warm,60\ny,warm,none\n", "max_outage_s", 3),
        ("vm,mode,cutover\nx,warm,now\n", "cutover", 2),
        ("vm,mode,cutover_at\nx,warm,22:30\n", "cutover_at", 2),
    ],
)
def test_a_wrong_cell_is_told_with_its_line(text: str, field: str, line: int):
    with pytest.raises(errors.Invalid) as caught:
        from_csv(text, name="p", source="a", target="b")
    assert caught.value.field == field
    assert f"Line {line}:" in caught.value.text


def test_a_name_that_a_spreadsheet_would_calculate_is_kept_as_text():
    plan = Plan(name="p", source="a", target="b", vms=(PlannedVM(vm="=1+1"),))
    assert "\n'=1+1," in to_csv(plan)
    assert from_csv(to_csv(plan), name="p", source="a", target="b") == plan


def test_the_schema_is_json():
    assert json.loads(json.dumps(schema()))["$id"] == "urn:crossport:plan:1"


@given(st.integers(0, 100 * 525_960 - 1))
def test_every_minute_of_this_century_is_a_moment(minute: int):
    when = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(minutes=minute)
    text = when.strftime("%Y-%m-%dT%H:%MZ")
    assert from_csv(f"vm,mode,cutover_at\nx,warm,{text}\n", name="p", source="a", target="b")
    assert seconds_of(text) == when.timestamp()


@pytest.mark.parametrize(
    "text", ["2026-02-29T00:00Z", "2026-04-31T00:00Z", "2026-01-01T24:00Z", "22:30", "now"]
)
def test_what_no_calendar_has_is_no_moment(text: str):
    with pytest.raises(errors.Invalid, match="no moment"):
        from_csv(f"vm,mode,cutover_at\nx,warm,{text}\n", name="p", source="a", target="b")
