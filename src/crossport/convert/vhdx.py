"""Read the structure of a VHDX: headers, regions, metadata, block table (Microsoft [MS-VHDX]).

Checksums (CRC-32C) are left to the tool that reads the data; what is checked here is that every place and
size that the tool will believe is possible.
"""

import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from crossport.convert.findings import finding
from crossport.convert.inspection import Format, Inspection
from crossport.convert.reader import Reader
from crossport.convert.tables import ENTRY_BUDGET, Layout, numbers, partial
from crossport.model.finding import Finding
from crossport.units import KIB, MIB

__all__ = ["MAGIC", "inspect"]

MAGIC = b"vhdxfile"
_HEADERS = (64 * KIB, 128 * KIB)
_REGIONS = (192 * KIB, 256 * KIB)
_TABLE_SIZE = 64 * KIB
_HEADER = struct.Struct("<4sIQ16s16s16sHHIQ")
_REGION = struct.Struct("<16sQII")
_ITEM = struct.Struct("<16sIIII")
_MAX_ENTRIES = 2047
_MAX_METADATA = 64 * MIB
_BAT = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
_METADATA = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
_DISK_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
_SECTOR_SIZE = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
_PARENT = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
_HAS_PARENT = 2
_PRESENT = {6, 7}


@dataclass(frozen=True, slots=True)
class _Disk:
    size: int
    block: int
    sector: int
    has_parent: bool


def inspect(reader: Reader) -> Inspection:
    """Return what the image is and what stands against it. Raise Truncated if its fixed parts are not all
    there."""
    layout = Layout(reader.size)
    findings = [*layout.region(0, 320 * KIB, "headers"), *_header_findings(reader)]
    regions, wrong = _regions(reader, layout)
    findings += wrong
    if _METADATA not in regions or _BAT not in regions:
        return Inspection(Format.VHDX, 0, {}, tuple(findings))
    disk, wrong = _disk(reader, *regions[_METADATA])
    findings += wrong
    if disk is None:
        return Inspection(Format.VHDX, 0, {}, tuple(findings))
    if disk.has_parent:
        findings.append(finding("image.vhdx.parent"))
    findings += _block_findings(reader, layout, disk, regions[_BAT])
    details = {"block_size": disk.block, "sector_size": disk.sector}
    return Inspection(Format.VHDX, disk.size, details, tuple(findings))


def _header_findings(reader: Reader) -> Iterator[Finding]:
    headers = [_HEADER.unpack(reader.read_at(start, _HEADER.size, "header")) for start in _HEADERS]
    valid = [header for header in headers if header[0] == b"head"]
    if not valid:
        yield finding("image.header.invalid", what="header", why="both copies are missing")
        return
    current = max(valid, key=lambda header: header[2])
    if any(current[5]):
        yield finding("image.vhdx.log")
    if current[7] != 1:
        yield finding("image.header.invalid", what="header", why=f"version {current[7]}")


def _regions(reader: Reader, layout: Layout) -> tuple[dict[uuid.UUID, tuple[int, int]], list[Finding]]:
    """Return the start and size of each region by its id. The first good copy of the table counts."""
    tables = [reader.read_at(start, _TABLE_SIZE, "region table") for start in _REGIONS]
    good = [table for table in tables if table.startswith(b"regi")]
    if not good:
        return {}, [finding("image.header.invalid", what="region table", why="both copies are missing")]
    count = struct.unpack_from("<I", good[0], 8)[0]
    if count > _MAX_ENTRIES:
        return {}, [finding("image.table.oversized", what="region table", count=count, limit=_MAX_ENTRIES)]
    regions: dict[uuid.UUID, tuple[int, int]] = {}
    findings: list[Finding] = []
    if len(good) == 2 and good[0][8 : 16 + 32 * count] != good[1][8 : 16 + 32 * count]:
        findings.append(finding("image.header.invalid", what="region table", why="its copies differ"))
    for number in range(count):
        name, start, size, required = _REGION.unpack_from(good[0], 16 + 32 * number)
        kind = uuid.UUID(bytes_le=name)
        findings += _region_findings(layout, (kind, start, size, required), kind in regions)
        if findings:
            return {}, findings
        regions[kind] = (start, size)
    if _METADATA not in regions or _BAT not in regions:
        findings.append(finding("image.header.invalid", what="region table", why="a region is missing"))
    return ({} if findings else regions), findings


def _region_findings(
    layout: Layout, region: tuple[uuid.UUID, int, int, int], again: bool
) -> Iterator[Finding]:
    kind, start, size, required = region
    if again or start < MIB or start % MIB or size % MIB or not size:
        why = "it is listed twice" if again else f"{size} bytes at {start}"
        yield finding("image.header.invalid", what="region", why=why)
        return
    if kind not in {_BAT, _METADATA} and required & 1:
        yield finding("image.header.invalid", what="region", why=f"{kind} is required and not known")
    yield from layout.region(start, size, "block table" if kind == _BAT else "metadata region")


def _disk(reader: Reader, start: int, size: int) -> tuple[_Disk | None, list[Finding]]:
    if size > _MAX_METADATA:
        return None, [finding("image.table.oversized", what="metadata", count=size, limit=_MAX_METADATA)]
    table = reader.read_at(start, _TABLE_SIZE, "metadata table")
    count = struct.unpack_from("<H", table, 10)[0]
    if not table.startswith(b"metadata") or count > _MAX_ENTRIES:
        return None, [finding("image.header.invalid", what="metadata table", why="its signature is missing")]
    items: dict[uuid.UUID, bytes] = {}
    for number in range(count):
        name, place, length, _, _ = _ITEM.unpack_from(table, 32 + 32 * number)
        if place + length > size or (length and place < _TABLE_SIZE):
            return None, [finding("image.header.invalid", what="metadata", why=f"an item at {place}")]
        items[uuid.UUID(bytes_le=name)] = reader.read_at(start + place, min(length, 16), "metadata")
    return _described(items)


def _described(items: dict[uuid.UUID, bytes]) -> tuple[_Disk | None, list[Finding]]:
    try:
        block, flags = struct.unpack_from("<II", items[_PARAMETERS])
        size = struct.unpack_from("<Q", items[_DISK_SIZE])[0]
        sector = struct.unpack_from("<I", items[_SECTOR_SIZE])[0]
    except (KeyError, struct.error):
        return None, [finding("image.header.invalid", what="metadata", why="a required item is missing")]
    if not MIB <= block <= 256 * MIB or block & (block - 1) or sector not in {512, 4096}:
        why = f"blocks of {block} bytes, sectors of {sector} bytes"
        return None, [finding("image.header.invalid", what="metadata", why=why)]
    return _Disk(size, block, sector, bool(flags & _HAS_PARENT) or _PARENT in items), []


def _block_findings(reader: Reader, layout: Layout, disk: _Disk, table: tuple[int, int]) -> Iterator[Finding]:
    """Check the block table: after every chunk of data blocks stands one entry for a sector bitmap."""
    start, size = table
    per_chunk = (1 << 23) * disk.sector // disk.block
    data = -(-disk.size // disk.block)
    count = data + max(data - 1, 0) // per_chunk
    if count * 8 > size:
        yield finding("image.table.oversized", what="block table", count=count, limit=size // 8)
        return
    yield from partial(count, 8)
    entries = numbers(reader.read_at(start, min(count, ENTRY_BUDGET) * 8, "block table"), 8, "little")
    places = (
        (entry >> 20) * MIB
        for number, entry in enumerate(entries)
        if entry & 7 in _PRESENT and (number + 1) % (per_chunk + 1)
    )
    yield from layout.blocks(places, disk.block, "data blocks")
