"""How constructs of the source translate to constructs of the target, and what a person asked for."""

from collections.abc import Mapping as Table
from dataclasses import field
from enum import StrEnum

from crossport.model.record import record

__all__ = ["Choice", "Construct", "Mapping", "MappingRules"]


class Construct(StrEnum):
    """A kind of thing that is mapped."""

    PROJECT = "project"
    ZONE = "zone"
    FLAVOR = "flavor"
    NETWORK = "network"
    SECURITY_GROUP = "security_group"
    KEY = "key"
    STORAGE_CLASS = "storage_class"
    FIRMWARE = "firmware"
    DISK_BUS = "disk_bus"
    NIC_MODEL = "nic_model"
    MAC = "mac"
    ADDRESS = "address"


@record()
class Choice:
    """One construct of the source and what stands for it at the target.

    ``given`` tells that a person chose it. ``target`` is empty where the target chooses by itself: a MAC,
    an address. ``differences`` lists in words what is not the same.
    """

    construct: Construct
    source: str
    target: str
    given: bool = False
    reason: str = ""
    differences: tuple[str, ...] = ()


@record(kw_only=False)
class Mapping:
    """All choices of one VM."""

    choices: tuple[Choice, ...] = ()

    def target(self, construct: Construct, source: str) -> str:
        """Return what stands for ``source`` at the target; raise KeyError when nothing does."""
        for choice in self.choices:
            if choice.construct is construct and choice.source == source:
                return choice.target
        raise KeyError((construct, source))


@record()
class MappingRules:
    """What a person decided beforehand; everything left out is proposed. Tables go from source to target."""

    project: str = ""
    zone: str = ""
    flavor: str = ""
    networks: Table[str, str] = field(default_factory=dict[str, str])
    security_groups: Table[str, str] = field(default_factory=dict[str, str])
    keys: Table[str, str] = field(default_factory=dict[str, str])
    storage_classes: Table[str, str] = field(default_factory=dict[str, str])
    addresses: Table[str, str] = field(default_factory=dict[str, str])
    """From MAC to the wanted address at the target, without prefix length."""
    keep_mac: bool = True
