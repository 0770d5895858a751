"""What the demonstration shows: two clouds whose constructs have other names, and the VM that moves.

Nothing that has a name has the same name at both, so that the mapping shows.
"""

from dataclasses import dataclass

from crossport.clouds.local import CloudSpec
from crossport.model.construct import Flavor, KeyPair, Network, Rule, SecurityGroup
from crossport.units import MIB

__all__ = ["ALPHA", "BETA", "CLOSED_PORT", "IMAGE", "MAPPING", "PAGE", "VM_NAME", "Side", "spec"]

VM_NAME = "web"
IMAGE = "small-guest"
CLOSED_PORT = 8080
"""A port that no security group of the demonstration admits."""
PAGE = b"Order 4711: two crates of apples, deliver on Friday.\n"
"""Stored in the guest before it moves; must be there afterwards."""
WAN_RATE_BPS = 200_000_000
"""The link of each cloud to the others, so slow that a person sees the copy go on."""


@dataclass(frozen=True, slots=True)
class Side:
    """One cloud and the names of what ``web`` uses there."""

    cloud: str
    zone: str
    flavor: str
    memory: int
    network: str
    cidr: str
    group: str
    key: str


ALPHA = Side("alpha", "north", "small", 256 * MIB, "office", "10.20.0.0/24", "web-in", "anna-2025")
BETA = Side("beta", "hall-3", "c1.small", 320 * MIB, "dmz", "10.40.0.0/24", "http-server", "anna")

MAPPING = {
    ALPHA.cloud: ("--map-network", "office=dmz", "--map-group", "web-in=http-server"),
    BETA.cloud: ("--map-network", "dmz=office", "--map-group", "http-server=web-in"),
}
"""What a person has to say when ``web`` leaves that cloud; flavor, key and zone are found by themselves."""

# Nobody has the other half of it.
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBF5tZpLF+imrMa4BGTH0msGssS1XmCuLYwGeiOJSe8a anna@example.org"
_FINGERPRINT = "SHA256:EVCeHTv8Mooeo6A+ZrhIDYi7RLn1Ll+Nsh/+CAcqkpI"
_RULES = (
    Rule(protocol="icmp"),
    Rule(protocol="tcp", first_port=22, last_port=22),
    Rule(protocol="tcp", first_port=80, last_port=80),
)


def spec(side: Side, *, accelerator_memory: str) -> CloudSpec:
    """Return what the embedded cloud of ``side`` is; what it finds out of the machine goes into that file."""
    return CloudSpec(
        name=side.cloud,
        zones=(side.zone,),
        flavors=(
            Flavor(name=side.flavor, cpus=1, memory=side.memory),
            Flavor(name=f"{side.flavor}-double", cpus=2, memory=2 * side.memory),
        ),
        networks=(
            Network(name=side.network, cidr=side.cidr, gateway=side.cidr.replace(".0/24", ".1")),
            Network(name=f"{side.network}-2", cidr=side.cidr.replace(".0.0/24", ".1.0/24")),
        ),
        security_groups=(SecurityGroup(name=side.group, rules=_RULES), SecurityGroup(name="closed")),
        keys=(KeyPair(name=side.key, public_key=_KEY, fingerprint=_FINGERPRINT),),
        wan_rate_bps=WAN_RATE_BPS,
        accelerator_memory=accelerator_memory,
    )
