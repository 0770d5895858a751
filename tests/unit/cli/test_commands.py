"""Commands from the typed words to the text on the screen, against a real API on a socket."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.api.site import STUCK
from tests.unit.cli.desk import Desk, Served

from crossport import errors
from crossport.cli.doctor import Patient, examined
from crossport.migration.fetches import FETCH, FetchOrder
from crossport.units import GIB, MIB


def vm(served: Served, name: str, **tags: str) -> str:
    """Let the cloud alpha have a VM of that name."""
    return served.do(served.site.vm(name, **tags)).name


def move(desk: Desk, served: Served, name: str, *options: str, **tags: str) -> str:
    vm(served, name, **tags)
    return desk.type("migrate", name, "--from", "alpha", "--to", "beta", *options)


def moved(desk: Desk, served: Served, name: str, *options: str, **tags: str) -> str:
    """Migrate a new VM of that name; return the run."""
    move(desk, served, name, *options, **tags)
    return desk.json("run", "list", "--vm", name)[0]["id"]


def found(served: Served, name: str) -> str:
    """Let there be a cloud of that name; return the setting that it is connected with."""
    return "path=" + served.do(served.site.found(name)).settings["path"]


def test_clouds_are_connected_listed_and_forgotten(desk: Desk, served: Served):
    path = found(served, "gamma")
    assert "answers  yes" in desk.type("cloud", "add", "gamma", "memory", "--set", path)
    assert [line.split() for line in desk.type("cloud", "list").splitlines()][-1] == ["gamma", "memory", path]
    assert desk.json("vm", "list", "gamma") == []
    desk.type("cloud", "remove", "gamma")
    desk.type("cloud", "check", "gamma")
    assert desk.code == 2
    assert "cloud: There is no cloud gamma." in desk.stderr.getvalue()
    assert "Remedy: Known are: alpha, beta." in desk.stderr.getvalue()


def test_a_secret_setting_comes_from_a_file_and_is_kept_apart(desk: Desk, served: Served, tmp_path: Path):
    (tmp_path / "secret").write_text("hush\n")
    settings = ("--set", found(served, "delta"), "--set-file", f"password={tmp_path / 'secret'}")
    entry = desk.json("cloud", "add", "delta", "memory", *settings)["entry"]
    assert entry["settings"]["password"] == "secret:cloud/default/delta/password"
    desk.type("cloud", "remove", "delta")


def test_a_migration_is_told_line_by_line_and_ends_with_the_report(desk: Desk, served: Served):
    told = move(desk, served, "m1", "--map-network", "app=office", "--check", "http:80:/")
    assert desk.code == 0
    assert desk.stderr.getvalue() == ""
    assert told.index("source_authentication") < told.index("network_setup") < told.index("Estimate against")
    assert "copy: 1 MiB of 1 MiB (100 %)" in told
    assert re.search(r"network +app +office +you", told)
    assert "crossport source retire " in told


@pytest.mark.parametrize(
    ("tag", "code", "word"),
    [("guest_health", 4, "rolled-back"), (STUCK.replace(".", "_"), 5, "needs attention")],
)
def test_the_exit_status_tells_how_a_migration_ended(
    desk: Desk, served: Served, tag: str, code: int, word: str
):
    assert word in move(desk, served, f"end-{code}", "--check", "http:80:/", **{tag: "bad-elsewhere"})
    assert desk.code == code


def test_findings_block_before_anything_moves(desk: Desk):
    words = ("migrate", "odd", "--from", "alpha", "--to", "beta")
    desk.type(*words)
    assert desk.code == 3
    assert "disk.backing" in desk.stderr.getvalue()
    dry = desk.json(*words, "--dry-run")
    assert (desk.code, dry["verdict"], dry["findings"][0]["severity"]) == (3, "fix", "decision")


def test_json_holds_the_report_alone_and_messages_go_to_standard_error(desk: Desk, served: Served):
    vm(served, "m2")
    report = desk.json("migrate", "m2", "--from", "alpha", "--to", "beta")
    assert report["outcome"] == "done"
    assert "The source is retained" in desk.stderr.getvalue()
    lines = desk.type("run", "watch", report["run"], "--json").splitlines()
    numbers = [json.loads(line)["number"] for line in lines if '"progress",' not in line]
    assert numbers == list(range(1, len(numbers) + 1))


def test_an_error_is_json_too_when_json_is_wanted(desk: Desk):
    assert desk.type("vm", "show", "alpha", "nix", "--json") == ""
    error = json.loads(desk.stderr.getvalue())["error"]
    assert (error["code"], error["exit"], error["field"]) == ("vm.unknown", 2, "vm")


def test_a_waiting_run_is_committed_by_a_person(desk: Desk, served: Served):
    run = moved(desk, served, "m3", "--commit", "manual")
    assert f"crossport run commit {run}" in desk.type("run", "watch", run)
    assert "advice" in desk.type("run", "show", run)
    desk.type("run", "commit", run)
    desk.type("run", "watch", run)
    assert desk.code == 0
    assert "outcome           done" in desk.type("run", "report", run)
    shown = desk.type("run", "show", run)
    assert re.search(r"admitted +by the first policy of [a-z]+, 20\d\d-", shown)
    assert re.search(r"\n *15 +what this site's gateways wrote and verified is what was sealed", shown)
    assert {one["step"] for one in desk.json("run", "report", run)["sealed"]["steps"]} >= {2, 10, 15, 17}
    assert "kept" in desk.type("run", "ledger", run)


def test_a_warm_migration_waits_for_the_order_of_a_person(desk: Desk, served: Served):
    run = moved(desk, served, "m7", "--mode", "warm", "--cutover", "manual")
    assert f"crossport run cutover {run}" in desk.type("run", "show", run)
    desk.type("run", "cutover", run)
    assert desk.code == 0
    desk.type("run", "watch", run)
    assert desk.json("run", "show", run)["state"] == "done"


def test_only_a_warm_migration_has_a_cutover(desk: Desk, served: Served):
    run = moved(desk, served, "m8")
    desk.type("run", "cutover", run)
    assert desk.code == 2
    assert "run.not-warm" in desk.stderr.getvalue()


def test_a_test_migration_is_listed_and_finished(desk: Desk, served: Served):
    run = moved(desk, served, "m4", "--test")
    assert run in desk.type("test", "list")
    assert "REMOVED" in desk.type("test", "finish", run)


def test_attention_is_resolved(desk: Desk, served: Served):
    run = moved(desk, served, "m5", **{STUCK.replace(".", "_"): "yes"})
    assert "esolve as target" in desk.type("run", "show", run)
    resolving = desk.json("run", "resolve", run, "--as", "target")["id"]
    assert resolving.startswith(f"{run}-target-")
    assert resolving in [one["id"] for one in desk.json("run", "list", "--kind", "resolve")]


def test_a_fetch_that_needs_attention_is_shown_and_given_up(desk: Desk, served: Served):
    # Its URL can neither be read nor forgotten.
    order = FetchOrder(tenant="default", cloud="alpha", name="x", format="raw", url="u" * 300, copy="fetch-x")
    engine = served.site.opened.engine
    run = served.do(engine.submit(FETCH, order, tenant="default", subject="x")).id
    served.do(engine.wait(run, 20))
    shown = desk.type("run", "show", run)
    assert ("attention" in shown, desk.code, desk.stderr.getvalue()) == (True, 0, "")
    assert f"`crossport run cancel {run}` gives it up" in shown
    assert "gives it up" in desk.type("run", "watch", run)
    assert desk.json("run", "cancel", run)["state"] == "cancelled"


def test_a_source_is_retired_only_when_confirmed(desk: Desk, served: Served):
    run = moved(desk, served, "m6")
    desk.type("source", "retire", run)
    assert desk.code == 6
    assert "Nothing was deleted" in desk.stderr.getvalue()
    told = desk.type("source", "retire", run, answer="no\n", terminal=True)
    assert (desk.code, "disk root" in told) == (6, True)
    assert desk.json("source", "retire", run, "--yes")["done"] is True


def test_runs_are_filtered(desk: Desk, served: Served):
    move(desk, served, "m12")
    assert {run["state"] for run in desk.json("run", "list", "--state", "done")} == {"done"}
    assert desk.type("run", "list", "--kind", "never") == "Result: none\n"


def test_the_runs_of_a_vm_are_found_and_no_plan_of_its_name(desk: Desk, served: Served, tmp_path: Path):
    run = moved(desk, served, "m9")
    move(desk, served, "m10")
    (tmp_path / "m9.yaml").write_text("name: m9\nsource: alpha\ntarget: beta\nvms:\n- vm: m10\n")
    desk.type("plan", "run", str(tmp_path / "m9.yaml"))
    assert [one["id"] for one in desk.json("run", "list", "--vm", "m9")] == [run]
    assert desk.json("run", "list", "--vm", "m9", "--kind", "plan") == []


def test_a_vm_is_deleted_only_when_it_is_off_and_confirmed(desk: Desk, served: Served):
    vm(served, "old")
    delete = ("vm", "delete", "old", "--from", "alpha")
    desk.type(*delete, "--yes")
    assert (desk.code, "--force-off" in desk.stderr.getvalue()) == (2, True)
    told = desk.type(*delete, "--force-off", answer="no\n", terminal=True)
    assert (desk.code, "disk root" in told) == (6, True)
    desk.type("vm", "stop", "alpha", "old")
    gone = desk.json(*delete, "--yes")
    assert ([thing.split()[0] for thing in gone["things"]], gone["done"]) == (["vm", "disk"], True)
    desk.type("vm", "show", "alpha", "old")
    assert desk.code == 2


def test_vms_are_stopped_started_and_shown(desk: Desk, served: Served):
    vm(served, "m20")
    assert "stopped" in desk.type("vm", "stop", "alpha", "m20", "--shutdown", "1")
    assert "running" in desk.type("vm", "start", "alpha", "m20")
    assert "m20 says hello" in desk.type("vm", "console", "alpha", "m20")
    seat = ("--network", "app", "--group", "web")
    made = desk.json("vm", "create", "alpha", "new", "--image", "i", "--flavor", "small", *seat, "--tpm")
    assert made["name"] == "new"


def test_a_token_is_shown_once_and_revoked(desk: Desk):
    new = desk.json("token", "create", "ci", "--role", "operator", "--right", "retire", "--days", "7")
    assert new["secret"].startswith("xp_")
    assert new["secret"] not in desk.type("token", "list")
    desk.type("token", "revoke", new["token"]["id"])
    assert new["token"]["id"] not in desk.type("token", "list")


def test_an_assessment_is_a_table_and_a_page(desk: Desk, served: Served, tmp_path: Path):
    served.do(served.site.chained("<b>evil<b>"))
    told = desk.type("assess", "--from", "alpha", "--to", "beta", "--html", str(tmp_path / "page.html"))
    assert desk.code == 3
    assert "fix" in told
    page = (tmp_path / "page.html").read_text()
    assert "&lt;b&gt;evil&lt;b&gt;" in page
    assert "<b>evil" not in page
    assert "<script" not in page


def test_a_plan_goes_from_csv_to_status(desk: Desk, served: Served, tmp_path: Path):
    vm(served, "p1")
    vm(served, "p2")
    table = tmp_path / "vms.csv"
    table.write_text("vm,wave,after,networks\np1,1,,app=office\np2,2,p1,\n")
    text = desk.type("plan", "from-csv", str(table), "--name", "shop", "--from", "alpha", "--to", "beta")
    (tmp_path / "shop.yaml").write_text(text)
    desk.type("plan", "put", str(tmp_path / "shop.yaml"))
    assert "p1, p2" in desk.stdout.getvalue()
    assert desk.json("plan", "check", "shop")["waves"] == [["p1"], ["p2"]]
    assert "done" in desk.type("plan", "run", str(tmp_path / "shop.yaml"))
    assert desk.json("plan", "status", "shop")["state"] == "done"
    assert "p2,2,p1" in desk.type("plan", "to-csv", str(tmp_path / "shop.yaml"))


def test_a_plan_is_shown_and_removed_while_its_run_stays(desk: Desk, served: Served, tmp_path: Path):
    vm(served, "p3")
    file = tmp_path / "gone.yaml"
    file.write_text("name: gone\nsource: alpha\ntarget: beta\nvms:\n- vm: p3\n")
    desk.type("plan", "run", str(file))
    shown = desk.type("plan", "show", "gone")
    assert (desk.code, "p3" in shown, "beta" in shown) == (0, True, True)
    assert desk.json("plan", "remove", "gone") == {"removed": "gone"}
    assert "gone" not in desk.type("plan", "list")
    assert "gone" in desk.type("run", "list", "--kind", "plan")
    desk.type("plan", "remove", "gone")
    assert desk.code == 2
    assert "plan: There is no plan gone." in desk.stderr.getvalue()


@pytest.mark.parametrize("name", ["two words", "-x", "a/b", "x" * 64])
def test_a_name_that_could_not_be_used_later_is_refused(desk: Desk, tmp_path: Path, name: str):
    desk.type("cloud", "add", "--", name, "memory")
    assert (desk.code, "Error: name: " in desk.stderr.getvalue()) == (2, True)
    file = tmp_path / "plan.yaml"
    file.write_text(f"name: {name}\nsource: alpha\ntarget: beta\nvms:\n- vm: a\n")
    desk.type("plan", "put", str(file))
    assert (desk.code, "Error: name: plan.yaml, line 1: " in desk.stderr.getvalue()) == (2, True)


def test_a_wrong_token_is_told_by_its_file(desk: Desk, tmp_path: Path):
    (tmp_path / "token").write_text("xp_nonsense\n")
    desk.type("cloud", "list", "--token-file", str(tmp_path / "token"))
    assert desk.code == 7
    assert f"--token-file: The site does not know the token in {tmp_path / 'token'}" in desk.stderr.getvalue()


def test_a_source_that_is_gone_is_told(desk: Desk, served: Served):
    run = moved(desk, served, "m13")
    desk.type("source", "retire", run, "--yes")
    assert "gone already" in desk.type("source", "retire", run, "--yes")
    assert desk.code == 0


def test_what_will_be_deleted_is_shown_before_the_question_also_with_json(desk: Desk, served: Served):
    run = moved(desk, served, "m14")
    desk.type("source", "retire", run, "--json", answer="no\n", terminal=True)
    told = desk.stderr.getvalue()
    assert told.index("disk root") < told.index("Type yes")


def test_a_page_that_cannot_be_written_is_told_before_anything_is_asked(desk: Desk):
    desk.type("assess", "--from", "nowhere", "--html", "/nowhere/page.html")
    assert "--html: /nowhere/page.html cannot be written" in desk.stderr.getvalue()


def test_a_run_that_is_watched_late_tells_its_copy_in_its_phase(desk: Desk, served: Served):
    run = moved(desk, served, "m11", "--check", "http:80:/", guest_health="bad-elsewhere")
    told = desk.type("run", "watch", run)
    assert 0 < told.index("source_authentication") < told.index("copy: 1 MiB of 1 MiB")
    lines = [line.strip() for line in told.splitlines()]
    assert len(lines) == len(set(lines)), told


def test_doctor_says_what_is_missing_and_what_to_do(alone: Desk):
    told = alone.type("doctor")
    assert alone.code == 3
    assert "Run: apt-get install qemu-system-x86" in told


def patient(**changes: object) -> Patient:
    """Return a machine that has everything."""
    whole = Patient(
        home=Path("/nowhere/of/ours"),
        root=True,
        uid=0,
        python=(3, 11, 2),
        found=lambda name: f"/usr/bin/{name}",
        call=lambda words: (0, "QEMU emulator version 7.2.11"),
        exists=lambda path: True,
        memory=4 * GIB,
        served=lambda: "",
    )
    return dataclasses.replace(whole, **changes)


def unfit() -> str:
    raise errors.Conflict("x.y.z", "The site has version 9.", remedy="Start it anew.")


def without(*names: str) -> Callable[[str], str | None]:
    """Return what finds every program but these."""

    def found(name: str) -> str | None:
        return None if name in names else name

    return found


def lacking(part: str) -> Callable[[str], bool]:
    """Return what says that every file is there whose path has not ``part``."""

    def exists(path: str) -> bool:
        return part not in path

    return exists


@pytest.mark.parametrize(
    ("changes", "code", "severity"),
    [
        ({"found": without("genisoimage")}, "doctor.seed", "blocker"),
        ({"found": without("qemu-storage-daemon")}, "doctor.qemu.tools", "blocker"),
        ({"served": unfit}, "doctor.site", "blocker"),
        ({"found": without("swtpm")}, "doctor.tpm", "warning"),
        ({"found": without("nft")}, "doctor.networks", "warning"),
        ({"root": False}, "doctor.networks", "warning"),
        ({"exists": lacking("OVMF")}, "doctor.uefi", "warning"),
        ({"exists": lacking("virtio")}, "doctor.rom", "warning"),
        ({"memory": 100 * MIB}, "doctor.memory", "warning"),
        ({"found": without("mcopy")}, "doctor.demo", "info"),
    ],
)
def test_doctor_names_what_a_machine_lacks(changes: dict[str, Any], code: str, severity: str):
    whole = {each.code: (each.severity, each.remedy) for each in examined(patient())}
    found = {each.code: (each.severity, each.remedy) for each in examined(patient(**changes))}
    changed = {name for name in found if found[name] != whole[name]}
    assert changed == {code}
    assert found[code][0] == severity
    assert found[code][1]


def test_doctor_asks_the_site_that_runs(desk: Desk):
    assert "for tenant default, version" in desk.type("doctor")


def test_serve_gets_its_options(alone: Desk, tmp_path: Path):
    alone.type("serve", "--embedded", "--idle", "5", "--home", str(tmp_path))
    (options,) = alone.served
    assert (options.home, options.embedded, options.idle_s) == (tmp_path, True, 5.0)


def test_links_are_limited_listed_and_freed(desk: Desk):
    told = desk.type("limit", "set", "alpha", "beta", "1.5G", "--between", "00:00-24:00=20M")
    assert desk.code == 0
    assert "now      20 Mbit/s" in told
    assert desk.type("limit", "list").splitlines()[-1].split() == [
        *("alpha", "beta", "1.5", "Gbit/s", "00:00-24:00", "20", "Mbit/s", "(UTC)", "20", "Mbit/s")
    ]
    desk.type("limit", "remove", "alpha", "beta")
    assert desk.json("limit", "list") == []


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("alpha", "beta", "fast"), "RATE"),
        (("alpha", "beta", "10"), "rate_bps"),
        (("alpha", "alpha", "1M"), "target"),
        (("alpha", "beta", "none"), "rate_bps"),
        (("alpha", "beta", "1M", "--zone", "Mars/Olympus"), "zone"),
        (("alpha", "beta", "1M", "--between", "8-9=1M"), "windows.0.start"),
        (("alpha", "beta", "1M", "--between", "08:00-09:00"), "--between"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_by_its_field(desk: Desk, words: tuple[str, ...], field: str):
    desk.type("limit", "set", *words)
    assert desk.code == 2
    assert f"{field}: " in desk.stderr.getvalue()
    assert "Remedy: " in desk.stderr.getvalue()


def test_a_run_is_limited_while_it_waits(desk: Desk, served: Served):
    vm(served, "paced")
    run = desk.json("migrate", "paced", "--from", "alpha", "--to", "beta", "--commit", "manual", "--detach")[
        "id"
    ]
    assert "rate  100 Mbit/s" in desk.type("run", "limit", run, "100M")
    assert "rate  none" in desk.type("run", "limit", run, "none")
    desk.type("run", "limit", "run-9999", "1M")
    assert desk.code == 2
