"""Small sound disk images and packages, made byte by byte, so that one byte can be made wrong on purpose.

Each holds a disk of 1 MiB with one block of data. Field names are those of the formats' specifications;
every keyword of a builder replaces one field. Nothing here is read by the product: it is the material of
its tests.
"""

import hashlib
import struct
import tarfile
import uuid
import zlib
from collections.abc import Mapping, Sequence

__all__ = [
    "DISK_SIZE",
    "ova",
    "ovf",
    "qcow2",
    "tar",
    "vdi",
    "vhd",
    "vhd_fixed",
    "vhdx",
    "vmdk",
    "vmdk_stream",
]

DISK_SIZE = 1 << 20
DATA = b"data" * 16384  # one cluster, one grain
_CLUSTER = 65536
_SECTOR = 512
_DESCRIPTOR_SECTORS = 20


def qcow2(
    *,
    header: Mapping[str, int] | None = None,
    backing: bytes = b"",
    data_file: bytes | None = None,
    l1: Sequence[int] = (4 * _CLUSTER,),
    l2: Mapping[int, int] | None = None,
) -> bytes:
    """Return a qcow2 version 3: header, refcount table, refcount block, L1, L2, data, a cluster each."""
    fields = {
        "version": 3, "backing_start": 0, "backing_size": 0, "cluster_bits": 16, "size": DISK_SIZE,
        "encryption": 0, "l1_count": len(l1), "l1_start": 3 * _CLUSTER, "refcount_start": _CLUSTER,
        "refcount_clusters": 1, "snapshot_count": 0, "snapshot_start": 0, "incompatible": 0, "compatible": 0,
        "autoclear": 0, "refcount_order": 4, "header_size": 104,
    }  # fmt: skip
    if backing:
        fields |= {"backing_start": 512, "backing_size": len(backing)}
    fields |= dict(header or {})
    head = b"QFI\xfb" + struct.pack(">IQIIQIIQQIIQQQQII", *fields.values())
    if data_file is not None:
        head += struct.pack(">II", 0x44415441, len(data_file)) + data_file.ljust(
            -(-len(data_file) // 8) * 8, b"\0"
        )
    head = head.ljust(512, b"\0") + backing
    entries = {0: 5 * _CLUSTER | 1 << 63} if l2 is None else l2
    clusters = [
        head,
        struct.pack(">Q", 2 * _CLUSTER),
        struct.pack(">6H", *[1] * 6),
        b"".join(struct.pack(">Q", entry | (1 << 63 if entry else 0)) for entry in l1),
        b"".join(struct.pack(">Q", entries.get(number, 0)) for number in range(_CLUSTER // 8)),
        DATA,
    ]
    return b"".join(cluster.ljust(_CLUSTER, b"\0") for cluster in clusters)


def descriptor(create_type: str, extents: str, *, parent: str = "", cid: str = "ffffffff") -> bytes:
    """Return a VMDK's text descriptor."""
    hint = f'parentFileNameHint="{parent}"\n' if parent else ""
    text = (
        f"# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID={cid}\n"
        f'createType="{create_type}"\n{hint}\n# Extent description\n{extents}\n\n'
        '# The Disk Data Base\n#DDB\n\nddb.adapterType = "lsilogic"\n'
    )
    return text.encode()


def _vmdk_header(fields: Mapping[str, int]) -> bytes:
    descriptor = fields.get("descriptor_start", 1), fields.get("descriptor_size", _DESCRIPTOR_SECTORS)
    packed = struct.pack(
        "<4sIIQQQQIQQQB4sH",
        b"KDMV", fields["version"], fields["flags"], fields["capacity"], 128, *descriptor, 512,
        0, fields["directory"], 128, 0, b"\n \r\n", fields["compression"],
    )  # fmt: skip
    return packed.ljust(_SECTOR, b"\0")


def vmdk(
    *,
    header: Mapping[str, int] | None = None,
    text: bytes | None = None,
    directory: Sequence[int] = (22,),
    grains: Sequence[int] = (128,),
) -> bytes:
    """Return a monolithicSparse VMDK: header, descriptor, directory at sector 21, table at 22, data at
    128."""
    fields = {"version": 1, "flags": 3, "capacity": DISK_SIZE // _SECTOR, "directory": 21, "compression": 0}
    fields |= dict(header or {})
    text = text or descriptor("monolithicSparse", f'RW {fields["capacity"]} SPARSE "disk.vmdk"')
    image = bytearray(128 * _SECTOR + len(DATA))
    image[:_SECTOR] = _vmdk_header(fields)
    image[_SECTOR : _SECTOR + len(text)] = text
    struct.pack_into(f"<{len(directory)}I", image, 21 * _SECTOR, *directory)
    struct.pack_into(f"<{len(grains)}I", image, 22 * _SECTOR, *grains)
    image[128 * _SECTOR :] = DATA
    return bytes(image)


def vmdk_stream(*, footer: Mapping[str, int] | None = None, text: bytes | None = None) -> bytes:
    """Return a streamOptimized VMDK: header, descriptor, one grain, table, directory, footer, each with its
    marker."""
    capacity = DISK_SIZE // _SECTOR
    fields = {
        "version": 3,
        "flags": 0x30001,
        "capacity": capacity,
        "directory": (1 << 64) - 1,
        "compression": 1,
    }
    text = text or descriptor("streamOptimized", f'RW {capacity} SPARSE "disk.vmdk"')
    image = _vmdk_header(fields) + text.ljust(_DESCRIPTOR_SECTORS * _SECTOR, b"\0")
    image = image.ljust(128 * _SECTOR, b"\0")
    packed = zlib.compress(DATA)
    grain = struct.pack("<QI", 0, len(packed)) + packed
    image += grain.ljust(-(-len(grain) // _SECTOR) * _SECTOR, b"\0")
    image += _marker(4, 1)
    table = len(image) // _SECTOR
    image += struct.pack("<512I", 128, *[0] * 511) + _marker(1, 2)
    place = len(image) // _SECTOR
    image += struct.pack("<I", table).ljust(_SECTOR, b"\0") + _marker(1, 3)
    return image + _vmdk_header({**fields, "directory": place, **(footer or {})}) + _marker(0, 0)


def _marker(sectors: int, kind: int) -> bytes:
    return struct.pack("<QII", sectors, 0, kind).ljust(_SECTOR, b"\0")


def vhd(
    *,
    footer: Mapping[str, int] | None = None,
    header: Mapping[str, int] | None = None,
    parent: str = "",
    blocks: Sequence[int] = (4,),
) -> bytes:
    """Return a dynamic VHD: copy of the footer, header, block table, bitmap with block of 1 MiB, footer."""
    end = _vhd_footer({"header_start": 512, "kind": 3, **(footer or {})})
    fields = {
        "data": (1 << 64) - 1,
        "table": 1536,
        "version": 0x10000,
        "count": len(blocks),
        "block": 1 << 20,
    }
    fields |= dict(header or {})
    raw = bytearray(b"cxsparse" + struct.pack(">QQIII", *fields.values()))
    raw = bytearray(raw.ljust(1024, b"\0"))
    name = parent.encode("utf-16-be")
    raw[64 : 64 + len(name)] = name
    struct.pack_into(">I", raw, 36, ~sum(raw) & 0xFFFF_FFFF)
    table = b"".join(struct.pack(">I", block) for block in blocks).ljust(_SECTOR, b"\xff")
    block = (b"\xff" * 16).ljust(_SECTOR, b"\0") + DATA.ljust(1 << 20, b"\0")
    return end + bytes(raw) + table + block + end


def vhd_fixed(*, footer: Mapping[str, int] | None = None) -> bytes:
    """Return a fixed VHD: the disk, then the footer."""
    return DATA.ljust(DISK_SIZE, b"\0") + _vhd_footer(
        {"header_start": (1 << 64) - 1, "kind": 2, **(footer or {})}
    )


def _vhd_footer(changes: Mapping[str, int]) -> bytes:
    fields = {"header_start": 0, "size": DISK_SIZE, "kind": 3, "checksum": -1, **changes}
    size, start = fields["size"], fields["header_start"]
    packed = struct.pack(">8sIIQI4sI4s", b"conectix", 2, 0x10000, start, 0, b"qem2", 0x50003, b"Wi2k")
    packed += struct.pack(">QQHBBII16sB", size, size, 65535, 16, 255, fields["kind"], 0, bytes(15) + b"\1", 0)
    raw = bytearray(packed.ljust(_SECTOR, b"\0"))
    checksum = ~sum(raw) & 0xFFFF_FFFF if fields["checksum"] == -1 else fields["checksum"]
    struct.pack_into(">I", raw, 64, checksum)
    return bytes(raw)


def vdi(
    *, header: Mapping[str, int] | None = None, parent: bytes = bytes(16), blocks: Sequence[int] = (0,)
) -> bytes:
    """Return a dynamic VDI: header, block map at 512, data from 1 MiB."""
    fields = {
        "magic": 0xBEDA107F, "version": 0x10001, "header_size": 0x190, "kind": 1, "flags": 0,
        "map": 512, "data": 1 << 20, "size": DISK_SIZE, "block": 1 << 20, "extra": 0, "count": len(blocks),
        "allocated": len(blocks),
    }  # fmt: skip
    fields |= dict(header or {})
    values = list(fields.values())
    head = b"<<< QEMU VM Virtual Disk Image >>>\n".ljust(64, b"\0") + struct.pack("<5I", *values[:5])
    head += bytes(256) + struct.pack("<7I", *values[5:7], 0, 0, 0, 512, 0) + struct.pack("<Q4I", *values[7:])
    head += uuid.UUID(int=2).bytes_le + uuid.UUID(int=3).bytes_le + bytes(16) + parent.ljust(16, b"\0")
    table = b"".join(struct.pack("<I", block) for block in blocks)
    return (head.ljust(512, b"\0") + table).ljust(1 << 20, b"\0") + DATA.ljust(1 << 20, b"\0")


def vhdx(
    *,
    regions: Sequence[tuple[str, int, int]] = (("bat", 2 << 20, 1 << 20), ("metadata", 3 << 20, 1 << 20)),
    region_count: int | None = None,
    size: int = DISK_SIZE,
    flags: int = 0,
    log: int = 0,
) -> bytes:
    """Return a dynamic VHDX: headers, log at 1 MiB, block table at 2 MiB, metadata at 3 MiB, data at 4
    MiB."""
    names = {
        "bat": uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08"),
        "metadata": uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e"),
    }
    image = bytearray(5 << 20)
    image[:8] = b"vhdxfile"
    for number, place in enumerate((64 << 10, 128 << 10)):
        facts = struct.pack("<Q32s16s", number + 1, bytes(32), uuid.UUID(int=log).bytes_le)
        facts += struct.pack("<HHIQ", 0, 1, 1 << 20, 1 << 20)
        image[place : place + 4096] = _summed(b"head" + bytes(4) + facts, 4096)
    table = b"regi" + struct.pack("<III", 0, len(regions) if region_count is None else region_count, 0)
    for name, place, length in regions:
        table += names[name].bytes_le + struct.pack("<QII", place, length, 1)
    for place in (192 << 10, 256 << 10):
        image[place : place + 65536] = _summed(table, 65536)
    struct.pack_into("<Q", image, 2 << 20, 4 << 20 | 6)
    image[3 << 20 : 4 << 20] = _vhdx_metadata(size, flags).ljust(1 << 20, b"\0")
    image[4 << 20 : (4 << 20) + len(DATA)] = DATA
    return bytes(image)


def _vhdx_metadata(size: int, flags: int) -> bytes:
    items = (
        ("caa16737-fa36-4d43-b3b6-33f0aa44e76b", struct.pack("<II", 1 << 20, flags), 4),
        ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", struct.pack("<Q", size), 6),
        ("beca12ab-b2e6-4523-93ef-c309e000c746", uuid.UUID(int=9).bytes_le, 6),
        ("8141bf1d-a96f-4709-ba47-f233a8faab5f", struct.pack("<I", 512), 6),
        ("cda348c7-445d-4471-9cc9-e9885251c556", struct.pack("<I", 4096), 6),
    )
    table = b"metadata" + struct.pack("<HH", 0, len(items)) + bytes(20)
    values = b""
    for name, value, kind in items:
        table += uuid.UUID(name).bytes_le + struct.pack("<IIII", 65536 + len(values), len(value), kind, 0)
        values += value
    return table.ljust(65536, b"\0") + values


def _summed(block: bytes, size: int) -> bytes:
    """Put the CRC-32C over ``size`` bytes into bytes 4 to 8 (Castagnoli, reflected 0x82F63B78)."""
    padded = bytearray(block.ljust(size, b"\0"))
    crc = 0xFFFF_FFFF
    table = [_crc_step(byte) for byte in range(256)]
    for byte in padded:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    struct.pack_into("<I", padded, 4, crc ^ 0xFFFF_FFFF)
    return bytes(padded)


def _crc_step(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


def ovf(
    *,
    prolog: str = "",
    name: str = "web",
    file: str = 'ovf:href="disk.vmdk"',
    disk: str = "",
    capacity: int = DISK_SIZE,
    extra: str = "",
) -> bytes:
    """Return a descriptor with one disk; the texts go into it as they are."""
    rasd = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
    items = {
        1: "<rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>1</rasd:VirtualQuantity>",
        2: "<rasd:ResourceType>4</rasd:ResourceType><rasd:VirtualQuantity>64</rasd:VirtualQuantity>",
        3: "<rasd:ResourceSubType>VirtualSCSI</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType>",
        4: "<rasd:HostResource>ovf:/disk/d1</rasd:HostResource><rasd:Parent>3</rasd:Parent>"
        "<rasd:ResourceType>17</rasd:ResourceType>",
    }
    hardware = "".join(
        f"<Item><rasd:InstanceID>{key}</rasd:InstanceID>{text}</Item>" for key, text in items.items()
    )
    system = (
        f'<VirtualSystem ovf:id="web"><Info/><Name>{name}</Name>'
        f"<VirtualHardwareSection><Info/>{hardware}</VirtualHardwareSection></VirtualSystem>"
    )
    space = "http://schemas.dmtf.org/ovf/envelope/1"
    text = (
        f'<?xml version="1.0"?>{prolog}<Envelope xmlns="{space}" xmlns:ovf="{space}" xmlns:rasd="{rasd}">'
        f'<References><File ovf:id="f1" {file}/></References><DiskSection><Info/>'
        f'<Disk ovf:capacity="{capacity}" ovf:diskId="d1" ovf:fileRef="f1" {disk} ovf:format='
        '"http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/></DiskSection>'
        f"{system}{extra}</Envelope>"
    )
    return text.encode()


def tar(entries: Sequence[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """Return an archive with exactly these headers, whatever they say; contents are filled up to whole
    blocks."""
    parts = [
        info.tobuf(tarfile.GNU_FORMAT) + data.ljust(-(-len(data) // 512) * 512, b"\0")
        for info, data in entries
    ]
    return b"".join(parts) + bytes(1024)


def ova(
    *,
    text: bytes | None = None,
    disk: bytes | None = None,
    manifest: bytes | None = None,
    extra: Sequence[tuple[tarfile.TarInfo, bytes]] = (),
) -> bytes:
    """Return an OVA with descriptor, manifest and one disk; ``extra`` entries follow, an empty manifest is
    left out."""
    files = {"web.ovf": text or ovf(), "disk.vmdk": disk or vmdk_stream()}
    if manifest is None:
        lines = [f"SHA256({name})= {hashlib.sha256(data).hexdigest()}\n" for name, data in files.items()]
        manifest = "".join(lines).encode()
    ordered = {"web.ovf": files["web.ovf"], "web.mf": manifest, "disk.vmdk": files["disk.vmdk"]}
    entries: list[tuple[tarfile.TarInfo, bytes]] = []
    for name, data in ordered.items():
        if data:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            entries.append((info, data))
    return tar([*entries, *extra])
