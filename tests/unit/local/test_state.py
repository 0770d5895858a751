"""What the embedded cloud remembers: epochs, things, transactions, and files of a later version."""

import dataclasses
import sqlite3
from pathlib import Path

import pytest

from crossport import errors
from crossport.clouds.local.spec import CloudSpec
from crossport.clouds.local.state import Image, State
from crossport.model.run import Act

IMAGE = Image(id="1", name="small", format="raw", size=512)


def act(epoch: int, run: str = "run-1") -> Act:
    return Act(run=run, step="any", epoch=epoch)


def test_a_lower_epoch_is_refused_also_after_a_restart(tmp_path: Path):
    state = State(tmp_path / "state.db")
    for epoch in (1, 2, 2):
        state.admit(act(epoch))
    state.close()
    state = State(tmp_path / "state.db")
    with pytest.raises(errors.Refused) as refusal:
        state.admit(act(1))
    assert refusal.value.code == "cloud.epoch.old"
    state.admit(act(1, run="run-2"))
    state.close()


def test_changes_made_together_are_all_made_or_none(tmp_path: Path):
    state = State(tmp_path / "state.db")
    with pytest.raises(errors.NotFound):
        put_and_fail(state)
    assert state.find("1", Image) is None
    with state.together():
        state.put("1", IMAGE)
    assert state.every(Image) == [IMAGE]
    state.drop("1", Image)
    assert state.every(Image) == []
    state.close()


def put_and_fail(state: State) -> None:
    with state.together():
        state.put("1", IMAGE)
        raise errors.NotFound("test", "in the middle")


def test_a_counter_never_gives_a_number_twice(tmp_path: Path):
    state = State(tmp_path / "state.db")
    first = state.count_up("uid")
    state.close()
    state = State(tmp_path / "state.db")
    assert state.count_up("uid") > first
    state.close()


def test_a_file_of_a_later_version_is_not_read(tmp_path: Path):
    State(tmp_path / "state.db").close()
    with sqlite3.connect(tmp_path / "state.db") as later:
        later.execute("PRAGMA user_version=99")
    later.close()
    with pytest.raises(errors.Broken) as refusal:
        State(tmp_path / "state.db")
    assert refusal.value.code == "cloud.state.newer"


@pytest.mark.parametrize("name", ["", "-x", "a/b", "..", "a b", "x" * 41])
def test_a_cloud_cannot_have_this_name(name: str):
    with pytest.raises(errors.Invalid) as refusal:
        CloudSpec(name=name).check()
    assert (refusal.value.code, refusal.value.field) == ("cloud.name.wrong", "name")


@pytest.mark.parametrize(("field", "value"), [("network", "open"), ("accelerator", "xen")])
def test_an_impossible_choice_names_its_field(field: str, value: str):
    with pytest.raises(errors.Invalid) as refusal:
        dataclasses.replace(CloudSpec(name="alpha"), **{field: value}).check()
    assert refusal.value.field == field
