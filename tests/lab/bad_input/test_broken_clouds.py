"""Clouds that break in the copy of a real guest: the target runs full, the source's servers are killed."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.local import clouds
from tests.lab.serve.test_life import Machine

from crossport.clouds.local import destroy
from crossport.clouds.local.orphan import processes
from crossport.testing.guest import client

pytestmark = [pytest.mark.qemu, pytest.mark.root]

ROOT = Path(__file__).resolve().parents[3]
CHECK = ("--check", "http:80:/cgi-bin/state")
# Kills, as an accident would, the service of the cloud in the directory argv[1] and its export servers.
ACCIDENT = """
import os, signal, sys
from pathlib import Path
from crossport.clouds.local.orphan import processes
root = Path(sys.argv[1])
servers = [pid for pid, _, program in processes(root) if program == "qemu-storage-daemon"]
assert servers
for pid in [int((root / "lock").read_text()), *servers]:
    os.kill(pid, signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Generator[Path]:
    """Return a file system of 28 MiB: the guest has more data."""
    folder = tmp_path_factory.mktemp("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=28m,mode=755", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, small: Path) -> Generator[Machine]:
    """A site with a guest that runs in alpha, and two targets: tight promises more than it has."""
    root = tmp_path_factory.mktemp("site")
    one = Machine(root / "home")
    places = {"alpha": root / "alpha", "tight": small / "tight", "beta": root / "beta"}
    settings = root / "settings.toml"
    words = [sys.executable, "-c", ACCIDENT, str(places["alpha"])]
    settings.write_text(f"[hooks.accident]\ncommand = {json.dumps(words)}\n")
    image = clouds.guest_image(root)
    try:
        for name, place in places.items():
            if name == "alpha":
                asyncio.run(clouds.prepared(place, image, network="user"))
            else:
                asyncio.run(empty(place))
            words = ["cloud", "add", name, "local", "--set", f"path={place}"]
            status, _, told = one.run(*words, CROSSPORT_SETTINGS=str(settings))
            assert status == 0, told
        asyncio.run(booted(places["alpha"]))
        yield one
    finally:
        one.end()
        for place in places.values():
            asyncio.run(destroy(place))


async def empty(place: Path) -> None:
    image = place.parent / f"nothing-{place.name}"
    image.write_bytes(bytes(512))
    await clouds.prepared(place, image, network="user", overcommit=8.0)
    image.unlink()


async def booted(place: Path) -> None:
    cloud = await clouds.connected(place)
    vm = await cloud.create_vm(clouds.act("create"), clouds.described("web"), clouds.IMAGE)
    await cloud.create_vm(clouds.act("still"), clouds.described("still"), clouds.IMAGE, power_on=False)
    await clouds.answering(cloud, vm.id)
    client.fill(await url(cloud, vm.id), "ballast", 8)
    await cloud.close()


async def url(cloud: Any, vm_id: str) -> str:
    door = await cloud.door(vm_id, 80)
    assert door is not None
    return f"http://{door.host}:{door.port}"


async def state(place: Path, vm: str = "web") -> client.GuestState:
    cloud = await clouds.connected(place)
    try:
        found = await cloud.vm(vm)
        await clouds.answering(cloud, found.id)
        return client.state(await url(cloud, found.id))
    finally:
        await cloud.close()


def answered(machine: Machine, *words: str) -> Any:
    status, out, told = machine.run(*words, "--json")
    assert status == 0, told
    return json.loads(out)


def test_a_target_that_runs_full_is_left_and_the_source_answers_again(machine: Machine, small: Path):
    before = asyncio.run(state(machine.home.parent / "alpha"))
    status, out, told = machine.run("migrate", "web", "--from", "alpha", "--to", "tight", *CHECK)
    assert status == 4, told
    assert "No space left" in out + told or "full" in out + told
    after = asyncio.run(state(machine.home.parent / "alpha"))
    assert (after.data, after.host_key) == (before.data, before.host_key)
    run = answered(machine, "run", "list")[0]
    report = answered(machine, "run", "report", run["id"])
    assert (report["outcome"], report["left_behind"]) == ("rolled-back", [])
    assert answered(machine, "vm", "list", "tight") == []
    assert list((small / "tight" / "volumes").iterdir()) == []


def test_a_source_whose_servers_die_in_the_copy_is_opened_again(machine: Machine):
    words = ("migrate", "still", "--from", "alpha", "--to", "beta", "--hook", "before:image_upload:accident")
    status, out, told = machine.run(*words)
    assert status == 0, out + told
    assert machine.said("step.retry")
    (source,) = [vm for vm in answered(machine, "vm", "list", "alpha") if vm["name"] == "still"]
    assert (source["power"], source["fenced"]) == ("stopped", True)
    assert [vm["name"] for vm in answered(machine, "vm", "list", "beta")] == ["still"]
    assert [one for one in processes(machine.home.parent / "alpha") if one[2] == "qemu-storage-daemon"] == []
