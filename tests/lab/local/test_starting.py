"""A cloud whose service cannot start says why, at once and in its own words, to whoever calls."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from tests.lab.local import clouds

from crossport import errors
from crossport.clouds.local import CloudSpec, LocalCloud, create
from crossport.clouds.local.ownership import locked
from crossport.clouds.local.spec import Layout
from crossport.spi.secret import Secret


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cloud that was made and never started."""
    create(tmp_path / "alpha", CloudSpec(name="alpha", network="user"), Secret("0123456789abcdef"))
    return tmp_path / "alpha"


async def refused(root: Path) -> errors.Error:
    cloud = await clouds.connected(root)
    try:
        with pytest.raises(errors.Error) as refusal:
            await cloud.vms()
        return refusal.value
    finally:
        await cloud.close()


def content(state: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(state)) as connection:
        return list(connection.iterdump())


async def test_a_state_of_a_newer_version_is_left_alone_and_named(root: Path):
    state = Layout(root).state
    with contextlib.closing(sqlite3.connect(state)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
    before = content(state)
    told = await refused(root)
    assert (told.code, type(told)) == ("cloud.state.newer", errors.Broken)
    assert ("newer version" in told.text, bool(told.remedy)) == (True, True)
    assert "Traceback" not in str(told)
    assert content(state) == before


async def test_a_service_that_breaks_is_told_with_its_last_word_and_not_waited_for(root: Path):
    Layout(root).state.write_bytes(b"this is no database, whatever its name says" * 100)
    began = time.monotonic()
    told = await refused(root)
    assert told.code == "cloud.service.silent"
    assert "file is not a database" in told.text
    assert "Traceback" not in told.text
    assert str(Layout(root).log) in told.remedy
    assert time.monotonic() - began < 50  # three starts, on a machine however busy; it was given a minute


async def test_a_service_that_is_just_ending_is_waited_for_and_another_one_started(root: Path):
    lock = locked(Layout(root))
    cloud: LocalCloud = await clouds.connected(root)
    try:
        call = asyncio.ensure_future(cloud.about())
        await asyncio.sleep(0.5)
        assert not call.done()
        os.close(lock)
        assert (await call).name == "alpha"
        os.kill((await cloud.about()).pid, signal.SIGTERM)
    finally:
        await cloud.close()
