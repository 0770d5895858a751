"""Attacks on whoever opens an image or a package: one table, generated, with the finding that must stop each.

``ATTACKS`` maps a name to how the attack is built and the code it must be refused with. Attacks that want
to read a file of the host name ``canary``. Drivers and packagers may run the same table against their own
entry points.
"""

import struct
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossport.testing import images
from crossport.testing.images import DISK_SIZE

__all__ = ["ATTACKS", "Attack"]

_CLUSTER = 65536
_MISSING = 1 << 40


@dataclass(frozen=True, slots=True)
class Attack:
    """One hostile file. ``content`` makes its bytes, given the path of a file that it must not get at."""

    content: Callable[[Path], bytes]
    code: str
    suffix: str = ".img"

    def write(self, directory: Path, canary: Path) -> Path:
        """Write the attack into ``directory`` and return the file that the victim is asked to open."""
        path = directory / f"web{self.suffix}"
        path.write_bytes(self.content(canary))
        return path


def _flat(canary: Path, *, before: str = "") -> bytes:
    extent = f'RW {DISK_SIZE // 512} FLAT "{canary}" 0'
    return before.encode() + images.descriptor("monolithicFlat", extent)


def _member(name: str, *, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def _with(name: str, **facts: str | bytes | int) -> Callable[[Path], bytes]:
    def content(_canary: Path) -> bytes:
        kind, target, size = facts.get("kind", tarfile.REGTYPE), facts.get("target", ""), facts.get("size", 0)
        assert isinstance(kind, bytes)
        assert isinstance(target, str)
        assert isinstance(size, int)
        return images.ova(
            extra=[(_member(name, kind=kind, target=target, size=size), bytes(min(size, 8 << 20)))]
        )

    return content


def _sparse_disk(text: bytes) -> bytes:
    return images.vmdk(text=text)


def _bomb(_canary: Path) -> bytes:
    layers = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    prolog = f'<!DOCTYPE x [<!ENTITY e0 "ha">{layers}]>'
    return images.ova(text=images.ovf(prolog=prolog, name="&e9;"))


def _external(canary: Path) -> bytes:
    prolog = f'<!DOCTYPE x [<!ENTITY host SYSTEM "file://{canary}">]>'
    return images.ova(text=images.ovf(prolog=prolog, name="&host;"))


def _described(**changes: str | int) -> Callable[[Path], bytes]:
    return lambda _canary: images.ova(text=images.ovf(**changes))  # type: ignore[arg-type]


def _cut(content: bytes, size: int) -> Callable[[Path], bytes]:
    return lambda _canary: content[:size]


def _fixed(content: bytes) -> Callable[[Path], bytes]:
    return lambda _canary: content


_QCOW2 = {
    "qcow2-backing-file": Attack(
        lambda canary: images.qcow2(backing=str(canary).encode()), "image.qcow2.backing-file"
    ),
    "qcow2-backing-file-as-json": Attack(
        lambda canary: images.qcow2(backing=f'json:{{"file.filename":"{canary}"}}'.encode()),
        "image.qcow2.backing-file",
    ),
    "qcow2-data-file": Attack(
        lambda canary: images.qcow2(header={"incompatible": 4}, data_file=str(canary).encode()),
        "image.qcow2.data-file",
    ),
    "qcow2-data-file-without-the-bit": Attack(
        lambda canary: images.qcow2(data_file=str(canary).encode()), "image.qcow2.data-file"
    ),
    "qcow2-unknown-feature": Attack(
        _fixed(images.qcow2(header={"incompatible": 1 << 40})), "image.qcow2.unknown-feature"
    ),
    "qcow2-corrupt": Attack(_fixed(images.qcow2(header={"incompatible": 2})), "image.qcow2.corrupt"),
    "qcow2-encrypted": Attack(_fixed(images.qcow2(header={"encryption": 2})), "image.encrypted"),
    "qcow2-version-1": Attack(_fixed(images.qcow2(header={"version": 1})), "image.format.unsupported"),
    "qcow2-cluster-bits": Attack(_fixed(images.qcow2(header={"cluster_bits": 63})), "image.header.invalid"),
    "qcow2-l1-outside": Attack(_fixed(images.qcow2(header={"l1_start": _MISSING})), "image.table.outside"),
    "qcow2-l1-huge": Attack(_fixed(images.qcow2(header={"l1_count": 1 << 31})), "image.table.oversized"),
    "qcow2-l1-too-short": Attack(_fixed(images.qcow2(header={"size": 1 << 40})), "image.header.invalid"),
    "qcow2-l1-unaligned": Attack(
        _fixed(images.qcow2(header={"l1_start": 3 * _CLUSTER + 8})), "image.header.invalid"
    ),
    "qcow2-l1-points-to-itself": Attack(_fixed(images.qcow2(l1=(3 * _CLUSTER,))), "image.circular"),
    "qcow2-l2-used-twice": Attack(
        _fixed(images.qcow2(l1=(4 * _CLUSTER,) * 2, header={"size": 1 << 30})), "image.circular"
    ),
    "qcow2-l2-points-to-l1": Attack(_fixed(images.qcow2(l2={0: 3 * _CLUSTER})), "image.circular"),
    "qcow2-l2-points-to-itself": Attack(_fixed(images.qcow2(l2={0: 4 * _CLUSTER})), "image.circular"),
    "qcow2-one-cluster-for-all": Attack(
        _fixed(images.qcow2(l2=dict.fromkeys(range(16), 5 * _CLUSTER))), "image.circular"
    ),
    "qcow2-l2-outside": Attack(_fixed(images.qcow2(l1=(_MISSING,))), "image.truncated"),
    "qcow2-refcounts-over-l1": Attack(
        _fixed(images.qcow2(header={"refcount_start": 3 * _CLUSTER})), "image.circular"
    ),
    "qcow2-refcounts-huge": Attack(
        _fixed(images.qcow2(header={"refcount_clusters": 1 << 20})), "image.table.oversized"
    ),
    "qcow2-snapshots-huge": Attack(
        _fixed(images.qcow2(header={"snapshot_count": 1 << 31})), "image.table.oversized"
    ),
    "qcow2-absurd-size": Attack(_fixed(images.qcow2(header={"size": 1 << 62})), "image.size.absurd"),
    "qcow2-no-size": Attack(_fixed(images.qcow2(header={"size": 0})), "image.size.absurd"),
    "qcow2-truncated": Attack(_cut(images.qcow2(), 5 * _CLUSTER), "image.truncated"),
    "qcow2-truncated-header": Attack(_cut(images.qcow2(), 40), "image.truncated"),
}

_VMDK = {
    "vmdk-flat-host-file": Attack(_flat, "image.vmdk.host-extent", ".vmdk"),
    "vmdk-flat-comments-first": Attack(
        lambda canary: _flat(canary, before="\n# nothing\n\n#\n"), "image.vmdk.host-extent", ".vmdk"
    ),
    **{
        f"vmdk-padded-to-{size}": Attack(
            lambda canary, size=size: _flat(canary).ljust(size, b"\0"), "image.raw.text-descriptor"
        )
        for size in (1000, 4096, 65536, 1 << 20)
    },
    "vmdk-device-extent": Attack(
        _fixed(images.descriptor("fullDevice", 'RW 2048 FLAT "/dev/sda" 0')), "image.vmdk.host-extent"
    ),
    "vmdk-sparse-with-flat-extent": Attack(
        lambda canary: _sparse_disk(_flat(canary)), "image.vmdk.host-extent", ".vmdk"
    ),
    "vmdk-sparse-without-capacity": Attack(
        lambda canary: images.vmdk(text=_flat(canary), header={"capacity": 0}), "image.size.absurd", ".vmdk"
    ),
    "vmdk-extent-with-a-path": Attack(
        lambda canary: images.vmdk(text=images.descriptor("monolithicSparse", f'RW 2048 SPARSE "{canary}"')),
        "image.vmdk.host-extent",
    ),
    "vmdk-parent": Attack(
        lambda canary: images.vmdk(
            text=images.descriptor("monolithicSparse", 'RW 2048 SPARSE "d.vmdk"', parent=str(canary), cid="1")
        ),
        "image.vmdk.parent",
    ),
    "vmdk-parent-in-a-comment": Attack(
        lambda canary: images.vmdk(
            text=images.descriptor(
                "monolithicSparse", f'RW 2048 SPARSE "d.vmdk"\n# parentFileNameHint="{canary}"'
            )
        ),
        "image.vmdk.parent",
    ),
    "vmdk-other-descriptor-than-qemu-reads": Attack(
        _fixed(images.vmdk(header={"descriptor_start": 2})), "image.vmdk.descriptor"
    ),
    "vmdk-parent-behind-a-short-descriptor": Attack(
        lambda canary: images.vmdk(
            header={"descriptor_size": 1},
            text=images.descriptor(
                "monolithicSparse", f'RW 2048 SPARSE "d.vmdk"\n{"#" * 512}\nparentFileNameHint="{canary}"'
            ),
        ),
        "image.vmdk.parent",
    ),
    "vmdk-directory-outside": Attack(
        _fixed(images.vmdk(header={"directory": _MISSING})), "image.table.outside"
    ),
    "vmdk-directory-huge": Attack(_fixed(images.vmdk(header={"capacity": 1 << 50})), "image.table.oversized"),
    "vmdk-table-in-the-directory": Attack(_fixed(images.vmdk(directory=(21,))), "image.circular"),
    "vmdk-grain-in-the-header": Attack(_fixed(images.vmdk(grains=(0, 20))), "image.circular"),
    "vmdk-grain-twice": Attack(_fixed(images.vmdk(grains=(128, 128))), "image.circular"),
    "vmdk-absurd-size": Attack(_fixed(images.vmdk(header={"capacity": 1 << 54})), "image.size.absurd"),
    "vmdk-truncated": Attack(_cut(images.vmdk(), 128 * 512), "image.truncated"),
    "vmdk-stream-truncated": Attack(_cut(images.vmdk_stream(), 70_000), "image.truncated"),
    "vmdk-stream-other-footer": Attack(
        _fixed(images.vmdk_stream(footer={"version": 1})), "image.header.invalid"
    ),
    "vmdk-stream-footer-without-end": Attack(
        _fixed(images.vmdk_stream(footer={"directory": (1 << 64) - 1})), "image.header.invalid"
    ),
    "vmdk-esx-sparse": Attack(_fixed(b"COWD".ljust(4096, b"\0")), "image.format.unsupported"),
}

_VHD = {
    "vhd-differencing": Attack(
        lambda canary: images.vhd(footer={"kind": 4}, parent=str(canary)), "image.vhd.differencing"
    ),
    "vhd-absurd-size": Attack(_fixed(images.vhd(footer={"size": 1 << 60})), "image.size.absurd"),
    "vhd-table-huge": Attack(_fixed(images.vhd(header={"count": 1 << 31})), "image.table.oversized"),
    "vhd-table-outside": Attack(_fixed(images.vhd(header={"table": _MISSING})), "image.table.outside"),
    "vhd-header-outside": Attack(_fixed(images.vhd(footer={"header_start": _MISSING})), "image.truncated"),
    "vhd-block-in-the-header": Attack(_fixed(images.vhd(blocks=(1,))), "image.circular"),
    "vhd-block-twice": Attack(_fixed(images.vhd(blocks=(4, 4))), "image.circular"),
    "vhd-block-size": Attack(_fixed(images.vhd(header={"block": 3})), "image.header.invalid"),
    "vhd-checksum": Attack(_fixed(images.vhd(footer={"checksum": 1})), "image.checksum.wrong"),
    "vhd-other-footer-at-its-start": Attack(
        _fixed(images.vhd(footer={"size": DISK_SIZE * 2})[:512] + images.vhd()[512:]), "image.header.invalid"
    ),
    "vhd-fixed-that-begins-with-a-footer": Attack(
        _fixed(images.vhd()[:512] + images.vhd_fixed()[512:]), "image.header.invalid"
    ),
    "vhd-blocks-overlap": Attack(
        _fixed(images.vhd(blocks=(4, 5), footer={"size": 2 * DISK_SIZE})), "image.circular"
    ),
    "vhd-truncated": Attack(_cut(images.vhd(), 500_000), "image.truncated"),
    "vhd-fixed-truncated": Attack(lambda _canary: images.vhd_fixed()[DISK_SIZE // 2 :], "image.truncated"),
    "vhd-fixed-absurd": Attack(_fixed(images.vhd_fixed(footer={"size": 1 << 62})), "image.size.absurd"),
}

_VHDX = {
    "vhdx-parent": Attack(_fixed(images.vhdx(flags=2)), "image.vhdx.parent"),
    "vhdx-log-not-replayed": Attack(_fixed(images.vhdx(log=7)), "image.vhdx.log"),
    "vhdx-region-outside": Attack(
        _fixed(images.vhdx(regions=(("bat", _MISSING, 1 << 20), ("metadata", 3 << 20, 1 << 20)))),
        "image.table.outside",
    ),
    "vhdx-regions-overlap": Attack(
        _fixed(images.vhdx(regions=(("bat", 2 << 20, 2 << 20), ("metadata", 3 << 20, 1 << 20)))),
        "image.circular",
    ),
    "vhdx-region-missing": Attack(
        _fixed(images.vhdx(regions=(("bat", 2 << 20, 1 << 20),))), "image.header.invalid"
    ),
    "vhdx-region-twice": Attack(
        _fixed(images.vhdx(regions=(("bat", 2 << 20, 1 << 20), ("bat", 3 << 20, 1 << 20)))),
        "image.header.invalid",
    ),
    "vhdx-regions-huge": Attack(_fixed(images.vhdx(region_count=1 << 31)), "image.table.oversized"),
    "vhdx-absurd-size": Attack(_fixed(images.vhdx(size=1 << 60)), "image.size.absurd"),
    "vhdx-truncated": Attack(_cut(images.vhdx(), 4 << 20), "image.truncated"),
    "vhdx-truncated-headers": Attack(_cut(images.vhdx(), 100_000), "image.truncated"),
}

_VDI = {
    "vdi-differencing": Attack(
        _fixed(images.vdi(header={"kind": 4}, parent=b"p" * 16)), "image.vdi.differencing"
    ),
    "vdi-absurd-size": Attack(_fixed(images.vdi(header={"size": 1 << 62})), "image.size.absurd"),
    "vdi-map-huge": Attack(_fixed(images.vdi(header={"count": 1 << 31})), "image.table.oversized"),
    "vdi-map-outside": Attack(_fixed(images.vdi(header={"map": 1 << 31})), "image.table.outside"),
    "vdi-block-in-the-header": Attack(_fixed(images.vdi(header={"data": 0})), "image.circular"),
    "vdi-block-twice": Attack(_fixed(images.vdi(blocks=(0, 0))), "image.circular"),
    "vdi-truncated": Attack(_cut(images.vdi(), 1 << 20), "image.truncated"),
    "vdi-truncated-header": Attack(_cut(images.vdi(), 200), "image.truncated"),
}

_OTHER = {
    "raw-empty": Attack(_fixed(b""), "image.size.absurd"),
    "raw-compressed": Attack(_fixed(b"\x1f\x8b\x08".ljust(4096, b"\0")), "image.format.unsupported"),
    "qcow2-that-is-a-vhd-too": Attack(
        _fixed(images.qcow2() + images.vhd_fixed()[-512:]), "image.format.ambiguous"
    ),
    "vmdk-that-is-a-vdi-too": Attack(
        lambda canary: _flat(canary)[:64].ljust(64) + struct.pack("<I", 0xBEDA107F) + bytes(4096),
        "image.format.ambiguous",
    ),
}

_OVA = {
    "ova-path-traversal": Attack(_with("../../etc/cron.d/job"), "ova.member.traversal", ".ova"),
    "ova-path-in-the-middle": Attack(_with("a/../../job"), "ova.member.traversal", ".ova"),
    "ova-backslash": Attack(_with("..\\job"), "ova.member.traversal", ".ova"),
    "ova-absolute-path": Attack(_with("/etc/cron.d/job"), "ova.member.absolute", ".ova"),
    "ova-drive-letter": Attack(_with("C:\\job"), "ova.member.absolute", ".ova"),
    "ova-symbolic-link": Attack(
        lambda canary: images.ova(
            extra=[(_member("extra.vmdk", kind=tarfile.SYMTYPE, target=str(canary)), b"")]
        ),
        "ova.member.link",
        ".ova",
    ),
    "ova-hard-link": Attack(
        lambda canary: images.ova(
            extra=[(_member("extra.vmdk", kind=tarfile.LNKTYPE, target=str(canary)), b"")]
        ),
        "ova.member.link",
        ".ova",
    ),
    "ova-device": Attack(_with("sda", kind=tarfile.BLKTYPE), "ova.member.device", ".ova"),
    "ova-pipe": Attack(_with("pipe", kind=tarfile.FIFOTYPE), "ova.member.device", ".ova"),
    "ova-directory": Attack(_with("inner", kind=tarfile.DIRTYPE), "ova.member.device", ".ova"),
    "ova-sparse-file": Attack(_with("extra.vmdk", kind=tarfile.GNUTYPE_SPARSE), "ova.member.sparse", ".ova"),
    "ova-duplicate": Attack(_with("disk.vmdk"), "ova.member.duplicate", ".ova"),
    "ova-duplicate-by-case": Attack(_with("DISK.vmdk"), "ova.member.duplicate", ".ova"),
    "ova-second-descriptor": Attack(_with("other.ovf"), "ova.descriptor.count", ".ova"),
    "ova-huge-descriptor": Attack(
        lambda _canary: images.ova(text=images.ovf() + b" " * (5 << 20)), "ova.member.oversized", ".ova"
    ),
    "ova-huge-claim": Attack(
        lambda _canary: images.tar([(_member("disk.vmdk", size=1 << 60), b"")]), "ova.truncated", ".ova"
    ),
    "ova-huge-extended-header": Attack(
        _with("long", kind=tarfile.XHDTYPE, size=1 << 20), "ova.header.invalid", ".ova"
    ),
    "ova-many-members": Attack(
        lambda _canary: images.ova(extra=[(_member(f"f{number}"), b"") for number in range(600)]),
        "ova.member.count",
        ".ova",
    ),
    "ova-many-headers": Attack(
        lambda _canary: images.ova(
            extra=[(_member("long", kind=tarfile.GNUTYPE_LONGNAME), b"") for _ in range(2100)]
        ),
        "ova.header.invalid",
        ".ova",
    ),
    "ova-truncated": Attack(lambda _canary: images.ova()[:40_000], "ova.truncated", ".ova"),
    "ova-no-archive": Attack(_fixed(b"not a tar archive".ljust(2048, b"!")), "ova.header.invalid", ".ova"),
    "ova-manifest-missing": Attack(lambda _canary: images.ova(manifest=b""), "ova.manifest.missing", ".ova"),
    "ova-manifest-mismatch": Attack(
        lambda _canary: images.ova(
            manifest=b"".join(b"SHA256(%s)= %s\n" % (name, b"0" * 64) for name in (b"web.ovf", b"disk.vmdk"))
        ),
        "ova.manifest.mismatch",
        ".ova",
    ),
    "ova-manifest-incomplete": Attack(_with("extra.nvram", size=16), "ova.manifest.incomplete", ".ova"),
    "ova-manifest-names-a-missing-file": Attack(
        lambda _canary: images.ova(manifest=b"SHA256(gone)= " + b"0" * 64), "ova.member.missing", ".ova"
    ),
    "ova-manifest-twice": Attack(
        lambda _canary: images.ova(
            manifest=b"SHA1(web.ovf)= " + b"0" * 40 + b"\nSHA1(web.ovf)= " + b"1" * 40
        ),
        "ova.manifest.invalid",
        ".ova",
    ),
    "ova-manifest-of-nothing-but-lines": Attack(
        lambda _canary: images.ova(manifest=b"x\n" * 400_000), "ova.manifest.invalid", ".ova"
    ),
    "ova-manifest-of-many-files": Attack(
        lambda _canary: images.ova(
            manifest=b"".join(b"SHA1(%d)= " % number + b"0" * 40 + b"\n" for number in range(10_000))
        ),
        "ova.manifest.invalid",
        ".ova",
    ),
    "ova-manifest-nonsense": Attack(
        lambda _canary: images.ova(manifest=b"CRC32(web.ovf)= 0\n"), "ova.manifest.invalid", ".ova"
    ),
    "ova-hostile-disk": Attack(
        lambda canary: images.ova(disk=_flat(canary)), "image.vmdk.host-extent", ".ova"
    ),
    "ova-disk-of-another-format": Attack(
        lambda canary: images.ova(disk=images.qcow2(backing=str(canary).encode())),
        "image.qcow2.backing-file",
        ".ova",
    ),
    "ova-other-disk-size": Attack(_described(capacity=DISK_SIZE * 2), "ovf.disk.size", ".ova"),
    "ovf-entity-bomb": Attack(_bomb, "ovf.xml.hostile", ".ova"),
    "ovf-external-entity": Attack(_external, "ovf.xml.hostile", ".ova"),
    "ovf-document-type": Attack(_described(prolog="<!DOCTYPE x>"), "ovf.xml.hostile", ".ova"),
    "ovf-many-elements": Attack(_described(extra="<a/>" * 30_000), "ovf.content.invalid", ".ova"),
    "ovf-deep-elements": Attack(
        _described(extra="<a>" * 30_000 + "</a>" * 30_000), "ovf.content.invalid", ".ova"
    ),
    "ovf-absurd-disk": Attack(_described(capacity=1 << 62), "ovf.content.invalid", ".ova"),
    "ovf-no-xml": Attack(lambda _canary: images.ova(text=b"<Envelope"), "ovf.xml.invalid", ".ova"),
    "ovf-file-outside": Attack(_described(file='ovf:href="../disk.vmdk"'), "ovf.href.outside", ".ova"),
    "ovf-file-on-the-web": Attack(_described(file='ovf:href="http://h/d.vmdk"'), "ovf.href.outside", ".ova"),
    "ovf-file-absolute": Attack(
        lambda canary: images.ovf(file=f'ovf:href="{canary}"'), "ovf.href.outside", ".ovf"
    ),
    "ovf-file-compressed": Attack(
        _described(file='ovf:href="disk.vmdk" ovf:compression="gzip"'), "ovf.file.compressed", ".ova"
    ),
    "ovf-disk-parent": Attack(_described(disk='ovf:parentRef="other"'), "ovf.disk.parent", ".ova"),
    "ovf-two-systems": Attack(_described(extra='<VirtualSystem ovf:id="b"/>'), "ovf.system.count", ".ova"),
    "ovf-unknown-section": Attack(
        _described(extra="<OddSection><Info/></OddSection>"), "ovf.section.unknown", ".ova"
    ),
}

ATTACKS: dict[str, Attack] = {**_QCOW2, **_VMDK, **_VHD, **_VHDX, **_VDI, **_OTHER, **_OVA}
