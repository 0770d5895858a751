"""`crossport gateway`: what is written for a new gateway, what is shown of those that joined."""

import stat
from pathlib import Path

from tests.unit.cli.desk import Desk, Served

from crossport.model.gateway import Enrolment


def enrolled(desk: Desk, served: Served, file: Path) -> str:
    """Enroll a gateway and let it come; return its id."""
    name = desk.json("gateway", "enroll", "alpha", "VMExportSubnet", "--file", str(file))["gateway"]
    told = Enrolment(
        gateway=name, cloud="alpha", subnet="VMExportSubnet", expires=0, fingerprint="", join=file.read_text()
    )
    served.do(served.site.gateways.joined(told))
    return name


def test_what_a_new_gateway_needs_is_written_into_a_private_file_and_the_command_is_told(
    desk: Desk, tmp_path: Path
):
    file = tmp_path / "alpha.join"
    told = desk.type("gateway", "enroll", "alpha", "VMExportSubnet", "--file", str(file))
    assert desk.code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().startswith("crossport-join-1.")
    assert file.read_text().strip() not in told
    assert "crossport gateway run --join alpha.join --authority " in told


def test_a_file_that_exists_is_not_written_and_nothing_is_enrolled(
    desk: Desk, served: Served, tmp_path: Path
):
    file = tmp_path / "alpha.join"
    file.write_text("something else")
    desk.type("gateway", "enroll", "alpha", "VMExportSubnet", "--file", str(file))
    assert (desk.code, file.read_text()) == (2, "something else")
    assert "--file" in desk.stderr.getvalue()


def test_a_seat_that_does_not_exist_is_told_and_the_file_is_not_left_behind(desk: Desk, tmp_path: Path):
    file = tmp_path / "omega.join"
    desk.type("gateway", "enroll", "omega", "VMExportSubnet", "--file", str(file))
    assert (desk.code, file.exists()) == (2, False)
    assert "cloud: There is no cloud omega." in desk.stderr.getvalue()
    desk.type("gateway", "enroll", "alpha", "office", "--file", str(file))
    assert (desk.code, file.exists()) == (2, False)


def test_gateways_are_listed_shown_drained_and_removed(desk: Desk, served: Served, tmp_path: Path):
    name = enrolled(desk, served, tmp_path / "a.join")
    assert [one["id"] for one in desk.json("gateway", "list")] == [name]
    assert [word in desk.type("gateway", "list") for word in (name, "VMExportSubnet", "away")] == [True] * 3
    assert "alpha VMExportSubnet" in desk.type("gateway", "show", name)
    assert "away, draining" in desk.type("gateway", "drain", name)
    assert name in desk.type("gateway", "remove", name)
    assert desk.json("gateway", "list") == []
    desk.type("gateway", "show", name)
    assert desk.code == 2
    assert "gateway: There is no gateway" in desk.stderr.getvalue()


def test_draining_waits_until_the_gateway_says_that_nothing_runs_there(
    desk: Desk, served: Served, tmp_path: Path
):
    name = enrolled(desk, served, tmp_path / "a.join")
    gateways, told = served.site.gateways, iter([1, 1, 0])
    desk.meanwhile = lambda: served.do(gateways.says(name, connected=True, jobs=next(told)))
    assert "connected, draining" in desk.type("gateway", "drain", name, "--wait")
    assert (desk.code, list(told)) == (0, [])


def test_draining_does_not_take_a_gateway_that_is_away_for_one_that_is_idle(
    desk: Desk, served: Served, tmp_path: Path
):
    name = enrolled(desk, served, tmp_path / "a.join")
    desk.type("gateway", "drain", name, "--wait")
    assert desk.code == 8
    assert "whether something still runs there" in desk.stderr.getvalue()
    assert sum(desk.pauses) == 20.0


def test_a_gateway_gets_what_it_joins_with_from_a_file_or_from_standard_input(desk: Desk, tmp_path: Path):
    file = tmp_path / "a.join"
    file.write_text("crossport-join-1.abc\n")
    desk.type(
        *("gateway", "run", "--join", str(file), "--authority", "9d", "--namespace", "seat"),
        *("--disks", "/srv/one", "--disks", "/srv/two"),
    )
    desk.type("gateway", "run", "--join", "-", answer="crossport-join-1.def\n")
    first, second = desk.gateways
    assert (first.join, first.authority, first.namespace) == ("crossport-join-1.abc\n", "9d", "seat")
    assert first.disks == (Path("/srv/one"), Path("/srv/two"))
    assert (second.join, second.disks) == ("crossport-join-1.def\n", ())
    assert "crossport-join" not in repr(first)


def test_a_file_that_cannot_be_read_is_named(desk: Desk, tmp_path: Path):
    desk.type("gateway", "run", "--join", str(tmp_path / "nothing"))
    assert (desk.code, desk.gateways) == (2, [])
    assert "--join" in desk.stderr.getvalue()
