"""Stocks on a host: bounded, few, each with a key of its own that goes with it."""

import os
from pathlib import Path

import pytest

from crossport.transfer.stock_table import SEGMENT
from crossport.transfer.stocks import KEPT_S, STOCKS_MAX, Stocks


def names_of(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.is_dir()}


def key_of(stocks: Stocks, name: str) -> bytes:
    with stocks.opened(name) as access:
        assert access is not None
        return access.key


@pytest.mark.parametrize("size", [0, 1, SEGMENT - 1])
def test_a_stock_too_small_for_anything_is_none(tmp_path: Path, size: int) -> None:
    with Stocks(tmp_path, size).opened("acme") as access:
        assert access is None


@pytest.mark.parametrize(("directory", "name"), [(False, "acme"), (True, "")])
def test_without_a_directory_or_a_name_there_is_none(tmp_path: Path, directory: bool, name: str) -> None:
    with Stocks(tmp_path if directory else None, SEGMENT).opened(name) as access:
        assert access is None
    assert not names_of(tmp_path)


def test_a_stock_stays_and_each_name_has_its_own(tmp_path: Path) -> None:
    one, two = key_of(Stocks(tmp_path, SEGMENT), "acme"), key_of(Stocks(tmp_path, SEGMENT), "evil")
    assert one == key_of(Stocks(tmp_path, SEGMENT), "acme") != two
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.glob("*/*"))


def test_another_size_begins_anew(tmp_path: Path) -> None:
    first = key_of(Stocks(tmp_path, SEGMENT), "acme")
    assert key_of(Stocks(tmp_path, 3 * SEGMENT + 5), "acme") != first
    assert len(names_of(tmp_path)) == 1


def test_a_damaged_stock_begins_anew(tmp_path: Path) -> None:
    first = key_of(Stocks(tmp_path, SEGMENT), "acme")
    next(tmp_path.glob("*/table")).write_bytes(b"")
    assert key_of(Stocks(tmp_path, SEGMENT), "acme") != first


def test_the_one_used_least_lately_is_dropped_for_a_new_one(tmp_path: Path) -> None:
    stocks = Stocks(tmp_path, SEGMENT)
    keys = [key_of(stocks, f"tenant {number}") for number in range(STOCKS_MAX)]
    for age, path in enumerate(
        sorted(tmp_path.glob("*/key"), key=lambda path: keys.index(path.read_bytes()))
    ):
        os.utime(path.parent, (1e9 + age, tmp_path.stat().st_mtime - 1000 + age))
    key_of(stocks, "one more")
    assert len(names_of(tmp_path)) == STOCKS_MAX
    assert key_of(stocks, "tenant 1") == keys[1]
    assert key_of(stocks, "tenant 0") != keys[0]


def test_what_nobody_used_for_long_is_dropped(tmp_path: Path) -> None:
    stocks = Stocks(tmp_path, SEGMENT)
    key_of(stocks, "acme")
    (place,) = (path for path in tmp_path.iterdir() if path.is_dir())
    os.utime(place, (0, place.stat().st_mtime - KEPT_S - 10))
    stocks.tidy()
    assert not names_of(tmp_path)


def test_the_key_is_destroyed_before_the_rest_goes(tmp_path: Path) -> None:
    stocks = Stocks(tmp_path, SEGMENT)
    key = key_of(stocks, "acme")
    with next(tmp_path.glob("*/key")).open("rb") as held:
        Stocks(tmp_path, 0).tidy()
        assert held.read() == bytes(len(key))
