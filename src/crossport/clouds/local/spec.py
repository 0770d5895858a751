"""What an embedded cloud is: its name, its constructs and its limits, chosen when it is made.

The service keeps the spec in its state and changes it only through the API (keys, security groups, networks).
"""

from pathlib import Path

from crossport import errors
from crossport.model.construct import Flavor, KeyPair, Network, Quota, Rule, SecurityGroup
from crossport.model.record import record
from crossport.units import GIB, MIB

__all__ = ["CloudSpec", "Layout"]

GATEWAY_UID = 64055
"""Below Debian's range for users that people make (`Debian Policy 9.2.2`), above what packages take."""

STORAGE_CLASSES = ("qcow2", "raw")

_FLAVORS = (
    Flavor(name="tiny", cpus=1, memory=256 * MIB),
    Flavor(name="small", cpus=1, memory=512 * MIB),
    Flavor(name="medium", cpus=1, memory=1 * GIB),
    Flavor(name="large", cpus=2, memory=2 * GIB),
)
_NETWORKS = (Network(name="private", cidr="10.20.0.0/24", gateway="10.20.0.1"),)
_GROUPS = (
    SecurityGroup(
        name="default",
        rules=(
            Rule(protocol="icmp"),
            Rule(protocol="tcp", first_port=22, last_port=22),
            Rule(protocol="tcp", first_port=80, last_port=80),
        ),
    ),
)


@record()
class CloudSpec:
    """The properties of a cloud. Sizes in bytes; the quota is that of each project.

    ``network`` is ``enforced`` (root only), ``user`` or ``auto``; ``accelerator`` is ``kvm``, ``tcg``, or
    empty to find out. ``overcommit`` is how much more disk may be promised than the file system has free.
    The service ends after ``idle_s`` without a call and without a running guest. ``gateway_uid`` is the
    user and group that open exported disks, where the service is root and can choose. ``runtime`` is a
    directory for sockets whose path must be short, chosen when empty. ``accelerator_memory`` is a file in
    which clouds of one machine share what they found out, ``probe_kernel`` a Linux kernel to find it out
    with; without one, an image serves. The reserved subnets are added to ``networks``. Clouds of one
    ``home`` (the directory above this cloud's, when empty) reach one another over a link of
    ``wan_rate_bps`` each way, 0 for no limit.
    """

    name: str
    projects: tuple[str, ...] = ("default",)
    zones: tuple[str, ...] = ("zone-1",)
    flavors: tuple[Flavor, ...] = _FLAVORS
    networks: tuple[Network, ...] = _NETWORKS
    security_groups: tuple[SecurityGroup, ...] = _GROUPS
    keys: tuple[KeyPair, ...] = ()
    quota: Quota = Quota(vms=50, cpus=64, memory=64 * GIB, disk=1024 * GIB)
    network: str = "auto"
    accelerator: str = ""
    overcommit: float = 1.0
    idle_s: float = 600.0
    console_size: int = 1 * MIB
    gateway_uid: int = GATEWAY_UID
    runtime: str = ""
    accelerator_memory: str = ""
    probe_kernel: str = ""
    home: str = ""
    wan_rate_bps: int = 0

    def check(self) -> None:
        """Raise Invalid naming the field that cannot be."""
        choices = (("network", ("auto", "enforced", "user")), ("accelerator", ("", "kvm", "tcg")))
        for field, allowed in choices:
            if getattr(self, field) not in allowed:
                raise errors.Invalid(
                    "cloud.spec.wrong",
                    f"{getattr(self, field)} is not possible.",
                    field=field,
                    remedy=f"Choose one of {', '.join(repr(each) for each in allowed)}.",
                )
        plain = self.name.replace("-", "").replace("_", "").replace(".", "")
        if not plain.isalnum() or not plain.isascii() or self.name[0] in "-." or len(self.name) > 40:
            raise errors.Invalid(
                "cloud.name.wrong",
                f"{self.name!r} cannot name a cloud.",
                field="name",
                remedy="Use up to 40 letters, digits, dashes, dots and underscores.",
            )


class Layout:
    """Where things lie in a cloud's directory. Nobody but the service looks inside, save for two files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.socket = root / "socket"
        self.token = root / "token"
        self.lock = root / "lock"
        self.state = root / "state.db"
        self.log = root / "service.log"
        self.reserve = root / "reserve"
        self.images = root / "images"
        self.volumes = root / "volumes"
        self.vms = root / "vms"
        self.exports = root / "exports"

    def vm(self, vm_id: str) -> Path:
        """Return the directory of one VM."""
        return self.vms / vm_id

    def directories(self) -> tuple[Path, ...]:
        """Return every directory that must be there."""
        return (self.root, self.images, self.volumes, self.vms, self.exports)
