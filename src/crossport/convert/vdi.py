"""Read the structure of a VirtualBox image (VDI 1.1): header and block map.

The layout is that of QEMU's block/vdi.c, which follows VirtualBox' VDICore.h.
"""

import struct
from collections.abc import Iterator

from crossport.convert.findings import finding
from crossport.convert.inspection import Format, Inspection
from crossport.convert.reader import Reader
from crossport.convert.tables import Layout, partial, sector_table
from crossport.model.finding import Finding

__all__ = ["MAGIC", "inspect"]

MAGIC = 0xBEDA107F
_HEADER = struct.Struct("<64sIIIII256sIIIIIIIQIIII16s16s16s16s")
_DYNAMIC, _FIXED = 1, 2
_DISCARDED = 0xFFFF_FFFE  # and above: not allocated
_MAX_BLOCKS = 0x1FFF_FFFF


def inspect(reader: Reader) -> Inspection:
    """Return what the image is and what stands against it. Raise Truncated if its fixed parts are not all
    there."""
    header = _HEADER.unpack(reader.read_at(0, _HEADER.size, "header"))
    version, kind = header[2], header[4]
    map_start, data_start, size, block, count, allocated = header[7], header[8], *_sizes(header)
    parents = (header[21], header[22])
    findings: list[Finding] = []
    if version != 0x0001_0001:
        findings.append(finding("image.header.invalid", what="header", why=f"version {version:#x}"))
    if any(any(parent) for parent in parents) or kind not in {_DYNAMIC, _FIXED}:
        findings.append(finding("image.vdi.differencing"))
    findings += _map_findings(reader, (map_start, data_start, size, block, count))
    details = {
        "kind": {_DYNAMIC: "dynamic", _FIXED: "fixed"}.get(kind, str(kind)),
        "allocated_blocks": allocated,
    }
    return Inspection(Format.VDI, size, details, tuple(findings))


def _sizes(header: tuple[int, ...]) -> tuple[int, int, int, int]:
    return header[14], header[15], header[17], header[18]


def _map_findings(reader: Reader, facts: tuple[int, int, int, int, int]) -> Iterator[Finding]:
    map_start, data_start, size, block, count = facts
    if block != 1 << 20:
        yield finding("image.header.invalid", what="header", why=f"blocks of {block} bytes")
        return
    if count > _MAX_BLOCKS:
        yield finding("image.table.oversized", what="block map", count=count, limit=_MAX_BLOCKS)
        return
    if count * block < size:
        yield finding("image.header.invalid", what="block map", why=f"{count} blocks for {size} bytes")
    layout = Layout(reader.size)
    yield from layout.region(0, _HEADER.size, "header")
    wrong = list(layout.region(map_start, count * 4, "block map"))
    yield from wrong
    if wrong:
        return
    yield from partial(count, 4)
    entries = sector_table(reader, map_start, count, "block map")
    starts = (data_start + entry * block for entry in entries if entry < _DISCARDED)
    yield from layout.blocks(starts, block, "data blocks")
