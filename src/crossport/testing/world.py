"""Two simulated clouds with a VM, for tests of everything that is built above clouds."""

from crossport.model.construct import (
    EXPORT_SUBNET,
    IMPORT_SUBNET,
    Constructs,
    Flavor,
    KeyPair,
    Network,
    Quota,
    Rule,
    SecurityGroup,
)
from crossport.model.vm import VM, Disk, Nic
from crossport.units import GIB, MIB

__all__ = ["ALPHA", "BETA", "web_vm"]

_HTTP = Rule(protocol="tcp", first_port=80, last_port=80)
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBuN3CkXTIjTs8WmEvMaJK4vjmQf6GmGQ0D0Y8bCkVXY ann"
_RESERVED = (
    Network(name=EXPORT_SUBNET, cidr="192.0.2.0/28", reserved=True),
    Network(name=IMPORT_SUBNET, cidr="192.0.2.16/28", reserved=True),
)

ALPHA = Constructs(
    cloud="alpha",
    project="shop",
    zones=("north",),
    flavors=(Flavor(name="small", cpus=1, memory=256 * MIB, disk=GIB),),
    networks=(Network(name="app", cidr="10.10.0.0/24", gateway="10.10.0.1"), *_RESERVED),
    security_groups=(SecurityGroup(name="web", rules=(_HTTP,)),),
    keys=(KeyPair(name="ann", public_key=_KEY, fingerprint="SHA256:one"),),
    storage_classes=("standard",),
    free=Quota(vms=10, cpus=20, memory=16 * GIB, disk=100 * GIB),
    disk_free=100 * GIB,
)
"""A cloud with one of everything."""

BETA = Constructs(
    cloud="beta",
    project="shop",
    zones=("east", "west"),
    flavors=(
        Flavor(name="tiny", cpus=1, memory=128 * MIB, disk=GIB),
        Flavor(name="medium", cpus=2, memory=512 * MIB, disk=2 * GIB),
        Flavor(name="large", cpus=8, memory=4 * GIB, disk=8 * GIB),
    ),
    networks=(Network(name="frontend", cidr="10.20.0.0/24", gateway="10.20.0.1"), *_RESERVED),
    security_groups=(SecurityGroup(name="web", rules=(_HTTP,)),),
    keys=(KeyPair(name="ann-at-beta", public_key=_KEY, fingerprint="SHA256:one"),),
    storage_classes=("fast", "slow"),
    free=Quota(vms=10, cpus=20, memory=16 * GIB, disk=100 * GIB),
    disk_free=100 * GIB,
)
"""Another cloud, where most things have other names."""


def web_vm(**tags: str) -> VM:
    """Return the description of a VM that ALPHA can make."""
    return VM(
        id="",
        name="web",
        project="shop",
        zone="north",
        flavor="small",
        cpus=1,
        memory=256 * MIB,
        disks=(Disk(id="", name="root", size=MIB, boot=True, storage_class="standard"),),
        nics=(
            Nic(
                mac="52:54:00:00:00:01",
                network="app",
                addresses=("10.10.0.5/24",),
                security_groups=("web",),
            ),
        ),
        keys=("ann",),
        instance_id="i-1",
        tags={name.replace("_", "."): value for name, value in tags.items()},
    )
