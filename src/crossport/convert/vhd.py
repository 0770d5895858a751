"""Read the structure of a VHD, fixed or dynamic: footer, header, block table (Microsoft "VHD Image Format"
1.0).

A fixed VHD is the disk with a footer behind it, so that whoever does not look at the end takes it for a raw
disk. The size that counts is the stated one; the geometry of some writers covers less.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from crossport.convert.findings import finding
from crossport.convert.inspection import Format, Inspection
from crossport.convert.reader import Reader, Truncated
from crossport.convert.tables import ENTRY_BUDGET, Layout, numbers, partial
from crossport.model.finding import Finding
from crossport.units import SECTOR

__all__ = ["MAGIC", "footer_at_end", "inspect"]

MAGIC = b"conectix"
_FOOTER = struct.Struct(">8sIIQI4sI4sQQHBBII16sB")
_HEADER = struct.Struct(">8sQQIIII16sI4s512s")
_HEADER_SIZE = 1024
_FIXED, _DYNAMIC, _DIFFERENCING = 2, 3, 4
_UNUSED = 0xFFFF_FFFF
_MAX_BLOCK = 256 << 20
_MAX_BLOCKS = 16 << 20
_MAX_GEOMETRY = 65535 * 16 * 255 * SECTOR


@dataclass(frozen=True, slots=True)
class _Footer:
    header_start: int
    creator: str
    size: int
    geometry_size: int
    kind: int
    sound: bool
    """Whether the checksum is right."""


def footer_at_end(reader: Reader) -> bool:
    """Say whether the last sector is a VHD's footer, as a whole or one byte short (Virtual PC before
    2004)."""
    return reader.size >= SECTOR and reader.read_at(reader.size - SECTOR, 8) == MAGIC


def inspect(reader: Reader) -> Inspection:
    """Return what the image is and what stands against it. Raise Truncated if its fixed parts are not all
    there."""
    at_end = footer_at_end(reader)
    if not at_end and reader.read_at(0, 8) != MAGIC:
        raise Truncated("footer", reader.size + SECTOR, reader.size)
    footer = _footer(reader.read_at(reader.size - SECTOR if at_end else 0, SECTOR, "footer"))
    findings: list[Finding] = []
    if not at_end:
        findings.append(finding("image.truncated", what="footer", end=reader.size + SECTOR, size=reader.size))
    if not footer.sound:
        findings.append(finding("image.checksum.wrong", what="footer"))
    if footer.geometry_size < min(footer.size, _MAX_GEOMETRY):
        findings.append(finding("image.vhd.geometry", chs=footer.geometry_size, size=footer.size))
    findings += _kind_findings(reader, footer)
    if at_end:
        findings += _copy_findings(reader, footer)
    details = {"creator": footer.creator, "geometry_size": footer.geometry_size}
    kind = Format.VHD_FIXED if footer.kind == _FIXED else Format.VHD
    return Inspection(kind, footer.size, details, tuple(findings))


def _footer(sector: bytes) -> _Footer:
    raw = _FOOTER.unpack_from(sector)
    cylinders, heads, sectors = raw[10:13]
    sound = raw[14] == _checksum(sector, 64)
    creator = raw[5].decode("latin-1").strip("\0 ")
    return _Footer(raw[3], creator, raw[9], cylinders * heads * sectors * SECTOR, raw[13], sound)


def _kind_findings(reader: Reader, footer: _Footer) -> Iterator[Finding]:
    if footer.kind == _FIXED:
        if reader.size != footer.size + SECTOR:
            yield finding(
                "image.truncated", what="disk with footer", end=footer.size + SECTOR, size=reader.size
            )
    elif footer.kind in {_DYNAMIC, _DIFFERENCING}:
        yield from _dynamic_findings(reader, footer)
    else:
        yield finding("image.header.invalid", what="footer", why=f"disk type {footer.kind}")


def _copy_findings(reader: Reader, footer: _Footer) -> Iterator[Finding]:
    """Compare the footer with what QEMU takes for it: whatever begins the file like one."""
    first, last = reader.read_at(0, SECTOR), reader.read_at(reader.size - SECTOR, SECTOR)
    if first.startswith(MAGIC) and (footer.kind == _FIXED or first != last):
        why = "a fixed disk begins with one" if footer.kind == _FIXED else "it differs from the footer"
        yield finding("image.header.invalid", what="copy of the footer", why=why)
    elif footer.kind != _FIXED and not first.startswith(MAGIC):
        yield finding("image.header.invalid", what="copy of the footer", why="it is missing")


def _dynamic_findings(reader: Reader, footer: _Footer) -> Iterator[Finding]:
    block = reader.read_at(footer.header_start, _HEADER_SIZE, "dynamic header")
    raw = _HEADER.unpack_from(block)
    table_start, count, block_size, checksum = raw[2], raw[4], raw[5], raw[6]
    if raw[0] != b"cxsparse":
        yield finding("image.header.invalid", what="dynamic header", why="its signature is missing")
        return
    if checksum != _checksum(block, 36):
        yield finding("image.checksum.wrong", what="dynamic header")
    if footer.kind == _DIFFERENCING:
        yield finding("image.vhd.differencing", name=raw[10].decode("utf-16-be", "replace").split("\0")[0])
    if not SECTOR <= block_size <= _MAX_BLOCK or block_size & (block_size - 1):
        yield finding("image.header.invalid", what="dynamic header", why=f"blocks of {block_size} bytes")
        return
    if count > _MAX_BLOCKS:
        yield finding("image.table.oversized", what="block table", count=count, limit=_MAX_BLOCKS)
        return
    if count * block_size < footer.size:
        yield finding(
            "image.header.invalid", what="block table", why=f"{count} blocks for {footer.size} bytes"
        )
    yield from _block_findings(reader, footer, (table_start, count, block_size))


def _block_findings(reader: Reader, footer: _Footer, table: tuple[int, int, int]) -> Iterator[Finding]:
    start, count, block_size = table
    layout = Layout(reader.size)
    placed = list(layout.region(0, SECTOR, "copy of the footer"))
    placed += layout.region(footer.header_start, _HEADER_SIZE, "dynamic header")
    placed += layout.region(start, count * 4, "block table")
    yield from placed
    if placed:
        return
    yield from partial(count, 4)
    entries = numbers(reader.read_at(start, min(count, ENTRY_BUDGET) * 4, "block table"), 4, "big")
    # Before each block's data lies a bitmap of its sectors, in whole sectors.
    bitmap = -(-block_size // SECTOR // 8 // SECTOR) * SECTOR
    blocks = (entry * SECTOR for entry in entries if entry != _UNUSED)
    yield from layout.blocks(blocks, bitmap + block_size, "data blocks")


def _checksum(block: bytes, at: int) -> int:
    """Return the one's complement of the sum of all bytes but the checksum's own four."""
    return ~(sum(block) - sum(block[at : at + 4])) & 0xFFFF_FFFF
