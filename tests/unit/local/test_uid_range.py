"""Each cloud of a site has users of its own on the machine, whatever its id says."""

import json
from pathlib import Path

import pytest

from crossport import errors
from crossport.clouds.local.uid_range import COUNT, RangeBook, first_uid, usual


def cloud(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def test_two_clouds_whose_ids_lead_to_the_same_range_get_two(tmp_path: Path):
    book, one, same = RangeBook(tmp_path / "book"), "00000000aa", f"{0xAA + 2000:010x}"
    assert usual(one) == usual(same)
    first = book.take(one, cloud(tmp_path, "first"))
    second = RangeBook(tmp_path / "book").take(same, cloud(tmp_path, "second"))
    assert (first, second) == (usual(one), usual(one) + 1)
    assert first_uid(second) - first_uid(first) == COUNT


def test_a_cloud_that_is_being_made_has_its_range_already(tmp_path: Path):
    book, draft = RangeBook(tmp_path / "book"), cloud(tmp_path, ".draft")
    assert book.take("0000000001", draft, tmp_path / "first") == 1
    assert book.take("0000000001", cloud(tmp_path, "second")) == 2
    draft.rename(tmp_path / "first")
    assert book.take("0000000001", cloud(tmp_path, "third")) == 3


def test_the_range_of_a_cloud_that_is_gone_is_free_again(tmp_path: Path):
    book, root = RangeBook(tmp_path / "book"), cloud(tmp_path, "first")
    number = book.take("00000007cf", root)
    assert number == 1999
    assert book.take("00000007cf", cloud(tmp_path, "second")) == 0
    root.rmdir()
    assert book.take("00000007cf", cloud(tmp_path, "third")) == number


def test_all_ranges_taken_are_told_with_a_remedy(tmp_path: Path):
    book = RangeBook(tmp_path / "book")
    root = cloud(tmp_path, "others")
    taken = ", ".join(f'"{number}": ["{root}"]' for number in range(2000))
    (tmp_path / "book").write_text("{" + taken + "}")
    with pytest.raises(errors.Blocked, match=r"cloud\.users\.none"):
        book.take("00000000aa", tmp_path / "mine")


def test_a_book_that_was_cut_off_or_is_gone_is_made_from_the_clouds_that_exist(tmp_path: Path):
    first, gone = cloud(tmp_path, "first"), tmp_path / "gone"
    for content in ("", '{"170": ["/', None):
        if content is None:
            (tmp_path / "book").unlink()
        else:
            (tmp_path / "book").write_text(content)
        book = RangeBook(tmp_path / "book", lambda: [(170, first), (171, gone)])
        assert usual("00000000aa") == 170
        assert book.take("00000000aa", cloud(tmp_path, f"mine-{content}")) == 171


def test_a_writer_that_dies_leaves_the_book_whole(tmp_path: Path):
    book = RangeBook(tmp_path / "book")
    book.take("0000000001", cloud(tmp_path, "first"))
    with (tmp_path / "book").open() as before:
        book.take("0000000002", cloud(tmp_path, "second"))
        assert list(json.loads(before.read())) == ["1"]  # replaced, never written over
    assert list(json.loads((tmp_path / "book").read_text())) == ["1", "2"]
