"""`crossport audit`: what is done at a site is listed, proven, exported, and checked without a site."""

import base64
from pathlib import Path

import pytest
from tests.unit.cli.desk import Desk

from crossport.model.keyring import key_id


@pytest.fixture
def exported(desk: Desk, tmp_path: Path) -> Path:
    """What a site has exported: its log, the heads that it has signed, and its keys."""
    desk.type("vm", "stop", "alpha", "web", "--power-off")
    desk.type("audit", "heads", "--sign", "--output", str(tmp_path / "own.heads"))
    desk.type("audit", "export", str(tmp_path / "log.jsonl"))
    document = desk.json("key", "list", "--document", str(tmp_path / "site.roles"))["document"]
    root = key_id(base64.b64decode(document["root"]))
    trusted = (str(tmp_path / "keyring.json"), str(tmp_path / "site.roles"))
    desk.type("image", "trust", *trusted, "--site", document["site"], "--root", root)
    assert desk.code == 0, desk.stderr.getvalue()
    return tmp_path


def verify(desk: Desk, folder: Path) -> str:
    return desk.type(
        "audit",
        "verify",
        str(folder / "log.jsonl"),
        "--heads",
        str(folder / "own.heads"),
        "--keyring",
        str(folder / "keyring.json"),
    )


def test_what_was_done_is_listed_and_proven(desk: Desk):
    desk.type("vm", "stop", "alpha", "web", "--power-off")
    intent, outcome = desk.json("audit", "list", "--action", "vm.stop")
    assert (intent["kind"], outcome["kind"], outcome["result"]) == ("intent", "outcome", "done")
    shown = desk.type("audit", "show", str(outcome["number"]))
    assert desk.code == 0
    assert "vm.stop" in shown
    assert " records under " in shown
    desk.type("audit", "show", "4711")
    assert "audit.record.unknown" in desk.stderr.getvalue()


def test_an_export_is_checked_without_a_site(alone: Desk, exported: Path):
    shown = verify(alone, exported)
    assert alone.code == 0
    assert "The log is whole." in shown


def test_what_is_wrong_is_named(alone: Desk, exported: Path):
    log = exported / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b"/vms/web/stop", b"/vms/odd/stop", 1))
    assert "audit.record.changed" in verify(alone, exported)
    assert alone.code == 7
    log.write_bytes(whole.splitlines(keepends=True)[0])
    assert "audit.log.cut" in verify(alone, exported)
    assert alone.code == 7


def test_a_wrong_file_is_told_by_its_name(alone: Desk, exported: Path):
    (exported / "own.heads").write_text("x\n")
    verify(alone, exported)
    assert "own.heads, line 1" in alone.stderr.getvalue()
    (exported / "own.heads").unlink()
    verify(alone, exported)
    assert "audit.file.missing" in alone.stderr.getvalue()
