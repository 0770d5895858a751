"""What a cloud offers and a VM uses: zones, flavors, networks, security groups, keys, storage classes."""

from enum import StrEnum

from crossport.model.record import record

__all__ = [
    "EXPORT_SUBNET",
    "IMPORT_SUBNET",
    "NO_EGRESS",
    "Constructs",
    "Direction",
    "Flavor",
    "Image",
    "KeyPair",
    "Network",
    "Quota",
    "Rule",
    "SecurityGroup",
]

EXPORT_SUBNET = "VMExportSubnet"
IMPORT_SUBNET = "VMImportSubnet"


@record()
class Flavor:
    """A size of VM. ``memory`` and ``disk`` are bytes; ``disk`` 0 means that the flavor sets no limit."""

    name: str
    cpus: int
    memory: int
    disk: int = 0


@record()
class Network:
    """A network of a project. ``reserved`` marks the export and import subnets, which take no VM."""

    name: str
    cidr: str
    gateway: str = ""
    reserved: bool = False
    isolated: bool = False


class Direction(StrEnum):
    """Which way a rule lets packets through, seen from the VM."""

    INGRESS = "ingress"
    EGRESS = "egress"


@record()
class Rule:
    """Admit ``protocol`` (tcp, udp, icmp, any) to its ports ``first_port`` to ``last_port``."""

    direction: Direction = Direction.INGRESS
    protocol: str = "any"
    first_port: int = 0
    last_port: int = 65535
    cidr: str = "0.0.0.0/0"


NO_EGRESS = Rule(direction=Direction.EGRESS, protocol="tcp", first_port=1, last_port=0)
"""A rule that admits nothing, for a group that is not silent about egress and admits none."""


@record()
class SecurityGroup:
    """Rules that admit; what no rule admits is dropped. Answers to admitted packets are admitted.

    A group without any rule for egress admits all of it; one that admits none has `NO_EGRESS`.
    """

    name: str
    rules: tuple[Rule, ...] = ()


@record()
class KeyPair:
    """A public key under a name. ``fingerprint`` is OpenSSH's ``SHA256:…``."""

    name: str
    public_key: str
    fingerprint: str


@record()
class Image:
    """A disk that a cloud makes VMs from. ``size`` is what a guest sees, in bytes."""

    id: str
    name: str
    format: str
    size: int


@record()
class Quota:
    """What a project may still use: VMs, processors, bytes of memory and of disk."""

    vms: int
    cpus: int
    memory: int
    disk: int


@record()
class Constructs:
    """Everything of one project of a cloud to which a VM can be mapped. ``disk_free``: bytes."""

    cloud: str
    project: str
    zones: tuple[str, ...]
    flavors: tuple[Flavor, ...]
    networks: tuple[Network, ...]
    security_groups: tuple[SecurityGroup, ...]
    keys: tuple[KeyPair, ...]
    storage_classes: tuple[str, ...]
    free: Quota
    disk_free: int
    firmwares: tuple[str, ...] = ("bios", "uefi")
    disk_buses: tuple[str, ...] = ("virtio",)
    nic_models: tuple[str, ...] = ("virtio",)
    tpm: bool = False
    notes: tuple[str, ...] = ()
    """What this cloud does not enforce, in words: shown with every migration to it."""
