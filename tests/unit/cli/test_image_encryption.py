"""`crossport image encrypt` and `decrypt`: a package that only the importing site reads."""

from pathlib import Path

from tests.unit.cli.desk import Desk


def test_what_was_encrypted_to_a_site_is_decrypted_there_only(alone: Desk, tmp_path: Path):
    package, sent, got = tmp_path / "web.ova", tmp_path / "web.ova.age", tmp_path / "got.ova"
    package.write_bytes(b"a package")
    recipient = alone.json("image", "encryption-key", str(tmp_path / "north.key"))["recipient"]
    alone.json("image", "encryption-key", str(tmp_path / "south.key"))
    alone.json("image", "encrypt", str(package), str(sent), "--to", recipient)
    alone.type("image", "decrypt", str(sent), str(got), "--key", str(tmp_path / "south.key"))
    assert (alone.code, got.exists()) == (7, False)
    assert "encryption.file.foreign" in alone.stderr.getvalue()
    told = alone.json("image", "decrypt", str(sent), str(got), "--key", str(tmp_path / "north.key"))
    assert told == {"path": str(got)}
    assert got.read_bytes() == b"a package"
    sent.write_bytes(sent.read_bytes()[:-1])
    alone.type("image", "decrypt", str(sent), str(tmp_path / "cut.ova"), "--key", str(tmp_path / "north.key"))
    assert (alone.code, (tmp_path / "cut.ova").exists()) == (7, False)
