"""The hook that spoils a copy: exactly one bit, in the volume that was written last."""

import os
from pathlib import Path

import pytest

from crossport.cli.demo import flip

TEXT = "Order 4711"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for age, name in ((100, "old"), (10, "new")):
        (tmp_path / name).write_bytes(b"head" + TEXT.encode() + b"tail")
        os.utime(tmp_path / name, (1_700_000_000 - age, 1_700_000_000 - age))
    return tmp_path


def test_one_bit_of_the_newest_volume_changes(folder: Path) -> None:
    before = (folder / "new").read_bytes()
    assert flip.main([str(folder), TEXT]) == 0
    after = (folder / "new").read_bytes()
    different = [(one ^ other).bit_count() for one, other in zip(before, after, strict=True)]
    assert sum(different) == 1
    assert (folder / "old").read_bytes() == before


def test_a_copy_without_the_text_fails_the_hook(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert flip.main([str(folder), "something else"]) == 1
    assert "does not contain" in capsys.readouterr().err


def test_without_any_volume_the_hook_fails(tmp_path: Path) -> None:
    assert flip.main([str(tmp_path), TEXT]) == 1
