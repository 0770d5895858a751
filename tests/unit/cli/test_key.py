"""`crossport key`: the site's keys through its API and its real signer, and keys in files."""

import base64
from pathlib import Path

from tests.unit.cli.desk import Desk

from crossport.identity import role_document as roles
from crossport.model.keyring import KeyRole


def test_keys_are_listed_rotated_and_revoked(desk: Desk, tmp_path: Path):
    first = desk.json("key", "list")["document"]
    assert sorted(key["role"] for key in first["keys"]) == sorted(KeyRole)
    shown = desk.type("key", "rotate", "seal")
    assert (desk.code, shown.count(" next "), shown.count(" good ")) == (0, 1, len(KeyRole))
    desk.type("key", "rotate", "seal")
    assert "key.rotation.pending" in desk.stderr.getvalue()
    assert desk.code == 2
    shown = desk.type("key", "rotate", "audit", "--at-once")
    assert (desk.code, shown.count(" next "), shown.count(" good ")) == (0, 1, len(KeyRole) + 1)
    old = next(line.split()[0] for line in shown.splitlines() if " seal " in line)
    assert "revoked" in desk.type("key", "revoke", old)
    file = tmp_path / "test.roles"
    desk.type("key", "list", "--document", str(file))
    envelope = file.read_bytes()
    root = base64.b64decode(first["root"])
    document = roles.believed(envelope, "test", root, first["issued"], None)
    assert document.version > first["version"]
    desk.type("key", "list", "--document", str(file))
    assert "--document" in desk.stderr.getvalue()
    assert (desk.code, file.read_bytes()) == (2, envelope)


def test_the_root_is_rotated_and_signs_the_next_one(desk: Desk):
    first = desk.json("key", "list")
    desk.type("key", "rotate", "root")
    assert desk.code == 0
    then = desk.json("key", "list")
    assert then["document"]["root"] != first["document"]["root"]
    assert then["document"]["version"] > first["document"]["version"]


def test_a_key_that_does_not_exist_is_told(desk: Desk):
    desk.type("key", "revoke", "00" * 32)
    assert desk.code == 2
    assert "key.unknown" in desk.stderr.getvalue()


def test_what_is_no_id_of_a_key_is_told_without_a_pattern(desk: Desk):
    desk.type("key", "revoke", "zz")
    told = desk.stderr.getvalue()
    assert (desk.code, "key.id.form" in told, "crossport key list" in told) == (2, True, True)
    assert "pattern" not in told


def test_a_key_is_made_and_shown_without_a_site(alone: Desk, tmp_path: Path):
    made = alone.json("key", "make", str(tmp_path / "seal.key"), "--algorithm", "ed25519")
    assert made["algorithm"] == "ed25519"
    assert alone.json("key", "show", str(tmp_path / "seal.key")) == made
    alone.type("key", "make", str(tmp_path / "seal.key"))
    assert "identity.file.taken" in alone.stderr.getvalue()
