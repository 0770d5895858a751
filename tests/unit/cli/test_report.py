"""The report as text: every part that is known is there, and nothing that is not."""

import io
from dataclasses import replace

from rich.console import Console

from crossport import errors
from crossport.api.example import REPORT
from crossport.cli.output import Output, rich_table
from crossport.cli.report import report_tables, report_text
from crossport.cli.story import Story, copy_text, phase_table, phases_of
from crossport.cli.text import Table, aligned, harmless
from crossport.model.artifact import Counters, Moved, Progress
from crossport.model.finding import Finding, Severity
from crossport.model.run import PHASES, Estimate, Event, EventKind, Phase, RunState, Sync
from crossport.units import MIB

MOVED = Moved(
    artifact="disk-0",
    size=100 * MIB,
    chunk_size=262144,
    root="0",
    counters=Counters(read=40 * MIB, sent=20 * MIB, written=30 * MIB),
    seconds=1.0,
)


def test_all_eight_phases_are_told_whether_reached_merged_or_not():
    phases = (
        Phase(name="image_creation", started=100.0, seconds=2.0),
        Phase(name="image_download", started=102.0, seconds=0.0, merged_into="image_upload"),
    )
    lines = report_text(replace(REPORT, phases=phases, total_seconds=9.5)).splitlines()
    told = {name: next(line for line in lines if line.strip().startswith(name)) for name in PHASES}
    assert told["image_creation"].endswith("+0.0 s            2.0 s")
    assert told["image_download"].endswith("in image_upload")
    assert all(told[name].endswith("not reached") for name in PHASES[3:])
    assert any("total (wall time)" in line and line.endswith("9.5 s") for line in lines)


def test_the_bytes_of_several_disks_are_added_up():
    text = report_text(replace(REPORT, moved=(MOVED, replace(MOVED, artifact="disk-1"))))
    (line,) = [line for line in text.splitlines() if line.strip().startswith("all")]
    assert line.split() == ["all", "200", "MiB", "80", "MiB", "40", "MiB", "60", "MiB"]


def test_bytes_that_the_target_had_are_told_where_there_are_any():
    shared = replace(MOVED, counters=replace(MOVED.counters, shared=10 * MIB))
    text = report_text(replace(REPORT, moved=(shared, replace(MOVED, artifact="disk-1"))))
    (head,) = [line for line in text.splitlines() if "WRITTEN" in line]
    (line,) = [line for line in text.splitlines() if line.strip().startswith("all")]
    assert head.split()[-1] == "SHARED"
    assert line.split()[-2:] == ["10", "MiB"]
    assert "SHARED" not in report_text(replace(REPORT, moved=(MOVED,)))


def test_what_syncs_left_to_the_last_one_is_told_where_there_is_any():
    sync = Sync(what="delta", started=100.0, seconds=1.0, read=10 * MIB, sent=5 * MIB)
    text = report_text(replace(REPORT, syncs=(sync, replace(sync, owed=3 * MIB))))
    (head,) = [line for line in text.splitlines() if "DISKS" in line]
    lines = [line for line in text.splitlines() if line.strip().startswith("delta")]
    assert head.split()[-1] == "OWED"
    assert [line.split()[-2:] for line in lines] == [["0", "B"], ["3", "MiB"]]
    assert "OWED" not in report_text(replace(REPORT, syncs=(sync,)))


def test_by_how_much_an_estimate_was_off_is_told():
    estimate = Estimate(seconds=15.0, outage_s=8.0, size=10 * MIB)
    known = replace(REPORT, estimate=estimate, total_seconds=10.0, outage_s=10.0, moved=(MOVED,))
    lines = report_text(known).splitlines()
    told = lines[next(at for at, line in enumerate(lines) if "OFF BY" in line) :]
    assert told[1].split() == ["time", "15.0", "s", "10.0", "s", "+50", "%"]
    assert told[2].split() == ["outage", "8.0", "s", "10.0", "s", "-20", "%"]
    unknown = report_text(replace(known, outage_s=None))
    assert "-20 %" not in unknown


def test_findings_are_told_gravest_first():
    graver = Finding("a.b", Severity.BLOCKER, "vm", "Stop.", "Do this.")
    text = report_text(replace(REPORT, findings=(*REPORT.findings, graver)))
    assert text.index("a.b") < text.index("nic.mac.kept")
    assert "Stop. Do this." in text


def test_parts_of_which_nothing_is_known_are_left_out():
    bare = replace(REPORT, moved=(), estimate=None, findings=(), mapping=type(REPORT.mapping)(), health=None)
    assert [table.title for table in report_tables(bare)] == ["Run run-0001", "Phases"]


def test_who_a_tenant_is_at_the_partners_end_is_told():
    told = report_text(replace(REPORT, tenants={"beta@south": "acme"}))
    assert f"beta@south: tenant {REPORT.request.tenant} of this site is tenant acme there" in told
    assert "is tenant" not in report_text(REPORT)


def test_what_could_not_be_removed_is_told():
    assert "volume v1 in beta" in report_text(replace(REPORT, left_behind=("volume v1 in beta",)))


def test_a_story_adds_up_the_copies_of_several_disks():
    story = Story()
    for name, done, left in (("disk-0", 30, 4.0), ("disk-1", 20, 9.0)):
        progress = Progress(artifact=name, size=50 * MIB, done=done * MIB, rate_bps=1e6, seconds_left=left)
        story.take(Event(kind=EventKind.PROGRESS, progress=progress))
    copied = story.copied()
    assert copied
    assert copy_text(copied) == "50 MiB of 100 MiB (50 %), 2 Mbit/s, 9.0 s left"
    still = replace(copied, rate_bps=0.0, seconds_left=None, waits_for="target")
    assert copy_text(still) == "50 MiB of 100 MiB (50 %), stands still: waits for the target"


def test_a_phase_that_begins_anew_is_running_again():
    story = Story()
    phase = Phase(name="image_upload", started=10.0, seconds=1.0)
    for kind in (EventKind.PHASE_STARTED, EventKind.PHASE_FINISHED, EventKind.PHASE_STARTED):
        story.take(Event(kind=kind, phase=phase))
    story.take(Event(kind=EventKind.STATE, state=RunState.RUNNING))
    (row,) = [row for row in phase_table(story, 12.0).rows if row[0] == "image_upload"]
    assert row == ("image_upload", "running", "2.0 s")


def test_a_fetch_has_one_phase_and_its_copy_is_told_to_the_end():
    story = Story(phases=phases_of("fetch"))
    assert phase_table(story, 12.0).rows == (("image_download", "", ""),)
    phase = Phase(name="image_download", started=10.0, seconds=1.0)
    for kind in (EventKind.PHASE_STARTED, EventKind.PHASE_FINISHED):
        story.take(Event(kind=kind, phase=phase))
        assert story.copying
    assert phase_table(story, 12.0).rows == (("image_download", "done", "1.0 s"),)
    assert phases_of("migrate") == PHASES


def test_columns_are_aligned_and_figures_stand_right():
    table = Table(("NAME", "SIZE"), (("a", "1"), ("long", "100")), right=frozenset({"SIZE"}))
    assert aligned(table) == "NAME  SIZE\na        1\nlong   100\n"


def test_a_guest_cannot_drive_the_terminal_through_its_console():
    assert harmless("a\x1b]0;evil\x07b\r\nc\td\x9b2J") == "a]0;evilb\nc\td2J"


def test_a_name_from_a_cloud_cannot_drive_the_terminal_wherever_it_is_told():
    evil, shown = "we\x1b[2Jb", "we[2Jb"
    out, err = io.StringIO(), io.StringIO()
    output = Output(out, err, {})
    output.table(Table(("VM",), ((evil,),), title=evil))
    output.say(evil)
    output.warn(evil)
    output.error(errors.NotFound("vm.unknown", f"There is no {evil}.", remedy=evil, field=evil))
    Console(file=out, color_system=None).print(rich_table(Table(("VM",), ((evil,),))))
    told = out.getvalue() + err.getvalue()
    assert "\x1b" not in told
    assert told.count(shown) == 8
