"""A migration between two servers of two owners over the real link; both are killed, and it goes on."""

import asyncio
import json
import os
import time
from collections.abc import Generator

import pytest
from tests.lab.serve.two_sites import TwoOwners


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Generator[TwoOwners]:
    with TwoOwners(tmp_path_factory.mktemp("owners"), more="grant_look_s = 1\n") as both:
        yield both


def test_a_vm_goes_to_another_owner_and_both_can_prove_it(two: TwoOwners):
    two.make("web")
    move = ("migrate", "web", "--from", "alpha", "--to", "beta@south")
    dry = two.north.answered(*move, "--dry-run")
    assert dry["verdict"] == "go", dry["findings"]
    run = two.north.answered(*move, "--detach")["id"]
    two.north.watch(run)
    two.check("web")
    assert two.north.answered("run", "report", run)["tenants"] == {"beta@south": "default"}
    said = "beta@south: tenant default of this site is tenant default there"
    assert said in " ".join(two.north.run("run", "report", run).split())
    evidence = two.north.answered("run", "show", run)["statements"]
    assert f"target {said}" in evidence
    signed = [line for line in evidence if "signed with key" in line]
    assert {line.split(": ")[1].split(" ")[0] for line in signed} == {
        *("stopped-and-fenced", "prepared", "start-permitted", "opened")
    }


def test_the_target_takes_the_right_in_the_middle_of_a_copy_and_the_source_runs_again(two: TwoOwners):
    two.make("shop")
    disk = two.alpha.disk_path(asyncio.run(two.alpha.vm("shop")).disks[0].id)
    disk.write_bytes(os.urandom(disk.stat().st_size))  # nothing of it can be packed: 1 MiB takes 84 s
    two.north.run("limit", "set", "alpha", "beta@south", "100k")
    move = ("migrate", "shop", "--from", "alpha", "--to", "beta@south", "--detach")
    run = two.north.answered(*move, "--hook", "before:instantiation:hold")["id"]  # it ends in no case before

    watching = two.north.machine.start(
        "run", "watch", run, "--json", CROSSPORT_SETTINGS=str(two.north.settings)
    )
    assert watching.stdout
    copying = next(one for one in map(json.loads, watching.stdout) if one["kind"] == "progress")["progress"]
    assert copying["done"] < copying["size"]
    (grant,) = (one for one in two.south.answered("grant", "list") if one["called"] == run)
    assert (grant["partner"], grant["theirs"], grant["clouds"]) == ("north", "default", ["beta"])
    begun = time.monotonic()
    two.south.run("grant", "revoke", grant["run"])
    told, _ = watching.communicate(timeout=60)
    assert (watching.returncode, time.monotonic() - begun < 60) == (4, True)
    assert "image_upload" not in {
        one["text"] for one in map(json.loads, told.splitlines()) if one["kind"] == "phase-finished"
    }
    assert f"Run {run} has no right any more" in told
    assert two.north.answered("run", "report", run)["code"] == "grant.lost"
    two.check_taken_back("shop")
    two.north.run("limit", "remove", "alpha", "beta@south")


def held_before_the_copy(two: TwoOwners, name: str) -> str:
    """Let south fetch a VM; return the run, which waits at a hook in front of the copy until ``two.go``."""
    for one in (two.reached, two.go):
        one.unlink(missing_ok=True)
    move = ("migrate", name, "--from", "alpha@north", "--to", "beta")
    run = two.south.answered(*move, "--hook", "before:image_upload:hold", "--detach")["id"]
    two.south.machine.wait(two.reached.exists, 60)
    return run


@pytest.mark.parametrize(
    ("name", "how"), [("till", ()), ("shelf", ("--revoke",))], ids=["in time", "at once"]
)
def test_both_authorities_change_in_the_middle_and_the_vm_goes_over(
    two: TwoOwners, name: str, how: tuple[str, ...]
):
    two.make(name)
    run = held_before_the_copy(two, name)
    before = two.south.answered("trust", "show", "north")
    for owner in (two.north, two.south):
        owner.run("trust", "rotate", *how)
    after = two.south.answered("trust", "show", "north")
    for fingerprint in ("fingerprint", "own_fingerprint"):
        assert before[fingerprint] != after[fingerprint]
    two.go.touch()
    two.south.watch(run)
    two.check(name)


def test_both_servers_are_killed_in_the_middle_and_the_vm_goes_over(two: TwoOwners):
    two.make("db")
    run = held_before_the_copy(two, "db")
    two.north.kill()
    two.south.kill()
    two.go.touch()
    two.south.serve()
    two.north.serve()
    two.south.watch(run)
    two.check("db")
