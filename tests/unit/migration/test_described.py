"""Whatever a VM is like, what its sealed descriptor says of it is what the target starts."""

from dataclasses import replace

import pytest

from crossport.convert.appliance import described
from crossport.convert.ovf_read import read_descriptor
from crossport.convert.ovf_write import descriptor
from crossport.migration.descriptor import require_described, require_started
from crossport.migration.sealing import OVF
from crossport.model.artifact import Artifact, Counters, DiskRef, Moved, Role
from crossport.model.certified import Manifest, SealedDisk
from crossport.model.vm import VM, DiskBus, Firmware, NicModel
from crossport.spi.cloud import NewVM
from crossport.testing.world import web_vm

WEB = replace(web_vm(), disks=tuple(disk for disk in web_vm().disks if not disk.seed))
DISK, NIC = WEB.disks[0], WEB.nics[0]
MACHINES = {
    **{f"bus {bus}": replace(WEB, disks=(replace(DISK, bus=bus),)) for bus in DiskBus},
    **{f"card {model}": replace(WEB, nics=(replace(NIC, model=model),)) for model in NicModel},
    **{f"firmware {firmware}": replace(WEB, firmware=firmware) for firmware in Firmware},
    **{f"memory {size}": replace(WEB, memory=size) for size in (64 << 20, 123_456_789, 1 << 40)},
    **{f"name {name}": replace(WEB, name=name) for name in ("a" * 200, "<x> & 'y'", " büro/1", "日本")},
    "no cards": replace(WEB, nics=()),
    "no disks": replace(WEB, disks=()),
    "many disks": replace(WEB, disks=tuple(replace(DISK, bus=bus, size=512) for bus in (*DiskBus, *DiskBus))),
    "capital letters": replace(WEB, nics=(replace(NIC, mac=NIC.mac.upper(), network="büro <1>"),)),
}


@pytest.mark.parametrize("vm", MACHINES.values(), ids=MACHINES)
def test_every_machine_is_what_its_descriptor_says(vm: VM):
    moved = tuple(
        Moved(
            artifact=f"disk-{number}",
            size=disk.size,
            chunk_size=1 << 18,
            root="ab" * 32,
            counters=Counters(),
            seconds=1.0,
        )
        for number, disk in enumerate(vm.disks)
    )
    artifacts = tuple(
        Artifact(role=Role.DISK, name=one.artifact, ref=DiskRef(kind="memory", locator="", size=one.size))
        for one in moved
    )
    sealed = tuple(
        SealedDisk(id=one.artifact, size=one.size, chunk_size=one.chunk_size, root=one.root) for one in moved
    )
    text = descriptor(described(vm, moved), version=OVF)
    require_described(read_descriptor(text).appliance, Manifest(vm="vm-1", parts=(), disks=sealed))
    require_started(text, NewVM(vm=vm, artifacts=artifacts))
