"""What is known of the guest within a machine, in an OVF descriptor.

The standard has a section for its system; what it has no words for is in one of our own, which no reader has
to know.
"""

from collections.abc import Mapping
from xml.etree import ElementTree as Tree
from xml.etree.ElementTree import Element

from crossport.model.inspection import GuestFacts

__all__ = ["LINUX_64", "add_guest", "guest_in", "system_id"]

SPACE = "urn:crossport:ovf:guest:1"
SECTION = "GuestSection"
_LONGEST = 253
LINUX_64 = 101
"""CIM_OperatingSystem.OsType: Linux, 64 bits, of no distribution in particular."""
_LINUX = 36
_X86_64 = frozenset(("amd64", "x86_64"))
_I386 = frozenset(("i386", "i486", "i586", "i686", "x86"))
_SYSTEMS: Mapping[str, tuple[int, int]] = {
    "rhel": (79, 80),
    "opensuse-leap": (82, 83),
    "opensuse-tumbleweed": (82, 83),
    "sles": (84, 85),
    "ubuntu": (93, 94),
    "debian": (95, 96),
    "centos": (106, 107),
    "ol": (108, 109),
}
"""OsType of what os-release calls a system: with 32 bits, and with 64."""


def system_id(facts: GuestFacts) -> int | None:
    """Return the guest's system as CIM_OperatingSystem numbers it; None where it is not known."""
    if not facts.system:
        return None
    narrow, wide = _SYSTEMS.get(facts.system, (_LINUX, LINUX_64))  # what has os-release is a Linux
    if facts.architecture in _X86_64:
        return wide
    return narrow if facts.architecture in _I386 else _LINUX


def add_guest(system: Element, facts: GuestFacts) -> None:
    """Add what is known to a virtual system, whose writer names the OVF namespace ``ovf``; else nothing."""
    known = {name: value for name, value in _written(facts).items() if value}
    if not known:
        return
    section = Tree.SubElement(system, f"xg:{SECTION}", {"xmlns:xg": SPACE, "ovf:required": "false"})
    Tree.SubElement(section, "ovf:Info").text = "What the disks say of the guest"
    Tree.SubElement(section, "xg:Guest", known)


def guest_in(system: Element) -> GuestFacts | None:
    """Return what the section says, None where there is none; raise ValueError for what makes no sense."""
    guest = system.find(f"{{{SPACE}}}{SECTION}/{{{SPACE}}}Guest")
    if guest is None:
        return None
    said = guest.attrib
    if any(len(value) > _LONGEST or not value.isprintable() for value in said.values()):
        raise ValueError("what it says of the guest cannot be shown")
    agent = said.get("agent")
    return GuestFacts(
        system=said.get("system", ""),
        release=said.get("release", ""),
        title=said.get("title", ""),
        architecture=said.get("architecture", ""),
        hostname=said.get("hostname", ""),
        agent=None if agent is None else agent == "true",
    )


def _written(facts: GuestFacts) -> dict[str, str]:
    return {
        "system": facts.system,
        "release": facts.release,
        "title": facts.title,
        "architecture": facts.architecture,
        "hostname": facts.hostname,
        "agent": "" if facts.agent is None else str(facts.agent).lower(),
    }
