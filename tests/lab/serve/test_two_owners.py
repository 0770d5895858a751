"""A migration between two servers of two owners over the real link; both are killed, and it goes on."""

from collections.abc import Generator

import pytest
from tests.lab.serve.two_sites import TwoOwners


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Generator[TwoOwners]:
    with TwoOwners(tmp_path_factory.mktemp("owners")) as both:
        yield both


def test_a_vm_goes_to_another_owner_and_both_can_prove_it(two: TwoOwners):
    two.make("web")
    move = ("migrate", "web", "--from", "alpha", "--to", "beta@south")
    dry = two.north.answered(*move, "--dry-run")
    assert dry["verdict"] == "go", dry["findings"]
    run = two.north.answered(*move, "--detach")["id"]
    two.north.watch(run)
    two.check("web")
    evidence = two.north.answered("run", "show", run)["statements"]
    signed = [line for line in evidence if "signed with key" in line]
    assert {line.split(": ")[1].split(" ")[0] for line in signed} == {
        *("stopped-and-fenced", "prepared", "start-permitted", "opened")
    }


def test_both_servers_are_killed_in_the_middle_and_the_vm_goes_over(two: TwoOwners):
    two.make("db")
    move = ("migrate", "db", "--from", "alpha@north", "--to", "beta")
    run = two.south.answered(*move, "--hook", "before:image_upload:hold", "--detach")["id"]
    two.south.machine.wait(two.reached.exists, 60)
    two.north.kill()
    two.south.kill()
    two.go.touch()
    two.south.serve()
    two.north.serve()
    two.south.watch(run)
    two.check("db")
