"""What cannot be moved is refused by the real site, API and command line, before anything is touched.

Each refusal names what is at fault, why, and what to do; afterwards both clouds and the list of runs are as
they were.
"""

import asyncio
import contextlib
import dataclasses
import os
import signal
import sqlite3
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.lab.serve.test_life import Machine, alive

from crossport import errors
from crossport.client import Client, calls, over_socket
from crossport.client.embedded import read_token
from crossport.clouds.memory import MemoryCloud
from crossport.model.construct import Constructs, Network
from crossport.model.mapping import MappingRules
from crossport.model.request import CloudEntry
from crossport.model.run import Act, MigrationRequest
from crossport.model.vm import VM, PowerState
from crossport.testing.world import ALPHA, BETA, web_vm
from crossport.units import MIB


def bare(constructs: Constructs, **quota: int) -> Constructs:
    """Return a cloud with less left of something."""
    return dataclasses.replace(constructs, free=dataclasses.replace(constructs.free, **quota))


CLOUDS = {
    "alpha": ALPHA,
    "beta": BETA,
    "no-memory": bare(BETA, memory=64 * MIB),
    "no-cpus": bare(BETA, cpus=0),
    "no-vms": bare(BETA, vms=0),
    "no-quota": bare(BETA, disk=MIB // 2),
    "no-disk": dataclasses.replace(BETA, disk_free=MIB // 2),
    "no-network": dataclasses.replace(
        BETA, networks=tuple(network for network in BETA.networks if network.reserved)
    ),
    "many-networks": dataclasses.replace(
        BETA,
        networks=(
            *(network for network in BETA.networks if network.reserved),
            Network(name="one", cidr="10.30.1.0/24"),
            Network(name="two", cidr="10.30.2.0/24"),
        ),
    ),
}


def variants() -> dict[str, VM]:
    """Return VMs that have something about them, by name."""
    web = web_vm()
    disk, nic = web.disks[0], web.nics[0]
    second = dataclasses.replace(nic, mac="52:54:00:00:00:02", network="backup", addresses=())
    return {
        "web": web,
        "taken": web,
        "shared": web,
        "archive": dataclasses.replace(
            web, disks=(disk, dataclasses.replace(disk, id="shared-create-disk-0", boot=False))
        ),
        "snapped": dataclasses.replace(web, disks=(dataclasses.replace(disk, snapshots=("monday",)),)),
        "layered": dataclasses.replace(web, disks=(dataclasses.replace(disk, backing="golden.qcow2"),)),
        "two-nics": dataclasses.replace(web, nics=(nic, second)),
        "moving": web,
        "moved": dataclasses.replace(web, fenced=True, power=PowerState.STOPPED),
    }


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Machine]:
    """One durable site with all clouds and VMs, and the VM moving on its way."""
    root = tmp_path_factory.mktemp("site")
    one = Machine(root / "home")
    clouds = {name: MemoryCloud(name, root / name) for name in CLOUDS}
    for name, constructs in CLOUDS.items():
        clouds[name].found(dataclasses.replace(constructs, cloud=name))
    for name, vm in variants().items():
        named = dataclasses.replace(vm, name=name)
        act = Act(run=name, step="create", epoch=1)
        asyncio.run(clouds["alpha"].create_vm(act, named, "boot and data", power_on=not vm.fenced))
        if name == "taken":
            asyncio.run(clouds["beta"].create_vm(Act(run="x", step="create", epoch=1), named, "boot"))
    try:
        assert one.run("cloud", "list")[0] == 0  # starts the server
        with Client(
            over_socket(one.control / "socket"), read_token(one.control / "token"), time.sleep
        ) as client:
            for name in CLOUDS:
                client.send(
                    calls.add_cloud(
                        CloudEntry(name=name, driver="memory", settings={"path": str(root / name)})
                    )
                )
        words = ("migrate", "moving", "--from", "alpha", "--to", "beta", "--commit", "manual")
        assert one.run(*words)[0] == 0
        yield one
    finally:
        one.end()


@pytest.fixture(scope="module")
def client(machine: Machine) -> Generator[Client]:
    with Client(
        over_socket(machine.control / "socket"), read_token(machine.control / "token"), time.sleep
    ) as one:
        yield one


def world(machine: Machine, client: Client) -> tuple[list[str], dict[Path, bytes]]:
    """Return all that a refused request could have touched: runs, and every file of every cloud."""
    runs = [run.id for run in client.send(calls.runs()).items]
    files = {
        path: path.read_bytes()
        for name in CLOUDS
        for path in (machine.home.parent / name).rglob("*")
        if path.is_file()
    }
    return runs, files


def networks(**table: str) -> MappingRules:
    return MappingRules(networks=table)


# What is asked for besides web, alpha and beta; the error's kind and code; what its text or field names.
WRONG: dict[str, tuple[dict[str, Any], type[errors.Error], str, str]] = {
    "source": ({"source": "nowhere"}, errors.NotFound, "cloud.unknown", "source"),
    "target": ({"target": "nowhere"}, errors.NotFound, "cloud.unknown", "target"),
    "source and target": ({"target": "alpha"}, errors.Invalid, "migrate.same-cloud", "target"),
    "vm": ({"vm": "nobody"}, errors.NotFound, "vm.unknown", "vm"),
    "flavor": ({"rules": MappingRules(flavor="huge")}, errors.Blocked, "mapping.flavor.unknown", "huge"),
    "network": ({"rules": networks(app="moon")}, errors.Blocked, "mapping.network.unknown", "moon"),
    "taken name": ({"vm": "taken"}, errors.Blocked, "target.name.taken", "vm taken"),
    "memory": ({"target": "no-memory"}, errors.Blocked, "target.quota.memory", "64 MiB"),
    "processors": ({"target": "no-cpus"}, errors.Blocked, "target.quota.cpus", "1 of cpus"),
    "vms": ({"target": "no-vms"}, errors.Blocked, "target.quota.vms", "no-vms leaves 0"),
    "quota of disk": ({"target": "no-quota"}, errors.Blocked, "target.quota.disk", "512 KiB"),
    "disk": ({"target": "no-disk"}, errors.Blocked, "target.disk.full", "no-disk has 512 KiB left"),
    "shared disk": ({"vm": "shared"}, errors.Blocked, "disk.shared", "also used by archive"),
    "snapshots": ({"vm": "snapped"}, errors.Blocked, "disk.snapshots", "monday"),
    "backing chain": ({"vm": "layered"}, errors.Blocked, "disk.backing", "golden.qcow2"),
    "lost NIC": ({"target": "no-network"}, errors.Blocked, "mapping.network.none", "would lose a NIC"),
    "one NIC of two": (
        {"vm": "two-nics", "target": "many-networks", "rules": networks(app="one")},
        errors.Blocked,
        "mapping.network.none",
        "--map-network backup=NAME out of: one, two",
    ),
    "migrating already": ({"vm": "moving"}, errors.Conflict, "vm.migrating", "vm"),
    "fenced": ({"vm": "moved"}, errors.Blocked, "vm.fenced", "vm moved"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_migration_that_cannot_be_is_refused_and_touches_nothing(
    machine: Machine, client: Client, case: str
):
    changes, kind, code, named = WRONG[case]
    request = dataclasses.replace(MigrationRequest(vm="web", source="alpha", target="beta"), **changes)
    before = world(machine, client)
    with pytest.raises(kind) as refusal:
        client.send(calls.migrate(request, key=case.replace(" ", "-")))
    assert world(machine, client) == before
    told = refusal.value
    assert (code in str(told), named in str(told)) == (True, True), str(told)
    assert told.remedy
    if kind is not errors.Blocked:  # which tells subject and remedy of each finding
        assert (told.code, told.field) == (code, named)


def test_the_command_line_tells_it_with_exit_status_and_remedy(machine: Machine):
    status, _, told = machine.run("migrate", "shared", "--from", "alpha", "--to", "beta")
    assert status == 3
    for words in (
        "disk root",
        "is also used by archive",
        "Detach it there",
        "disk.shared",
        "Nothing was touched",
    ):
        assert words in told
    status, _, told = machine.run("migrate", "moving", "--from", "alpha", "--to", "beta")
    assert status == 2
    for words in ("already being migrated by run", "crossport run show", "vm.migrating"):
        assert words in told


def test_a_name_is_given_once(machine: Machine, client: Client):
    entry = CloudEntry(name="beta", driver="memory", settings={"path": str(machine.home.parent / "alpha")})
    before = client.send(calls.clouds()).items
    with pytest.raises(errors.Conflict) as refusal:
        client.send(calls.add_cloud(entry))
    assert (refusal.value.field, bool(refusal.value.remedy)) == ("name", True)
    assert client.send(calls.clouds()).items == before


def content(database: Path) -> list[str]:
    """What is in the database, wherever SQLite has written it down."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def test_a_database_of_a_newer_version_is_left_alone_and_the_person_is_told(tmp_path: Path):
    machine = Machine(tmp_path / "home")
    try:
        assert machine.run("cloud", "list")[0] == 0
        os.kill(machine.owner(), signal.SIGKILL)
        machine.wait(lambda: not alive(machine.owner()))
        database = machine.control / "engine.sqlite"
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = '9999'")
        before = content(database)
        status, _, told = machine.run("cloud", "list")
        assert status == 8
        for words in ("newer version of Crossport", "Install that version", "Code: engine.database.newer"):
            assert words in told
        assert content(database) == before
    finally:
        machine.end()
