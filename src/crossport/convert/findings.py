"""Everything that can stand against an image or a package: one table of stable codes with text and remedy.

Codes name the format where only that format can have the fault. A blocker means that no tool gets to see
the image. A decision stops too, until it is accepted by its code.
"""

from collections.abc import Collection, Iterable

from crossport import errors
from crossport.model.finding import Finding, Severity

__all__ = ["CODES", "finding", "refuse"]

_GET_PLAIN = (
    "Ask for the image as one self-contained file (for example qemu-img convert on the sender's side)."
)
_GET_AGAIN = "Fetch the image again and compare its checksum with the sender's."
_DISTRUST = "Do not use this image; ask its sender where it comes from."

# code -> (severity, what is wrong, what to do)
CODES: dict[str, tuple[Severity, str, str]] = {
    "image.format.unsupported": (
        Severity.BLOCKER,
        "The image is {name}, which is not supported.",
        "Convert it to raw, qcow2, VMDK, VHD, VHDX or VDI first.",
    ),
    "image.format.ambiguous": (
        Severity.BLOCKER,
        "The image looks like several formats at once: {names}.",
        _DISTRUST,
    ),
    "image.format.mismatch": (
        Severity.BLOCKER,
        "The image was stated to be {stated} but is {found}.",
        "State the right format, or leave it out.",
    ),
    "image.format.embedded": (
        Severity.DECISION,
        "The raw disk begins like a {found} image; a guest can write that. It is treated as raw.",
        "Accept it if the disk is really raw; otherwise state the format {found}.",
    ),
    "image.format.second-opinion": (
        Severity.BLOCKER,
        "A second inspector refuses the image: {reason}.",
        _DISTRUST,
    ),
    "image.size.absurd": (
        Severity.BLOCKER,
        "The image claims a disk of {size} bytes; between 1 byte and {limit} bytes are accepted.",
        _DISTRUST,
    ),
    "image.truncated": (
        Severity.BLOCKER,
        "The image ends at byte {size}, but its {what} would end at byte {end}.",
        _GET_AGAIN,
    ),
    "image.tail.short": (
        Severity.DECISION,
        "The last of the image's {what} lacks {count} bytes, which would read as zeros.",
        "Compare the checksum with the sender's; accept this if the image was written so.",
    ),
    "image.header.invalid": (Severity.BLOCKER, "The image's {what} makes no sense: {why}.", _GET_AGAIN),
    "image.checksum.wrong": (Severity.BLOCKER, "The checksum of the image's {what} is wrong.", _GET_AGAIN),
    "image.table.oversized": (
        Severity.BLOCKER,
        "The image's {what} claims {count} entries; at most {limit} are possible.",
        _DISTRUST,
    ),
    "image.table.outside": (
        Severity.BLOCKER,
        "The image's {what} lies at byte {start}, outside the file of {size} bytes.",
        _GET_AGAIN,
    ),
    "image.circular": (
        Severity.BLOCKER,
        "The image's {what} points to {where}, so that parts of the image overlap.",
        _DISTRUST,
    ),
    "image.encrypted": (
        Severity.BLOCKER,
        "The image is encrypted ({method}).",
        "Decrypt it where it comes from; encryption inside the guest is no obstacle.",
    ),
    "image.checks.partial": (
        Severity.INFO,
        "The image has more tables than are read beforehand; {count} bytes of them were checked.",
        "",
    ),
    "image.raw.text-descriptor": (
        Severity.BLOCKER,
        "The image begins with a text that describes other files instead of a disk's first sector.",
        _DISTRUST,
    ),
    "image.raw.odd-length": (
        Severity.INFO,
        "The raw image's {size} bytes are not whole sectors; the last sector is filled up with zeros.",
        "",
    ),
    "image.qcow2.backing-file": (
        Severity.BLOCKER,
        "The image is only the difference to another file ({name}) on the machine that opens it.",
        _GET_PLAIN,
    ),
    "image.qcow2.data-file": (
        Severity.BLOCKER,
        "The image keeps its data in another file ({name}) on the machine that opens it.",
        _GET_PLAIN,
    ),
    "image.qcow2.unknown-feature": (
        Severity.BLOCKER,
        "The image needs features that are not known here (bits {bits}).",
        "Convert it with the program that wrote it to qcow2 with compat=1.1.",
    ),
    "image.qcow2.corrupt": (
        Severity.BLOCKER,
        "The image is marked as corrupt.",
        "Repair it where it comes from (qemu-img check -r all) and look at the guest's data.",
    ),
    "image.qcow2.dirty": (
        Severity.WARNING,
        "The image was not closed properly; its data can be read.",
        "Prefer an image of a VM that was shut down.",
    ),
    "image.qcow2.internal-snapshots": (
        Severity.WARNING,
        "The image holds {count} internal snapshots; only the present state is carried.",
        "Convert each snapshot of its own if it is needed (qemu-img convert -l).",
    ),
    "image.vmdk.host-extent": (
        Severity.BLOCKER,
        "The VMDK keeps its data in other files ({name}) on the machine that opens it.",
        "Ask for a monolithicSparse or streamOptimized VMDK.",
    ),
    "image.vmdk.parent": (
        Severity.BLOCKER,
        "The VMDK is only the difference to another disk ({name}).",
        "Consolidate the snapshots where it comes from, and export again.",
    ),
    "image.vmdk.descriptor": (Severity.BLOCKER, "The VMDK's descriptor is not usable: {why}.", _DISTRUST),
    "image.vhd.differencing": (
        Severity.BLOCKER,
        "The VHD is only the difference to another disk ({name}).",
        "Merge it into its parent where it comes from, and export again.",
    ),
    "image.vhd.geometry": (
        Severity.INFO,
        "The VHD's geometry covers {chs} bytes, its stated size {size}; the stated size counts.",
        "",
    ),
    "image.vhdx.parent": (
        Severity.BLOCKER,
        "The VHDX is only the difference to another disk.",
        "Merge it into its parent where it comes from, and export again.",
    ),
    "image.vhdx.log": (
        Severity.BLOCKER,
        "The VHDX was not closed properly: its log holds changes that are not in the disk yet.",
        "Open and close it where it comes from (Mount-VHD, or qemu-img check -r all).",
    ),
    "image.vdi.differencing": (
        Severity.BLOCKER,
        "The VDI is only the difference to another disk.",
        "Clone it where it comes from (VBoxManage clonemedium), and export again.",
    ),
    "ova.header.invalid": (Severity.BLOCKER, "The OVA is not a sound tar archive: {why}.", _GET_AGAIN),
    "ova.truncated": (Severity.BLOCKER, "The OVA ends inside {name}.", _GET_AGAIN),
    "ova.member.absolute": (
        Severity.BLOCKER,
        "The OVA holds a file with an absolute name: {name}.",
        _DISTRUST,
    ),
    "ova.member.traversal": (Severity.BLOCKER, "The OVA holds a file outside itself: {name}.", _DISTRUST),
    "ova.member.link": (Severity.BLOCKER, "The OVA holds a link: {name} to {target}.", _DISTRUST),
    "ova.member.device": (
        Severity.BLOCKER,
        "The OVA holds something that is no file (a device, pipe or directory): {name}.",
        _DISTRUST,
    ),
    "ova.member.sparse": (
        Severity.BLOCKER,
        "The OVA holds a sparse file: {name}.",
        "Make the archive with plain files (tar --format=ustar, without --sparse).",
    ),
    "ova.member.duplicate": (Severity.BLOCKER, "The OVA holds the name {name} twice.", _DISTRUST),
    "ova.member.oversized": (
        Severity.BLOCKER,
        "The OVA's {name} claims {size} bytes; at most {limit} are accepted.",
        _DISTRUST,
    ),
    "ova.member.missing": (
        Severity.BLOCKER,
        "The package does not hold {name}, which it refers to.",
        _GET_AGAIN,
    ),
    "ova.member.count": (Severity.BLOCKER, "The OVA holds more than {limit} files.", _DISTRUST),
    "ova.descriptor.count": (
        Severity.BLOCKER,
        "The package holds {count} descriptors; there must be exactly one file with the ending .ovf.",
        _GET_AGAIN,
    ),
    "ova.manifest.missing": (
        Severity.DECISION,
        "The package has no manifest (.mf), so nothing shows that its files arrived unchanged.",
        "Compare the checksum of the whole package with the sender's, then accept this.",
    ),
    "ova.manifest.invalid": (Severity.BLOCKER, "The manifest's line {line} makes no sense.", _GET_AGAIN),
    "ova.manifest.incomplete": (Severity.BLOCKER, "The manifest does not name {name}.", _DISTRUST),
    "ova.manifest.mismatch": (
        Severity.BLOCKER,
        "{name} is not the file that the manifest names: its {algorithm} differs.",
        _GET_AGAIN,
    ),
    "ova.manifest.weak": (
        Severity.WARNING,
        "The manifest uses {algorithm}, which shows accidents but does not stop a forger.",
        "Ask for a manifest with SHA256 where the way the package came is not trusted.",
    ),
    "ova.certificate.unchecked": (
        Severity.INFO,
        "The package is signed ({name}); the signature was not checked.",
        "",
    ),
    "ovf.xml.hostile": (
        Severity.BLOCKER,
        "The descriptor declares XML entities or a document type, which no OVF needs.",
        _DISTRUST,
    ),
    "ovf.xml.invalid": (Severity.BLOCKER, "The descriptor cannot be read: {why}.", _GET_AGAIN),
    "ovf.content.invalid": (Severity.BLOCKER, "The descriptor's {what} makes no sense: {why}.", _GET_AGAIN),
    "ovf.system.count": (
        Severity.BLOCKER,
        "The descriptor holds {count} virtual systems; packages with exactly one are read.",
        "Export each virtual machine into a package of its own.",
    ),
    "ovf.href.outside": (
        Severity.BLOCKER,
        "The descriptor refers to a file outside the package: {name}.",
        _DISTRUST,
    ),
    "ovf.file.compressed": (
        Severity.BLOCKER,
        "The package's {name} is compressed or split ({how}), which is not supported.",
        "Export again without compression; streamOptimized VMDKs are compressed inside.",
    ),
    "ovf.disk.parent": (
        Severity.BLOCKER,
        "The disk {name} is only the difference to another disk.",
        "Consolidate the snapshots where it comes from, and export again.",
    ),
    "ovf.disk.size": (
        Severity.BLOCKER,
        "The descriptor says {stated} bytes for the disk {name}, its image {found}.",
        _GET_AGAIN,
    ),
    "ovf.section.unknown": (
        Severity.BLOCKER,
        "The descriptor requires the section {name}, which is not known here.",
        "Export again without it.",
    ),
    "ovf.hardware.unmapped": (
        Severity.WARNING,
        "The descriptor's {what} {name} is not known here; {used} is used.",
        "Look whether the guest has the driver for it.",
    ),
}


def finding(code: str, **facts: str | int) -> Finding:
    """Make the finding ``code`` of the table above. Texts from the image are shortened and made printable."""
    severity, text, remedy = CODES[code]
    shown = {name: _printable(value) for name, value in facts.items()}
    return Finding(
        code=code,
        severity=severity,
        subject="image",
        text=text.format(**shown),
        remedy=remedy.format(**shown),
    )


def refuse(findings: Iterable[Finding], subject: str, accept: Collection[str] = ()) -> None:
    """Return if nothing stops. Raise Refused with all blockers, or Blocked with all decisions not in
    ``accept``.

    The error's code is that of the first of them; its text and remedy are those of all.
    """
    every = list(findings)
    blockers = [each for each in every if each.severity is Severity.BLOCKER]
    if blockers:
        raise errors.Refused(
            blockers[0].code,
            _texts(f"{subject} is refused.", blockers),
            remedy=_remedies(blockers),
            field=subject,
        )
    open_ones = [each for each in every if each.severity is Severity.DECISION and each.code not in accept]
    if open_ones:
        raise errors.Blocked(
            open_ones[0].code,
            _texts(f"{subject} needs a decision.", open_ones),
            remedy=_remedies(open_ones),
            field=subject,
        )


def _texts(first: str, findings: Iterable[Finding]) -> str:
    return " ".join([first, *(f"{each.text} ({each.code})" for each in findings)])


def _remedies(findings: Iterable[Finding]) -> str:
    return " ".join(dict.fromkeys(each.remedy for each in findings if each.remedy))


def _printable(value: str | int) -> str:
    text = str(value)
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[:80])
    return shown + ("…" if len(text) > 80 else "")
