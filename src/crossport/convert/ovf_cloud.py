"""What a VM's cloud knew of it beyond its hardware: a section of an OVF descriptor that nobody must know.

The standard has no words for tags, security groups and keys. They stand in a section of a namespace of our
own, marked as not required, so that other readers pass over it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from xml.etree import ElementTree as Tree
from xml.etree.ElementTree import Element

from crossport.model.construct import Constructs, Direction, Rule, SecurityGroup
from crossport.model.vm import VM

__all__ = ["CloudCard", "CloudFacts", "add_facts", "cloud_facts", "facts_in", "shown"]

SPACE = "urn:crossport:ovf:cloud:1"
SECTION = "CloudSection"


@dataclass(frozen=True, slots=True)
class CloudCard:
    """Of a network card: its addresses with prefix length, and the names of its security groups."""

    addresses: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CloudFacts:
    """``cards`` are in the guest's order; ``groups`` those that its cards are in; ``keys`` names with
    fingerprints, which are empty where the cloud has the key no more."""

    machine: str = ""
    tpm: bool = False
    instance_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    cards: tuple[CloudCard, ...] = ()
    groups: tuple[SecurityGroup, ...] = ()
    keys: tuple[tuple[str, str], ...] = ()


def cloud_facts(vm: VM, constructs: Constructs) -> CloudFacts:
    """Return what travels of ``vm``, which lies in a cloud with these ``constructs``."""
    used = {name for nic in vm.nics for name in nic.security_groups}
    fingerprints = {key.name: key.fingerprint for key in constructs.keys}
    return CloudFacts(
        machine=shown(vm.machine),
        tpm=vm.tpm,
        instance_id=shown(vm.instance_id),
        tags={shown(name): shown(value) for name, value in sorted(vm.tags.items())},
        cards=tuple(CloudCard(nic.addresses, tuple(map(shown, nic.security_groups))) for nic in vm.nics),
        groups=tuple(
            SecurityGroup(name=shown(one.name), rules=one.rules)
            for one in sorted(constructs.security_groups, key=lambda group: group.name)
            if one.name in used
        ),
        keys=tuple((shown(name), fingerprints.get(name, "")) for name in vm.keys),
    )


def shown(text: str) -> str:
    """Return ``text`` as XML can hold it: what it cannot hold is a replacement character."""
    return "".join(letter if _holds(letter) else "\ufffd" for letter in text)


def _holds(letter: str) -> bool:
    return letter >= " " and not "\ud800" <= letter <= "\udfff" and letter not in "\ufffe\uffff"


def add_facts(system: Element, facts: CloudFacts) -> None:
    """Add the section to a virtual system, whose writer names the OVF namespace ``ovf``."""
    section = _add(system, SECTION, **{"xmlns:xp": SPACE, "ovf:required": "false"})
    Tree.SubElement(section, "ovf:Info").text = "What the cloud of the virtual machine knows of it"
    tpm = str(facts.tpm).lower()
    _add(section, "Machine", type=facts.machine, tpm=tpm, instanceId=facts.instance_id)
    for name, value in facts.tags.items():
        _add(section, "Tag", name=name, value=value)
    for card in facts.cards:
        element = _add(section, "Card")
        for address in card.addresses:
            _add(element, "Address", value=address)
        for group in card.groups:
            _add(element, "MemberOf", name=group)
    for group in facts.groups:
        element = _add(section, "SecurityGroup", name=group.name)
        for rule in group.rules:
            _add(element, "Rule", **_written(rule))
    for name, fingerprint in facts.keys:
        _add(section, "Key", name=name, fingerprint=fingerprint)


def facts_in(system: Element) -> CloudFacts | None:
    """Return what the section says, None where there is none; raise ValueError for what makes no sense."""
    section = next(_of(system, SECTION), None)
    if section is None:
        return None
    machine = next(_of(section, "Machine"), None)
    about: Mapping[str, str] = machine.attrib if machine is not None else {}
    return CloudFacts(
        machine=about.get("type", ""),
        tpm=about.get("tpm") == "true",
        instance_id=about.get("instanceId", ""),
        tags={one.get("name", ""): one.get("value", "") for one in _of(section, "Tag")},
        cards=tuple(
            CloudCard(
                tuple(one.get("value", "") for one in _of(card, "Address")),
                tuple(one.get("name", "") for one in _of(card, "MemberOf")),
            )
            for card in _of(section, "Card")
        ),
        groups=tuple(
            SecurityGroup(name=group.get("name", ""), rules=tuple(map(_read, _of(group, "Rule"))))
            for group in _of(section, "SecurityGroup")
        ),
        keys=tuple((one.get("name", ""), one.get("fingerprint", "")) for one in _of(section, "Key")),
    )


def _add(parent: Element, tag: str, **attributes: str) -> Element:
    return Tree.SubElement(parent, f"xp:{tag}", attributes)


def _of(parent: Element, name: str) -> Iterator[Element]:
    return (child for child in parent if child.tag == f"{{{SPACE}}}{name}")


def _written(rule: Rule) -> dict[str, str]:
    return {
        "direction": rule.direction,
        "protocol": rule.protocol,
        "firstPort": str(rule.first_port),
        "lastPort": str(rule.last_port),
        "cidr": rule.cidr,
    }


def _read(element: Element) -> Rule:
    return Rule(
        direction=Direction(element.get("direction", "")),
        protocol=element.get("protocol", ""),
        first_port=int(element.get("firstPort", "")),
        last_port=int(element.get("lastPort", "")),
        cidr=element.get("cidr", ""),
    )
