"""Where the demonstration keeps its things, and how it refuses what it cannot do."""

from pathlib import Path

import pytest

from crossport import errors
from crossport.cli.demo.stage import MARK, Stage, stage_home


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path / "demo", tmp_path / "cache")


def test_it_lies_below_the_persons_own_state(tmp_path: Path) -> None:
    assert stage_home(tmp_path) == tmp_path / "demo"


def test_a_person_who_took_its_site_for_theirs_means_that_one(tmp_path: Path) -> None:
    (tmp_path / MARK).touch()
    assert stage_home(tmp_path) == tmp_path


def test_two_demonstrations_at_once_are_refused(stage: Stage) -> None:
    with stage.alone(), pytest.raises(errors.Conflict, match="Another demonstration"), stage.alone():
        pass


def test_the_lock_is_not_left_behind(stage: Stage, tmp_path: Path) -> None:
    with stage.alone():
        pass
    assert list(tmp_path.iterdir()) == []


async def test_clearing_an_empty_stage_removes_nothing(stage: Stage) -> None:
    assert await stage.clear() == ()


async def test_a_half_made_stage_is_cleared(stage: Stage) -> None:
    (stage.home / "clouds" / ".alpha.draft").mkdir(parents=True)
    assert await stage.clear() == (f"directory {stage.home}",)
    assert not stage.home.exists()


def test_no_server_owns_a_stage_that_is_not_there(stage: Stage) -> None:
    assert stage.server() is None
