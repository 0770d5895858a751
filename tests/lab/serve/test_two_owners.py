"""A migration between two servers of two owners over the real link; either may be killed, the link cut."""

from collections.abc import Generator
from pathlib import Path

import pytest
from tests.lab.serve.two_sites import Owner, TwoOwners

from crossport.model.vm import PowerState

HELD = ("--hook", "before:image_upload:hold", "--detach")


@pytest.fixture
def two(tmp_path: Path) -> Generator[TwoOwners]:
    with TwoOwners(tmp_path) as both:
        yield both


def gone_over(two: TwoOwners) -> None:
    source, (copy,) = two.vms()
    assert (source.power, source.fenced) == (PowerState.STOPPED, True)
    assert (copy.power, copy.quarantined) == (PowerState.RUNNING, False)
    disk, there = two.alpha.disk_path(source.disks[0].id), two.beta.disk_path(copy.disks[0].id)
    assert disk.read_bytes() == there.read_bytes()


def test_a_vm_goes_to_another_owner_and_both_can_prove_it(two: TwoOwners):
    dry = two.north.answered("migrate", "web", "--from", "alpha", "--to", "beta@south", "--dry-run")
    assert dry["verdict"] == "go", dry["findings"]
    run = two.north.answered("migrate", "web", "--from", "alpha", "--to", "beta@south", "--detach")["id"]
    assert two.north.ended(run) == "done", two.north.run("run", "show", run)
    gone_over(two)
    evidence = two.north.answered("run", "show", run)["statements"]
    signed = [line for line in evidence if "signed with key" in line]
    assert {line.split(": ")[1].split(" ")[0] for line in signed} == {
        *("stopped-and-fenced", "prepared", "start-permitted", "opened")
    }


@pytest.mark.parametrize("killed", ["north", "south"])
def test_either_server_is_killed_in_the_middle_and_the_vm_goes_over(two: TwoOwners, killed: str):
    started = two.south.answered("migrate", "web", "--from", "alpha@north", "--to", "beta", *HELD)["id"]
    two.south.machine.wait(two.reached.exists, 60)
    owner: Owner = getattr(two, killed)
    owner.kill()
    two.go.touch()
    owner.serve()
    assert two.south.ended(started) == "done", two.south.run("run", "show", started)
    gone_over(two)
