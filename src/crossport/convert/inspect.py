"""Decide whether an image may be given to a tool at all: what it is, how large, and everything that speaks
against it.

Only bytes are read, by this process and without any outside tool. The format comes from the content, or
from the caller who knows it; two formats at once are refused. A raw disk is whatever a guest wrote, so a
raw disk that looks like another format is never opened as that format.
"""

from collections.abc import Callable
from dataclasses import replace

from crossport.convert import qcow2, vdi, vhd, vhdx, vmdk
from crossport.convert.findings import finding
from crossport.convert.inspection import Format, Inspection
from crossport.convert.reader import Reader, Truncated
from crossport.convert.second_opinion import second_opinion
from crossport.model.finding import Finding
from crossport.units import SECTOR, TIB

__all__ = ["MAX_SIZE", "inspect"]

# The largest disk that any of the formats and of the clouds we know takes (VHDX; Amazon EBS volumes).
MAX_SIZE = 64 * TIB

_Inspect = Callable[[Reader], Inspection]
_READERS: dict[str, _Inspect] = {
    "qcow2": qcow2.inspect,
    "vmdk": vmdk.inspect,
    "vmdk descriptor": vmdk.inspect_descriptor,
    "vhd": vhd.inspect,
    "vhdx": vhdx.inspect,
    "vdi": vdi.inspect,
}
_FAMILY = {
    Format.QCOW2: "qcow2",
    Format.VMDK: "vmdk",
    Format.VMDK_STREAM: "vmdk",
    Format.VHD: "vhd",
    Format.VHD_FIXED: "vhd",
    Format.VHDX: "vhdx",
    Format.VDI: "vdi",
    Format.RAW: "raw",
}
_HEADS = {
    qcow2.MAGIC: "qcow2",
    vmdk.MAGIC: "vmdk",
    vhd.MAGIC: "vhd",
    vhdx.MAGIC: "vhdx",
    b"COWD": "an ESX sparse VMDK",
    b"QED\0": "a QED image",
    b"LUKS\xba\xbe": "a LUKS container",
    b"WithoutFreeSpace": "a Parallels image",
    b"WithouFreSpacExt": "a Parallels image",
    b"Bochs Virtual HD Image": "a Bochs image",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b\x08": "compressed (gzip)",
    b"BZh": "compressed (bzip2)",
    b"\xfd7zXZ\0": "compressed (xz)",
    b"\x28\xb5\x2f\xfd": "compressed (zstd)",
}
_TAILS = {b"koly": "an Apple disk image"}
_PROBED = 512


def inspect(reader: Reader, *, stated: Format | None = None, limit: int = MAX_SIZE) -> Inspection:
    """Return format, size and findings of an image. Hostile content gives findings, never an exception.

    ``stated`` is what the sender says it is; RAW there means that the content is not interpreted. ``limit``
    is the largest disk size accepted, in bytes. An image may be used only if it has no blockers.
    """
    try:
        names = _signs(reader)
        found = _as_raw(reader, names) if stated is Format.RAW else _interpreted(reader, names)
    except Truncated as error:
        # The name is known from the first bytes, so at least the format can be told.
        missing = finding("image.truncated", what=error.what, end=error.end, size=error.size)
        return Inspection(None, 0, {}, (missing,))
    return replace(found, findings=found.findings + tuple(_common(reader, found, stated, limit)))


def _signs(reader: Reader) -> list[str]:
    """Return everything that the content could be taken for, each once; an empty list means raw."""
    head = reader.read_at(0, min(_PROBED, reader.size))
    names = [name for magic, name in _HEADS.items() if head.startswith(magic)]
    if head[64:68] == vdi.MAGIC.to_bytes(4, "little"):
        names.append("vdi")
    if head[257:262] == b"ustar":
        names.append("a tar archive (an OVA is imported, not converted)")
    if vmdk.begins_with_descriptor(reader):
        names.append("vmdk descriptor")
    if vhd.footer_at_end(reader):
        names.append("vhd")
    if reader.size >= SECTOR:
        tail = reader.read_at(reader.size - SECTOR, SECTOR)
        names += [name for magic, name in _TAILS.items() if tail.startswith(magic)]
    return list(dict.fromkeys(names))


def _as_raw(reader: Reader, names: list[str]) -> Inspection:
    findings: list[Finding] = []
    if "vmdk descriptor" in names:
        findings.append(finding("image.raw.text-descriptor"))
    findings += [finding("image.format.embedded", found=name) for name in names if name != "vmdk descriptor"]
    if reader.size % SECTOR:
        findings.append(finding("image.raw.odd-length", size=reader.size))
    size = -(-reader.size // SECTOR) * SECTOR
    return Inspection(Format.RAW, size, {}, tuple(findings))


def _interpreted(reader: Reader, names: list[str]) -> Inspection:
    if not names:
        return _as_raw(reader, names)
    found = _READERS[names[0]](reader) if names[0] in _READERS else None
    if len(names) > 1:
        also = finding("image.format.ambiguous", names=", ".join(names))
        findings = (also, *(found.findings if found else ()))
        return Inspection(found.format if found else None, found.virtual_size if found else 0, {}, findings)
    if found is None:
        return Inspection(None, 0, {}, (finding("image.format.unsupported", name=names[0]),))
    return found


def _common(reader: Reader, found: Inspection, stated: Format | None, limit: int) -> list[Finding]:
    findings: list[Finding] = []
    if found.format is None:
        return findings
    if stated not in {None, Format.RAW} and _FAMILY[found.format] != _FAMILY[stated or Format.RAW]:
        findings.append(finding("image.format.mismatch", stated=str(stated), found=str(found.format)))
    known = "image.table.oversized" not in {each.code for each in found.findings} or found.virtual_size
    if known and not 0 < found.virtual_size <= limit:
        findings.append(finding("image.size.absurd", size=found.virtual_size, limit=limit))
    if not found.blockers and not findings:
        findings += second_opinion(reader, found.format)
    return findings
