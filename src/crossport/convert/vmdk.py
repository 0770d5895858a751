"""Read the structure of a VMDK: sparse header, embedded descriptor, grain tables (VMware "Virtual Disk
Format 5.0").

Only the forms that keep everything in one file are read: monolithicSparse and streamOptimized. A descriptor
may name any file of the machine that opens it, so one that names a second file, a flat extent or a parent
is refused.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace

from crossport.convert.findings import finding
from crossport.convert.inspection import Format, Inspection
from crossport.convert.reader import Reader, Truncated
from crossport.convert.tables import TABLE_BUDGET, Layout, partial, sector_table, stopping
from crossport.model.finding import Finding
from crossport.units import SECTOR

__all__ = ["MAGIC", "begins_with_descriptor", "inspect", "inspect_descriptor"]

MAGIC = b"KDMV"
_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH")
_AT_END = 0xFFFF_FFFF_FFFF_FFFF
_FOOTER_MARKER = 3
_MAX_DESCRIPTOR_SECTORS = 128
# Where everybody writes the descriptor; QEMU reads this place for a parent, whatever the header says.
_DESCRIPTOR_START, _DESCRIPTOR_SECTORS = 1, 20
_MAX_GRAINS_PER_TABLE = 512
_MAX_TABLES = 16 << 20
_TABLES_AT_ONCE = 64
_NO_PARENT = "ffffffff"
_ZERO_GRAIN = 1
_EXTENT = re.compile(r'^(RW|RDONLY|NOACCESS)\s+(\d+)\s+(\S+)(?:\s+"([^"]*)")?', re.IGNORECASE)
_SETTING_NAME = re.compile(r"\w[\w.]*")
_BLANK = b" \t\n\r\f\v\0"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TITLE = b"#diskdescriptor"
_FIRST_SETTINGS = {b"version", b"cid", b"parentcid", b"createtype"}
_PROBED = 4096


@dataclass(frozen=True, slots=True)
class _Header:
    version: int
    flags: int
    capacity: int
    grain: int
    descriptor_start: int
    descriptor_size: int
    table_length: int
    directory: int
    compression: int


def begins_with_descriptor(reader: Reader) -> bool:
    """Say whether the first bytes could be taken for a text descriptor, whatever follows it.

    QEMU skips comments and empty lines before the first setting (block/vmdk.c, vmdk_probe); so do we, and
    more generously.
    """
    head = reader.read_at(0, min(_PROBED, reader.size))
    text = head.lstrip(_BLANK).removeprefix(_BYTE_ORDER_MARK)
    lines = [line for line in (each.strip(_BLANK) for each in text.split(b"\n")) if line]
    if lines and b"".join(lines[0].split()).lower().startswith(_TITLE):
        return True
    first = next((line for line in lines if not line.startswith(b"#")), b"")
    name, equals, _ = first.partition(b"=")
    return bool(equals) and name.strip().lower() in _FIRST_SETTINGS


def inspect_descriptor(reader: Reader) -> Inspection:
    """Return the findings on a file that is (or begins with) a text descriptor; such a file is always
    refused."""
    content = reader.read_at(0, min(reader.size, _MAX_DESCRIPTOR_SECTORS * SECTOR))
    text, found, rest = content.strip(b"\0").partition(b"\0")
    findings = [finding("image.raw.text-descriptor")] if found or rest or len(text) < len(content) else []
    descriptor = _Descriptor(text)
    findings += descriptor.parent_findings()
    name = ", ".join(extent for _, _, extent in descriptor.extents) or "none named"
    findings.append(finding("image.vmdk.host-extent", name=name))
    size = sum(sectors for sectors, _, _ in descriptor.extents) * SECTOR
    return Inspection(Format.VMDK, size, {"create_type": descriptor.create_type}, tuple(findings))


def inspect(reader: Reader) -> Inspection:
    """Return what the image is and what stands against it. Raise Truncated if its fixed parts are not all
    there."""
    header = _header(reader.read_at(0, SECTOR, "header"))
    stream = header.directory == _AT_END
    findings: list[Finding] = []
    if stream:
        footer, findings = _footer(reader, header)
        header = replace(header, directory=footer.directory, capacity=max(header.capacity, footer.capacity))
    create_type = ""
    if not header.descriptor_start:
        findings.append(finding("image.vmdk.descriptor", why="it is missing"))
    elif header.descriptor_start != _DESCRIPTOR_START:
        why = f"it begins in sector {header.descriptor_start}, not in the second"
        findings.append(finding("image.vmdk.descriptor", why=why))
    elif not 0 < header.descriptor_size <= _MAX_DESCRIPTOR_SECTORS:
        findings.append(finding("image.vmdk.descriptor", why=f"{header.descriptor_size} sectors long"))
    else:
        size = max(header.descriptor_size, _DESCRIPTOR_SECTORS) * SECTOR
        size = min(size, reader.size - SECTOR)
        descriptor = _Descriptor(reader.read_at(_DESCRIPTOR_START * SECTOR, size, "descriptor"))
        create_type = descriptor.create_type
        findings += descriptor.parent_findings()
        findings += descriptor.sparse_findings(header.capacity)
    findings += _table_findings(reader, header)
    kind = Format.VMDK_STREAM if stream or header.compression else Format.VMDK
    details = {"create_type": create_type, "compressed": bool(header.compression), "version": header.version}
    return Inspection(kind, header.capacity * SECTOR, details, tuple(findings))


class _Descriptor:
    """A text descriptor: settings, extents as (sectors, kind, file)."""

    def __init__(self, content: bytes) -> None:
        self.settings: dict[str, str] = {}
        self.extents: list[tuple[int, str, str]] = []
        text = content.split(b"\0", 1)[0].decode("utf-8", "replace")
        # QEMU finds this word anywhere, even in a comment (block/vmdk.c, vmdk_parent_open).
        self._has_parent = "parentfilenamehint" in text.lower()
        for line in text.splitlines():
            extent = _EXTENT.match(line.strip())
            name, equals, value = line.strip().partition("=")
            if extent:
                self.extents.append((int(extent[2][:15]), extent[3].upper(), extent[4] or ""))
            elif equals and _SETTING_NAME.fullmatch(name.rstrip()):
                self.settings[name.rstrip().lower()] = (
                    value.strip().removeprefix('"').removesuffix('"').strip()
                )

    @property
    def create_type(self) -> str:
        return self.settings.get("createtype", "")

    def parent_findings(self) -> Iterator[Finding]:
        parent = self.settings.get("parentcid", _NO_PARENT).lower()
        if parent != _NO_PARENT or self._has_parent:
            name = self.settings.get("parentfilenamehint", f"content id {parent}")
            yield finding("image.vmdk.parent", name=name)

    def sparse_findings(self, capacity: int) -> Iterator[Finding]:
        """Yield what stands against this as the descriptor inside a sparse file of ``capacity`` sectors."""
        if self.create_type.lower() not in {"monolithicsparse", "streamoptimized"}:
            yield finding("image.vmdk.host-extent", name=f"type {self.create_type or 'not stated'}")
        other = [name for _, kind, name in self.extents if kind != "SPARSE" or "/" in name or "\\" in name]
        if len(self.extents) != 1 or other:
            name = ", ".join(other or [name for _, _, name in self.extents]) or "none named"
            yield finding("image.vmdk.host-extent", name=name)
        elif self.extents[0][0] != capacity:
            why = f"its extent has {self.extents[0][0]} sectors, the header {capacity}"
            yield finding("image.vmdk.descriptor", why=why)


def _header(sector: bytes) -> _Header:
    raw = _HEADER.unpack_from(sector)
    return _Header(raw[1], raw[2], raw[3], raw[4], raw[5], raw[6], raw[7], raw[9], raw[13])


def _footer(reader: Reader, header: _Header) -> tuple[_Header, list[Finding]]:
    """Read the footer that ends a stream: marker, copy of the header, end marker, a sector each."""
    place = reader.size - 3 * SECTOR
    if place < SECTOR:
        raise Truncated("footer", 4 * SECTOR, reader.size)
    marker, copy = reader.read_at(place, SECTOR), reader.read_at(place + SECTOR, SECTOR)
    kind = struct.unpack_from("<QII", marker)[2]
    if kind != _FOOTER_MARKER or not copy.startswith(MAGIC):
        raise Truncated("footer", reader.size + SECTOR, reader.size)
    footer = _header(copy)
    same = replace(footer, directory=header.directory, capacity=header.capacity) == header
    sizes_agree = header.capacity in {0, footer.capacity}
    if same and sizes_agree and footer.directory != _AT_END:
        return footer, []
    return footer, [finding("image.header.invalid", what="footer", why="it differs from the header")]


def _table_findings(reader: Reader, header: _Header) -> Iterator[Finding]:
    grain, length = header.grain, header.table_length
    if not 8 <= grain <= 2048 or grain & (grain - 1) or not 1 <= length <= _MAX_GRAINS_PER_TABLE:
        why = f"grains of {grain} sectors, {length} in a table"
        yield finding("image.header.invalid", what="header", why=why)
        return
    count = -(-header.capacity // (grain * length))
    if count > _MAX_TABLES:
        yield finding("image.table.oversized", what="grain directory", count=count, limit=_MAX_TABLES)
        return
    layout = Layout(reader.size)
    yield from layout.region(0, SECTOR, "header")
    wrong = list(layout.region(header.directory * SECTOR, count * 4, "grain directory"))
    yield from wrong
    if not wrong:
        yield from _grain_findings(reader, header, layout, count)


def _grain_findings(reader: Reader, header: _Header, layout: Layout, count: int) -> Iterator[Finding]:
    yield from partial(count, 4)
    directory = sector_table(reader, header.directory * SECTOR, count, "grain directory")
    tables = [entry * SECTOR for entry in directory if entry]
    size = header.table_length * 4
    wrong = list(layout.tables(tables, size, "grain tables"))
    yield from wrong
    room = TABLE_BUDGET // size
    if len(tables) > room:
        yield finding("image.checks.partial", count=room * size)
    # A compressed grain takes fewer bytes than it stands for, and at least a sector.
    grain = SECTOR if header.compression else header.grain * SECTOR
    read = tables[:room] if not wrong else []
    for first in range(0, len(read), _TABLES_AT_ONCE):
        grains = (
            entry * SECTOR
            for start in read[first : first + _TABLES_AT_ONCE]
            for entry in sector_table(reader, start, header.table_length, "grain table")
            if entry > _ZERO_GRAIN
        )
        wrong = list(layout.blocks(grains, grain, "grains"))
        yield from wrong
        if stopping(wrong):
            return
