"""Read the structure of a qcow2 image: header, features, tables (docs/interop/qcow2.txt of QEMU).

Bounds are QEMU's own: an L1 table of 32 MiB, a refcount table of 8 MiB, 65536 snapshots, clusters of 512 B
to 2 MiB.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from crossport.convert.findings import finding
from crossport.convert.inspection import Format, Inspection
from crossport.convert.reader import Reader, Truncated
from crossport.convert.tables import ENTRY_BUDGET, TABLE_BUDGET, Layout, numbers, partial, stopping
from crossport.model.finding import Finding

__all__ = ["MAGIC", "inspect"]

MAGIC = b"QFI\xfb"
_HEADER_2 = struct.Struct(">4sIQIIQIIQQIIQ")
_HEADER_3 = struct.Struct(">QQQII")
_EXTENSION = struct.Struct(">II")
_DATA_FILE_NAME = 0x44415441
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = 1, 2, 4, 8, 16
_KNOWN = _DIRTY | _CORRUPT | _DATA_FILE | _COMPRESSION | _EXTENDED_L2
_OFFSET = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED = 1 << 62
_MAX_L1_SIZE, _MAX_REFCOUNT_SIZE = 32 << 20, 8 << 20
_MAX_SNAPSHOTS = 65536
_MAX_NAME = 1023
_METHODS = {0: "none", 1: "AES", 2: "LUKS"}


@dataclass(frozen=True, slots=True)
class _Header:
    version: int
    backing_start: int
    backing_size: int
    cluster_bits: int
    size: int
    encryption: int
    l1_count: int
    l1_start: int
    refcount_start: int
    refcount_clusters: int
    snapshot_count: int
    features: int
    header_size: int

    @property
    def cluster(self) -> int:
        return 1 << self.cluster_bits

    @property
    def l2_width(self) -> int:
        return 16 if self.features & _EXTENDED_L2 else 8


def inspect(reader: Reader) -> Inspection:
    """Return what the image is and what stands against it. Raise Truncated if its fixed parts are not all
    there."""
    header = _header(reader)
    findings = list(_header_findings(reader, header))
    if 9 <= header.cluster_bits <= 21 and header.version in {2, 3}:
        findings += _Tables(reader, header).findings()
    details = {
        "version": header.version,
        "cluster_size": header.cluster if header.cluster_bits <= 21 else 0,
        "snapshots": header.snapshot_count,
        "encryption": _METHODS.get(header.encryption, str(header.encryption)),
    }
    return Inspection(Format.QCOW2, header.size, details, tuple(findings))


def _header(reader: Reader) -> _Header:
    raw = _HEADER_2.unpack(reader.read_at(0, _HEADER_2.size, "header"))
    _, version, backing_start, backing_size, bits, size, encryption, l1_count, l1_start = raw[:9]
    features, header_size = 0, _HEADER_2.size
    if version >= 3:
        third = reader.read_at(_HEADER_2.size, _HEADER_3.size, "header")
        features, _, _, _, header_size = _HEADER_3.unpack(third)
    return _Header(
        version, backing_start, backing_size, bits, size, encryption, l1_count, l1_start,
        raw[9], raw[10], raw[11], features, header_size,
    )  # fmt: skip


def _header_findings(reader: Reader, header: _Header) -> Iterator[Finding]:
    if header.version not in {2, 3}:
        yield finding("image.format.unsupported", name=f"qcow version {header.version}")
    if not 9 <= header.cluster_bits <= 21:
        why = f"clusters of 2^{header.cluster_bits} bytes"
        yield finding("image.header.invalid", what="header", why=why)
        return
    if header.backing_start or header.backing_size:
        yield finding("image.qcow2.backing-file", name=_backing_name(reader, header))
    yield from _feature_findings(header)
    if header.encryption:
        yield finding("image.encrypted", method=_METHODS.get(header.encryption, "unknown"))
    yield from _extension_findings(reader, header)
    if header.snapshot_count > _MAX_SNAPSHOTS:
        what = "snapshot table"
        yield finding("image.table.oversized", what=what, count=header.snapshot_count, limit=_MAX_SNAPSHOTS)
    elif header.snapshot_count:
        yield finding("image.qcow2.internal-snapshots", count=header.snapshot_count)


def _feature_findings(header: _Header) -> Iterator[Finding]:
    if header.features & ~_KNOWN:
        bits = ", ".join(str(bit) for bit in range(64) if header.features & ~_KNOWN & 1 << bit)
        yield finding("image.qcow2.unknown-feature", bits=bits)
    if header.features & _CORRUPT:
        yield finding("image.qcow2.corrupt")
    if header.features & _DIRTY:
        yield finding("image.qcow2.dirty")


def _backing_name(reader: Reader, header: _Header) -> str:
    try:
        name = reader.read_at(header.backing_start, min(header.backing_size, _MAX_NAME))
    except Truncated:
        return "unreadable name"
    return name.decode("utf-8", "replace")


def _extension_findings(reader: Reader, header: _Header) -> Iterator[Finding]:
    data_file = ""
    start, end = header.header_size, min(header.backing_start or header.cluster, header.cluster)
    while start + _EXTENSION.size <= end:
        kind, size = _EXTENSION.unpack(reader.read_at(start, _EXTENSION.size, "header extensions"))
        start += _EXTENSION.size
        if kind == 0:
            break
        if size > end - start:
            yield finding("image.header.invalid", what="header extension", why=f"{size} bytes do not fit")
            break
        if kind == _DATA_FILE_NAME:
            data_file = reader.read_at(start, min(size, _MAX_NAME), "header extensions").decode(
                "utf-8", "replace"
            )
        start += (size + 7) & ~7
    if data_file or header.features & _DATA_FILE:
        yield finding("image.qcow2.data-file", name=data_file or "not named")


class _Tables:
    """The L1, L2 and refcount tables of one image, as far as the budget goes."""

    def __init__(self, reader: Reader, header: _Header) -> None:
        self._reader = reader
        self._header = header
        self._layout = Layout(reader.size)

    def findings(self) -> Iterator[Finding]:
        header, cluster = self._header, self._header.cluster
        l1_size = header.l1_count * 8
        refcount_size = header.refcount_clusters * cluster
        if l1_size > _MAX_L1_SIZE:
            limit = _MAX_L1_SIZE // 8
            yield finding("image.table.oversized", what="L1 table", count=header.l1_count, limit=limit)
            return
        if refcount_size > _MAX_REFCOUNT_SIZE:
            limit = _MAX_REFCOUNT_SIZE // cluster
            yield finding(
                "image.table.oversized", what="refcount table", count=header.refcount_clusters, limit=limit
            )
            return
        yield from self._first_level(l1_size, refcount_size)

    def _first_level(self, l1_size: int, refcount_size: int) -> Iterator[Finding]:
        header, cluster = self._header, self._header.cluster
        needed = -(-header.size // (cluster * (cluster // header.l2_width)))
        if header.l1_count < needed:
            why = f"{header.l1_count} entries for a disk that needs {needed}"
            yield finding("image.header.invalid", what="L1 table", why=why)
        if header.l1_start % cluster or header.refcount_start % cluster:
            yield finding("image.header.invalid", what="header", why="a table is not at a cluster's start")
        placed = list(self._layout.region(0, min(cluster, self._reader.size), "header"))
        placed += self._layout.region(header.refcount_start, refcount_size, "refcount table")
        placed += self._layout.region(header.l1_start, l1_size, "L1 table")
        yield from placed
        if not placed:
            yield from self._second_level(l1_size, refcount_size)

    def _second_level(self, l1_size: int, refcount_size: int) -> Iterator[Finding]:
        header, cluster = self._header, self._header.cluster
        yield from partial(header.l1_count, 8)
        refcounts = numbers(self._reader.read_at(header.refcount_start, refcount_size), 8, "big")
        yield from self._layout.tables([each for each in refcounts if each], cluster, "refcount blocks")
        l1 = numbers(self._reader.read_at(header.l1_start, min(l1_size, ENTRY_BUDGET * 8)), 8, "big")
        tables = [each & _OFFSET for each in l1 if each & _OFFSET]
        wrong = list(self._layout.tables(tables, cluster, "L2 tables"))
        yield from wrong
        if wrong:
            return
        room = TABLE_BUDGET // cluster
        if len(tables) > room:
            yield finding("image.checks.partial", count=room * cluster)
        for start in tables[:room]:
            wrong = list(self._data(start))
            yield from wrong
            if stopping(wrong):
                return

    def _data(self, start: int) -> Iterator[Finding]:
        entries = numbers(self._reader.read_at(start, self._header.cluster, "L2 table"), 8, "big")
        if self._header.l2_width == 16:
            entries = entries[::2]
        plain = [each & _OFFSET for each in entries if each & _OFFSET and not each & _COMPRESSED]
        yield from self._layout.blocks(plain, self._header.cluster, "data clusters")
        # A compressed entry's offset takes 62 - (cluster_bits - 8) bits and may begin anywhere.
        mask = (1 << 62 - (self._header.cluster_bits - 8)) - 1
        last = max((each & mask for each in entries if each & _COMPRESSED), default=0)
        if last >= self._reader.size:
            yield finding("image.truncated", what="compressed data", end=last, size=self._reader.size)
