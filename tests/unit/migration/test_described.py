"""Whatever a VM is like, what its sealed descriptor says of it is what the target starts."""

from dataclasses import replace
from typing import Any

import pytest

from crossport import errors
from crossport.convert.appliance import described
from crossport.convert.ovf_cloud import CloudCard, CloudFacts
from crossport.convert.ovf_read import read_descriptor
from crossport.convert.ovf_write import descriptor
from crossport.migration.descriptor import require_described, require_started
from crossport.migration.sealing import OVF
from crossport.model.artifact import Artifact, Counters, DiskRef, Moved, Role
from crossport.model.certified import Manifest, SealedDisk
from crossport.model.construct import Direction, KeyPair, Rule, SecurityGroup
from crossport.model.vm import VM, DiskBus, Firmware, NicModel
from crossport.spi.cloud import NewVM
from crossport.testing.world import ALPHA, web_vm

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
    "tags": replace(WEB, tags={"owner": "<ann> & 'co'", "note": "two\nlines\t\x00", "büro": ""}),
    "a TPM": replace(WEB, tpm=True, machine="q35", instance_id="i-1"),
    "capital letters": replace(WEB, nics=(replace(NIC, mac=NIC.mac.upper(), network="büro <1>"),)),
}

RULE = Rule(protocol="tcp", first_port=22, last_port=22, cidr="192.0.2.0/24")
CHANGES: dict[str, dict[str, Any]] = {
    "a tag more": {"tags": {**WEB.tags, "more": ""}},
    "another machine type": {"machine": "odd"},
    "a TPM": {"tpm": not WEB.tpm},
    "another instance id": {"instance_id": "i-other"},
    "more memory": {"memory": WEB.memory * 2},
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
    text = descriptor(described(vm, moved, ALPHA), version=OVF)
    require_described(read_descriptor(text).appliance, Manifest(vm="vm-1", parts=(), disks=sealed))
    require_started(text, NewVM(vm=vm, artifacts=artifacts))


def test_the_descriptor_carries_what_the_cloud_knows():
    nic = replace(NIC, addresses=("10.10.0.5/24", "2001:db8::5/64"), security_groups=("web",))
    vm = replace(WEB, nics=(nic,), keys=("ann", "gone"), tags={"owner": "ann"}, instance_id="i-1")
    web = SecurityGroup(name="web", rules=(RULE, replace(RULE, direction=Direction.EGRESS, first_port=1)))
    key = KeyPair(name="ann", public_key="ssh-ed25519 AAAA", fingerprint="SHA256:abc")
    constructs = replace(ALPHA, security_groups=(SecurityGroup(name="other"), web), keys=(key,))
    found = read_descriptor(descriptor(described(vm, (), constructs), version=OVF))
    assert found.findings == []
    assert found.appliance.cloud == CloudFacts(
        machine=WEB.machine,
        instance_id="i-1",
        tags={"owner": "ann"},
        cards=(CloudCard(nic.addresses, ("web",)),),
        groups=(web,),
        keys=(("ann", "SHA256:abc"), ("gone", "")),
    )


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_machine_than_the_described_one_is_not_started(change: dict[str, Any]):
    vm = replace(WEB, disks=(), nics=())
    text = descriptor(described(vm, (), ALPHA), version=OVF)
    require_started(text, NewVM(vm=vm, artifacts=()))
    with pytest.raises(errors.Refused) as other:
        require_started(text, NewVM(vm=replace(vm, **change), artifacts=()))
    assert other.value.code == "seal.descriptor.disagrees"


@pytest.mark.parametrize("old", [b'direction="ingress"', b'firstPort="22"'])
def test_a_rule_that_makes_no_sense_is_told(old: bytes):
    group = SecurityGroup(name="web", rules=(RULE,))
    vm = replace(WEB, nics=(replace(NIC, security_groups=("web",)),))
    text = descriptor(described(vm, (), replace(ALPHA, security_groups=(group,))), version=OVF)
    broken = text.replace(old, old.split(b'"')[0] + b'"odd"')
    assert broken != text
    assert [one.code for one in read_descriptor(broken).findings] == ["ovf.xml.invalid"]
