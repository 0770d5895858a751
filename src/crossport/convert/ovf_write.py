"""Write the descriptor of a package: OVF 1.1 or 2.1 (DMTF DSP0243), the way other readers expect it.

Everything a guest or a cloud may have named is escaped by the XML writer; sizes are plain bytes except
memory, which readers want in ``byte * 2^20``.
"""

from collections.abc import Sequence
from xml.etree import ElementTree as Tree

from crossport import errors
from crossport.convert.appliance import Appliance, ApplianceDisk
from crossport.convert.ovf_cloud import add_facts
from crossport.convert.ovf_guest import LINUX_64, add_guest, system_id
from crossport.convert.ovf_words import (
    DISK_SUBTYPES,
    ENVELOPES,
    NIC_SUBTYPES,
    RASD,
    STREAM_OPTIMIZED,
    VMW,
    VSSD,
    XSI,
    Resource,
)
from crossport.model.vm import DiskBus
from crossport.units import MIB

__all__ = ["descriptor"]


def descriptor(appliance: Appliance, *, version: int = 1, more: Sequence[str] = ()) -> bytes:
    """Return the OVF text for ``appliance``, whose disks have files; ``more`` files belong to the package.

    Raise Invalid ``ovf.version.unknown`` unless ``version`` is 1 or 2, ``ovf.text.unprintable`` for a name
    that XML cannot hold.
    """
    if version not in ENVELOPES:
        raise errors.Invalid(
            "ovf.version.unknown", f"OVF {version} is not known.", remedy="Choose 1 or 2.", field="version"
        )
    writer = _Writer(ENVELOPES[version], version)
    return writer.text(appliance, more)


class _Writer:
    """Builds one envelope; ``ovf`` names its namespace."""

    def __init__(self, namespace: str, version: int) -> None:
        self._ovf = namespace
        self._version = version
        self._instance = 0

    def text(self, appliance: Appliance, more: Sequence[str]) -> bytes:
        root = Tree.Element(self._name("Envelope"))
        # Prefixes are written literally: many readers match them so, and ElementTree's own table of
        # prefixes is shared by the whole process.
        for prefix, uri in {"ovf": self._ovf, "rasd": RASD, "vssd": VSSD, "vmw": VMW, "xsi": XSI}.items():
            root.set(f"xmlns:{prefix}", uri)
        # ovf:version distinguishes 1.0 from 1.1; 2.x puts the number there as well.
        root.set(self._name("version"), "1.0" if self._version == 1 else "2.1.1")
        root.set("xml:lang", "en-US")
        self._references(root, appliance, more)
        self._disks(root, appliance)
        self._networks(root, appliance)
        self._system(root, appliance)
        Tree.indent(root)
        return Tree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"

    def _name(self, name: str) -> str:
        return f"ovf:{name}"

    def _add(self, parent: Tree.Element, tag: str, text: str = "", **attributes: str) -> Tree.Element:
        child = Tree.SubElement(parent, self._name(tag))
        child.text = _printable(text) or None
        for name, value in attributes.items():
            child.set(self._name(name), _printable(value))
        return child

    def _references(self, root: Tree.Element, appliance: Appliance, more: Sequence[str]) -> None:
        references = self._add(root, "References")
        for disk in appliance.disks:
            if disk.file:
                size = {"size": str(disk.file_size)} if disk.file_size is not None else {}
                self._add(references, "File", href=disk.file, id=f"file-{disk.id}", **size)
        for number, name in enumerate(more, 1):
            self._add(references, "File", href=name, id=f"more-{number}")

    def _disks(self, root: Tree.Element, appliance: Appliance) -> None:
        section = self._add(root, "DiskSection")
        self._add(section, "Info", "Virtual disks")
        for disk in appliance.disks:
            file = {"fileRef": f"file-{disk.id}"} if disk.file else {}
            self._add(
                section,
                "Disk",
                capacity=str(disk.size),
                capacityAllocationUnits="byte",
                diskId=disk.id,
                format=disk.format or STREAM_OPTIMIZED,
                **file,
            )

    def _networks(self, root: Tree.Element, appliance: Appliance) -> None:
        if not appliance.nics:
            return  # some readers cannot do with an empty section
        section = self._add(root, "NetworkSection")
        self._add(section, "Info", "Networks that the virtual machine is attached to")
        for name in dict.fromkeys(nic.network for nic in appliance.nics):
            self._add(self._add(section, "Network", name=name), "Description", name)

    def _system(self, root: Tree.Element, appliance: Appliance) -> None:
        system = self._add(root, "VirtualSystem", id=appliance.name)
        self._add(system, "Info", "A virtual machine")
        self._add(system, "Name", appliance.name)
        self._operating_system(system, appliance)
        if appliance.annotation:
            section = self._add(system, "AnnotationSection")
            self._add(section, "Info", "A note")
            self._add(section, "Annotation", appliance.annotation)
        self._properties(system, appliance)
        self._hardware(system, appliance)
        if appliance.cloud:
            add_facts(system, appliance.cloud)
        if appliance.guest:
            add_guest(system, appliance.guest)

    def _operating_system(self, system: Tree.Element, appliance: Appliance) -> None:
        """Say what the guest runs. Many readers of packages want something to be said of every guest."""
        guest = appliance.guest
        number = LINUX_64 if guest is None else system_id(guest)
        if number is None:
            return
        section = self._add(system, "OperatingSystemSection", id=str(number))
        self._add(section, "Info", "The guest's operating system")
        if guest is not None and guest.title:
            self._add(section, "Description", guest.title)

    def _properties(self, system: Tree.Element, appliance: Appliance) -> None:
        if not appliance.properties:
            return
        section = self._add(system, "ProductSection")
        self._add(section, "Info", "Properties of the virtual machine")
        for key, value in appliance.properties.items():
            self._add(section, "Property", key=key, type="string", value=value)

    def _hardware(self, system: Tree.Element, appliance: Appliance) -> None:
        section = self._add(system, "VirtualHardwareSection")
        self._add(section, "Info", "Virtual hardware")
        setting = self._add(section, "System")
        for name, text in (
            ("ElementName", "Virtual hardware family"),
            ("InstanceID", "0"),
            ("VirtualSystemIdentifier", appliance.name),
            ("VirtualSystemType", "vmx-13"),
        ):
            Tree.SubElement(setting, f"vssd:{name}").text = _printable(text)
        self._amount(section, Resource.CPU, "hertz * 10^6", appliance.cpus)
        self._amount(section, Resource.MEMORY, "byte * 2^20", appliance.memory // MIB)
        self._storage(section, appliance.disks)
        for number, nic in enumerate(appliance.nics):
            facts = {"Connection": nic.network, "ResourceSubType": NIC_SUBTYPES[nic.model]}
            if nic.mac:
                facts["Address"] = nic.mac
            self._item(section, Resource.NIC, f"network {number}", AutomaticAllocation="true", **facts)
        firmware = Tree.SubElement(section, "vmw:Config")
        firmware.set(self._name("required"), "false")
        firmware.set("vmw:key", "firmware")
        firmware.set("vmw:value", "efi" if appliance.firmware == "uefi" else "bios")

    def _storage(self, section: Tree.Element, disks: tuple[ApplianceDisk, ...]) -> None:
        controllers: dict[DiskBus, str] = {}
        used: dict[DiskBus, int] = {}
        for bus in dict.fromkeys(disk.bus for disk in disks):
            kind, subtype = DISK_SUBTYPES[bus]
            controllers[bus] = self._item(
                section, kind, f"controller {bus}", Address=str(len(controllers)), ResourceSubType=subtype
            )
        for disk in disks:
            place = used.get(disk.bus, 0)
            used[disk.bus] = place + 1
            self._item(
                section,
                Resource.DISK,
                disk.id,
                AddressOnParent=str(place),
                HostResource=f"ovf:/disk/{disk.id}",
                Parent=controllers[disk.bus],
            )

    def _amount(self, section: Tree.Element, kind: int, unit: str, quantity: int) -> None:
        name = "processors" if kind == Resource.CPU else "memory"
        self._item(section, kind, name, AllocationUnits=unit, VirtualQuantity=str(quantity))

    def _item(self, section: Tree.Element, kind: int, name: str, **facts: str) -> str:
        """Add one resource and return its instance id. The standard wants the children sorted by name."""
        self._instance += 1
        facts |= {"ElementName": name, "InstanceID": str(self._instance), "ResourceType": str(kind)}
        item = self._add(section, "Item")
        for key in sorted(facts):
            Tree.SubElement(item, f"rasd:{key}").text = _printable(facts[key])
        return str(self._instance)


def _printable(text: str) -> str:
    if any((letter < " " and letter not in "\t\n") or letter in "\ufffe\uffff" for letter in text):
        raise errors.Invalid(
            "ovf.text.unprintable", f"{text[:40]!r} holds control characters.", remedy="Choose another name."
        )
    return text
