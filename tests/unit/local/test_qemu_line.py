"""QEMU's command line: explicit formats, JSON for everything that has a name, the same devices every time."""

import dataclasses
import itertools
import json
from pathlib import Path

import pytest

from crossport.hypervisor.qemu import (
    Accelerator,
    Card,
    Drive,
    Machine,
    command_line,
    confinement,
    machine_type,
)
from crossport.model.vm import DiskBus, NicModel
from crossport.units import GIB, MIB


def machine(*buses: DiskBus, **changes: object) -> Machine:
    drives = tuple(
        Drive(name=f"disk-{n}", path=Path(f"/clouds/a,b/{n}.qcow2"), format="qcow2", bus=bus)
        for n, bus in enumerate(buses)
    )
    plain = Machine(
        uuid="00000000-0000-0000-0000-000000000001",
        cpus=1,
        memory=256 * MIB,
        accelerator=Accelerator.TCG,
        drives=drives,
        cards=(Card(model=NicModel.VIRTIO, mac="52:54:00:00:00:01", netdev={"type": "user"}),),
        console=Path("/clouds/a,b/console.log"),
        typing=8,
        agent=9,
        control=7,
    )
    return dataclasses.replace(plain, **changes)


def given(line: list[str], option: str) -> list[dict[str, object]]:
    return [json.loads(value) for name, value in itertools.pairwise(line) if name == option and "{" in value]


def test_no_block_node_guesses_a_format_or_follows_a_backing_file():
    line = command_line(
        machine(DiskBus.VIRTIO, DiskBus.SATA, seed=Path("/x/seed.iso"), variables=Path("/x/v"))
    )
    nodes = given(line, "-blockdev")
    assert all(node["driver"] in {"file", "raw", "qcow2"} for node in nodes)
    assert all("backing" in node and node["backing"] is None for node in nodes if node["driver"] == "qcow2")
    assert "-drive" not in line
    assert "-hda" not in line


def test_a_comma_in_a_path_is_part_of_the_path():
    line = command_line(machine(DiskBus.VIRTIO))
    assert given(line, "-blockdev")[0]["filename"] == "/clouds/a,b/0.qcow2"
    console = "socket,id=console,fd=8,server=on,wait=off,logfile=/clouds/a,,b/console.log,logappend=on"
    assert console in line


def test_only_ide_needs_the_older_machine():
    assert machine_type((DiskBus.VIRTIO, DiskBus.SATA)) == "pc-q35-7.2"
    assert machine_type((DiskBus.VIRTIO, DiskBus.IDE)) == "pc-i440fx-7.2"


@pytest.mark.parametrize("bus", DiskBus)
def test_the_seed_is_on_a_bus_that_the_boot_disk_needs_too(bus: DiskBus):
    devices = given(command_line(machine(bus, seed=Path("/x/seed.iso"))), "-device")
    (drive,) = [device for device in devices if device.get("id") == "cd0"]
    assert drive["driver"] == ("scsi-cd" if bus in {DiskBus.VIRTIO, DiskBus.VIRTIO_SCSI} else "ide-cd")
    assert drive["drive"] == "seed"


def test_a_vm_without_seed_has_the_same_devices_so_that_its_memory_fits():
    with_seed = given(command_line(machine(DiskBus.VIRTIO, seed=Path("/x/seed.iso"))), "-device")
    without = given(command_line(machine(DiskBus.VIRTIO)), "-device")
    for device in with_seed:
        if device.get("id") == "cd0":
            device.pop("drive")
    assert with_seed == without


def test_a_fenced_card_is_there_but_plugged_nowhere():
    card = Card(model=NicModel.E1000, mac="52:54:00:00:00:01", netdev=None)
    line = command_line(machine(DiskBus.VIRTIO, cards=(card,)))
    assert "-netdev" not in line
    (nic,) = [device for device in given(line, "-device") if device.get("id") == "nic0"]
    assert "netdev" not in nic


def test_it_starts_paused_without_defaults_and_sandboxed():
    line = command_line(machine(DiskBus.VIRTIO))
    assert {"-S", "-nodefaults", "-no-user-config", "-sandbox"} <= set(line)


def test_it_sees_its_own_files_only_and_no_network_without_need():
    seen = confinement(machine(DiskBus.VIRTIO, seed=Path("/x/seed.iso")), uid=1_900_000_001, kvm_group=0)
    assert seen.read == (Path("/x/seed.iso"),)
    assert seen.write == (Path("/clouds/a,b/0.qcow2"), Path("/clouds/a,b/console.log"))
    assert (seen.network, seen.devices, seen.groups) == (False, (), ())
    assert seen.limits.address_space == 256 * MIB + 8 * GIB


def test_kvm_is_seen_only_where_it_is_used():
    seen = confinement(machine(DiskBus.VIRTIO, accelerator=Accelerator.KVM), uid=1_900_000_001, kvm_group=104)
    assert (seen.devices, seen.groups) == ((Path("/dev/kvm"),), (104,))
