"""Read the descriptor of a package: OVF 1 and 2 (DMTF DSP0243), as a hostile text.

No entities, no document type, nothing fetched. What the text refers to must be plain names inside the
package. What is not understood and not required is skipped; what is required and not understood stops.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser

from crossport.convert.appliance import Appliance, ApplianceDisk, ApplianceNic
from crossport.convert.findings import finding
from crossport.convert.inspect import MAX_SIZE
from crossport.convert.ovf_cloud import facts_in
from crossport.convert.ovf_guest import guest_in
from crossport.convert.ovf_words import CONTROLLERS, ENVELOPES, NIC_SUBTYPES, Resource
from crossport.model.finding import Finding
from crossport.model.vm import DiskBus, Firmware, NicModel

__all__ = ["MAX_DESCRIPTOR", "Description", "plain_name", "read_descriptor"]

MAX_DESCRIPTOR = 1 << 20
_MAX_COUNT = 256
# The descriptors of large appliances have some thousand elements, ten levels deep.
_MAX_ELEMENTS = 20_000
_MAX_DEPTH = 64
_MAX_TEXT = 4096
_UNITS = re.compile(r"^\s*byte\s*(?:\*\s*(2|10)\s*\^\s*(\d{1,2}))?\s*$", re.IGNORECASE)
_WORDS = {
    "kilobytes": 1 << 10,
    "kb": 1 << 10,
    "megabytes": 1 << 20,
    "mb": 1 << 20,
    "gigabytes": 1 << 30,
    "gb": 1 << 30,
}
_KNOWN = frozenset(
    [
        "References",
        "DiskSection",
        "NetworkSection",
        "VirtualSystem",
        "VirtualHardwareSection",
        "AnnotationSection",
        "ProductSection",
        "OperatingSystemSection",
        "EulaSection",
        "DeploymentOptionSection",
        "StartupSection",
        "ResourceAllocationSection",
        "Strings",
        "BootDeviceSection",
    ]
)


_Files: TypeAlias = dict[str, tuple[str, int | None]]  # id -> (name, size)


@dataclass(slots=True)
class Description:
    """What a descriptor says, with what stands against it; the appliance may be used only without
    blockers."""

    appliance: Appliance
    version: int = 1
    findings: list[Finding] = field(default_factory=list[Finding])


class _Nonsense(Exception):
    """A value that cannot be."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.what = what
        self.why = why


class _BoundedTree(TreeBuilder):
    """Builds the tree as far as a descriptor can need it: a text of a few bytes per element takes a hundred
    times its size."""

    def __init__(self) -> None:
        super().__init__()
        self._elements = 0
        self._depth = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        self._elements += 1
        self._depth += 1
        if self._elements > _MAX_ELEMENTS:
            raise _Nonsense("text", f"it has more than {_MAX_ELEMENTS} elements")
        if self._depth > _MAX_DEPTH:
            raise _Nonsense("text", f"its elements are more than {_MAX_DEPTH} levels deep")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(tag)


def read_descriptor(text: bytes) -> Description:
    """Return what the OVF ``text`` describes. Hostile or senseless content gives findings, never an
    exception."""
    empty = Description(Appliance(""))
    if len(text) > MAX_DESCRIPTOR:
        why = f"it has {len(text)} bytes, more than {MAX_DESCRIPTOR}"
        empty.findings.append(finding("ovf.xml.invalid", why=why))
        return empty
    try:
        parser = DefusedXMLParser(
            target=_BoundedTree(), forbid_dtd=True, forbid_entities=True, forbid_external=True
        )
        parser.feed(text)
        return _Reader(parser.close()).description()
    except DefusedXmlException:
        empty.findings.append(finding("ovf.xml.hostile"))
    except (ParseError, ValueError, LookupError) as error:
        empty.findings.append(finding("ovf.xml.invalid", why=str(error)))
    except _Nonsense as error:
        empty.findings.append(finding("ovf.content.invalid", what=error.what, why=error.why))
    return empty


def plain_name(name: str) -> bool:
    """Say whether ``name`` can only be a file of the package itself: no path, no scheme, nothing
    invisible."""
    odd = set('/\\:*?"<>|') & set(name)
    return (
        bool(name)
        and not odd
        and name.isprintable()
        and not name.startswith((".", "-", " "))
        and len(name) <= 200
    )


class _Reader:
    """One pass over a descriptor."""

    def __init__(self, root: Element) -> None:
        self._root = root
        self._findings: list[Finding] = []
        self._space = root.tag[1:].partition("}")[0]

    def description(self) -> Description:
        versions = [version for version, uri in ENVELOPES.items() if uri == self._space]
        if not versions or _local(self._root.tag) != "Envelope":
            raise _Nonsense("root element", f"{_local(self._root.tag)} of {self._space or 'no namespace'}")
        systems = list(_children(self._root, "VirtualSystem"))
        collected = list(_children(self._root, "VirtualSystemCollection"))
        if len(systems) != 1 or collected:
            inner = sum(
                1 for group in collected for each in group.iter() if _local(each.tag) == "VirtualSystem"
            )
            self._findings.append(finding("ovf.system.count", count=len(systems) + inner))
            return Description(Appliance(""), versions[0], self._findings)
        self._require_known(systems[0])
        return Description(self._appliance(systems[0]), versions[0], self._findings)

    def _require_known(self, system: Element) -> None:
        for section in (*self._root, *system):
            name = _local(section.tag)
            required = self._attribute(section, "required") != "false"
            if name.endswith("Section") and name not in _KNOWN and required:
                self._findings.append(finding("ovf.section.unknown", name=name))

    def _appliance(self, system: Element) -> Appliance:
        name = _text(_child(system, "Name")) or self._attribute(system, "id")
        hardware = _child(system, "VirtualHardwareSection")
        items = self._items(hardware)
        note = _child(system, "AnnotationSection")
        return Appliance(
            name=name,
            cpus=self._quantity(items, Resource.CPU, scaled=False),
            memory=self._quantity(items, Resource.MEMORY, scaled=True),
            firmware=self._firmware(hardware),
            disks=tuple(self._disks(items)),
            nics=tuple(self._nics(items)),
            annotation=_text(_child(note, "Annotation")) if note is not None else "",
            properties=dict(self._properties(system)),
            cloud=facts_in(system),
            guest=guest_in(system),
        )

    def _attribute(self, element: Element, name: str) -> str:
        """Return an attribute, whether or not its writer qualified it."""
        value = element.get(f"{{{self._space}}}{name}", element.get(name, ""))
        return value[:_MAX_TEXT]

    def _items(self, hardware: Element | None) -> list[dict[str, str]]:
        """Return the hardware items of the default configuration, each as its children's texts."""
        if hardware is None:
            raise _Nonsense("virtual system", "it has no VirtualHardwareSection")
        default = self._configuration()
        items: list[dict[str, str]] = []
        for element in hardware:
            if _local(element.tag) not in {"Item", "StorageItem", "EthernetPortItem"}:
                continue
            configured = self._attribute(element, "configuration").split()
            if (configured and default not in configured) or self._attribute(element, "bound") in {
                "min",
                "max",
            }:
                continue
            items.append({_local(child.tag): _text(child) for child in element})
        if len(items) > _MAX_COUNT:
            raise _Nonsense("virtual hardware", f"{len(items)} items")
        return items

    def _configuration(self) -> str:
        options = _child(self._root, "DeploymentOptionSection")
        choices = list(_children(options, "Configuration")) if options is not None else []
        chosen = [each for each in choices if self._attribute(each, "default") in {"true", "1"}] or choices
        return self._attribute(chosen[0], "id") if chosen else ""

    def _quantity(self, items: list[dict[str, str]], kind: int, *, scaled: bool) -> int:
        found = [item for item in items if item.get("ResourceType") == str(kind)]
        if not found:
            return 0
        count = _number(found[0].get("VirtualQuantity", ""), f"item of type {kind}")
        return count * _unit(found[0].get("AllocationUnits", "byte * 2^20")) if scaled else count

    def _firmware(self, hardware: Element | None) -> Firmware:
        for element in hardware if hardware is not None else ():
            facts = {_local(name): value for name, value in element.attrib.items()}
            if (
                _local(element.tag) == "Config"
                and facts.get("key") == "firmware"
                and facts.get("value") == "efi"
            ):
                return Firmware.UEFI
        return Firmware.BIOS

    def _disks(self, items: list[dict[str, str]]) -> Iterator[ApplianceDisk]:
        files = self._files()
        described = {self._attribute(each, "diskId"): each for each in self._in("DiskSection", "Disk")}
        by_id = {item.get("InstanceID", ""): item for item in items}
        used = [item for item in items if item.get("ResourceType") == str(Resource.DISK)]
        for item in _in_guest_order(used):
            host = item.get("HostResource", "").removeprefix("ovf:")
            name = host.removeprefix("/disk/")
            if name not in described or not host.startswith("/disk/"):
                raise _Nonsense("disk", f"nothing describes {host or 'it'}")
            yield self._disk(described[name], files, self._bus(item, by_id))

    def _disk(
        self, element: Element, files: dict[str, tuple[str, int | None]], bus: DiskBus
    ) -> ApplianceDisk:
        name = self._attribute(element, "diskId")
        if self._attribute(element, "parentRef"):
            self._findings.append(finding("ovf.disk.parent", name=name))
        unit = self._attribute(element, "capacityAllocationUnits")
        capacity = _number(self._attribute(element, "capacity"), f"capacity of disk {name}")
        reference = self._attribute(element, "fileRef")
        if reference and reference not in files:
            raise _Nonsense(f"disk {name}", f"there is no file {reference}")
        file, file_size = files[reference] if reference else ("", None)
        size = capacity * _unit(unit or "byte")
        if size > MAX_SIZE:
            raise _Nonsense(f"capacity of disk {name}", f"{size} bytes are more than any disk has")
        return ApplianceDisk(name, size, file, file_size, self._attribute(element, "format"), bus)

    def _files(self) -> _Files:
        files: _Files = {}
        for element in self._in("References", "File"):
            name = self._attribute(element, "href")
            packed = self._attribute(element, "compression")
            if not plain_name(name):
                self._findings.append(finding("ovf.href.outside", name=name))
            if packed not in {"", "identity"} or self._attribute(element, "chunkSize"):
                self._findings.append(finding("ovf.file.compressed", name=name, how=packed or "chunks"))
            size = self._attribute(element, "size")
            known = _number(size, f"size of {name}") if size else None
            files[self._attribute(element, "id")] = (name, known)
        return files

    def _in(self, section: str, name: str) -> list[Element]:
        found = [each for part in _children(self._root, section) for each in _children(part, name)]
        if len(found) > _MAX_COUNT:
            raise _Nonsense(section, f"{len(found)} entries")
        return found

    def _bus(self, item: dict[str, str], by_id: dict[str, dict[str, str]]) -> DiskBus:
        parent = by_id.get(item.get("Parent", ""), {})
        kind, subtype = parent.get("ResourceType", ""), parent.get("ResourceSubType", "")
        if "virtio-blk" in subtype:
            return DiskBus.VIRTIO
        buses = {str(number): bus for number, bus in CONTROLLERS.items()}
        bus = buses.get(kind, DiskBus.SATA)
        foreign = bus is DiskBus.VIRTIO_SCSI and "virtio" not in subtype.lower()
        if kind not in buses or foreign:
            name = subtype or f"of type {kind or 'none'}"
            self._findings.append(
                finding("ovf.hardware.unmapped", what="disk controller", name=name, used=str(bus))
            )
        return bus

    def _nics(self, items: list[dict[str, str]]) -> Iterator[ApplianceNic]:
        for item in items:
            if item.get("ResourceType") == str(Resource.NIC):
                yield ApplianceNic(item.get("Connection", ""), _mac(item), self._model(item))

    def _model(self, item: dict[str, str]) -> NicModel:
        known = {name.lower(): model for model, name in NIC_SUBTYPES.items()}
        wanted = item.get("ResourceSubType", "")
        for word in wanted.split():
            if word.lower() in known:
                return known[word.lower()]
        used = str(NicModel.E1000)
        self._findings.append(
            finding("ovf.hardware.unmapped", what="network card", name=wanted or "without a model", used=used)
        )
        return NicModel.E1000

    def _properties(self, system: Element) -> Iterator[tuple[str, str]]:
        for section in _children(system, "ProductSection"):
            for each in _children(section, "Property"):
                yield self._attribute(each, "key"), self._attribute(each, "value")


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _children(parent: Element, name: str) -> Iterator[Element]:
    return (child for child in parent if _local(child.tag) == name)


def _child(parent: Element, name: str) -> Element | None:
    return next(_children(parent, name), None)


def _text(element: Element | None) -> str:
    return ((element.text if element is not None else "") or "").strip()[:_MAX_TEXT]


def _number(text: str, what: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text):
        raise _Nonsense(what, f"{text or 'nothing'} is not a number")
    return int(text)


def _unit(text: str) -> int:
    """Return the bytes in one unit (DSP0004 programmatic units, and the words of OVF 0.9)."""
    if text.strip().lower() in _WORDS:
        return _WORDS[text.strip().lower()]
    found = _UNITS.match(text)
    if not found or (found[1] and int(found[2]) > 50):
        raise _Nonsense("unit", text)
    return int(found[1]) ** int(found[2]) if found[1] else 1


def _mac(item: dict[str, str]) -> str:
    mac = item.get("Address", "").lower().replace("-", ":")
    if mac and not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", mac):
        raise _Nonsense("network card", f"the address {mac}")
    return mac


def _in_guest_order(items: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    """Keep the text's order of controllers, and order the disks of each controller by their place on it."""

    def place(item: dict[str, str]) -> int:
        text = item.get("AddressOnParent", "")
        return int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0

    of_parent: dict[str, list[dict[str, str]]] = {}
    for item in items:
        of_parent.setdefault(item.get("Parent", ""), []).append(item)
    ordered = {parent: iter(sorted(group, key=place)) for parent, group in of_parent.items()}
    return (next(ordered[item.get("Parent", "")]) for item in items)
