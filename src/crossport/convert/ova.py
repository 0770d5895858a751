"""Look into an OVA, or the directory of an OVF, without unpacking anything.

An OVA is a tar archive of plain files. It is read by our own reader of tar headers instead of an unpacking
library: only regular files with plain names are admitted, everything else (paths, links, devices, sparse
files, a name twice) is a finding, and nothing is ever written under a name that the archive chose. A disk
is inspected and converted where it lies in the archive.
"""

import hashlib
import re
import tarfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from crossport import errors
from crossport.convert.findings import finding
from crossport.convert.ovf_read import MAX_DESCRIPTOR, plain_name
from crossport.convert.reader import Reader, SliceReader, Truncated, opened
from crossport.model.finding import Finding
from crossport.units import MIB, TIB

__all__ = ["Member", "archive_members", "directory_members", "manifest_findings"]

_BLOCK = 512
_MAX_MEMBERS = 512
_MAX_MEMBER = 64 * TIB
_MAX_EXTENDED = 64 << 10
_MAX_WRONG_LINES = 16
_REGULAR = {b"0", b"\0", b"7"}
_LINKS = {b"1", b"2"}
_LONG_NAME, _EXTENDED, _EXTENDED_ALL, _SPARSE = b"L", b"x", b"g", b"S"
_MANIFEST_LINE = re.compile(r"^\s*(SHA1|SHA256|SHA512)\s*\((.+)\)\s*=\s*([0-9a-fA-F]+)\s*$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a package: ``size`` bytes from ``start`` of the file ``path``."""

    name: str
    path: Path
    start: int
    size: int

    def window(self) -> tuple[int, int] | None:
        """Return where an image tool finds it, in whole sectors: an archive fills up with zeros."""
        return (self.start, -(-self.size // _BLOCK) * _BLOCK) if self.start else None


@dataclass(slots=True)
class _Pending:
    """What the headers before a file say about it."""

    name: str = ""
    size: int | None = None


def archive_members(path: Path, reader: Reader) -> tuple[dict[str, Member], list[Finding]]:
    """Return the files of the OVA ``path``, by name, and what stands against the archive."""
    members: dict[str, Member] = {}
    findings: list[Finding] = []
    try:
        for name, kind, target, start, size in _entries(reader):
            wrong = list(_entry_findings(name, kind, target, size))
            if name.casefold() in (known.casefold() for known in members):
                wrong.append(finding("ova.member.duplicate", name=name))
            if len(members) >= _MAX_MEMBERS:
                return members, [*findings, finding("ova.member.count", limit=_MAX_MEMBERS)]
            findings += wrong
            if not wrong:
                members[name] = Member(name, path, start, size)
    except Truncated as error:
        findings.append(finding("ova.truncated", name=error.what))
    except tarfile.TarError as error:
        findings.append(finding("ova.header.invalid", why=str(error)))
    return members, findings


def directory_members(descriptor: Path) -> dict[str, Member]:
    """Return the plain files beside an OVF descriptor, by name. Links are not followed and not returned."""
    members: dict[str, Member] = {}
    for path in sorted(descriptor.parent.iterdir()):
        another = path.suffix.lower() == ".ovf" and path.name != descriptor.name
        if path.is_symlink() or not path.is_file() or another or not plain_name(path.name):
            continue
        members[path.name] = Member(path.name, path, 0, path.stat().st_size)
    return members


def manifest_findings(
    members: dict[str, Member], descriptor: str, needed: Collection[str], told: Callable[[float], None]
) -> Iterator[Finding]:
    """Compare files with the manifest beside ``descriptor``; the algorithm is the one that each line names.

    Every one of ``needed`` must be in it, and whatever is in it must be there. ``told`` hears the share of
    bytes that are done.
    """
    stem = descriptor.rpartition(".")[0]
    names = [name for name in needed if name.lower().endswith(".mf")]
    chosen = f"{stem}.mf" if f"{stem}.mf" in members else (names[0] if len(names) == 1 else "")
    signatures = [name for name in needed if name.lower().endswith(".cert")]
    for name in signatures:
        yield finding("ova.certificate.unchecked", name=name)
    if not chosen:
        yield finding("ova.manifest.missing")
        return
    stated, wrong = _manifest(_content(members[chosen]))
    wrong += [finding("ova.member.missing", name=name) for name in stated if name not in members]
    unnamed = [name for name in needed if name not in {chosen, *signatures, *stated}]
    wrong += [finding("ova.manifest.incomplete", name=name) for name in unnamed]
    yield from wrong
    yield from _weak(stated)
    if not wrong:
        yield from _compared(members, stated, told)


def _weak(stated: dict[str, tuple[str, str]]) -> Iterator[Finding]:
    if any(algorithm == "sha1" for algorithm, _ in stated.values()):
        yield finding("ova.manifest.weak", algorithm="SHA1")


def _manifest(content: bytes) -> tuple[dict[str, tuple[str, str]], list[Finding]]:
    """Return algorithm and digest by file name."""
    stated: dict[str, tuple[str, str]] = {}
    findings: list[Finding] = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip():
            continue
        found = _MANIFEST_LINE.match(line) if len(stated) < _MAX_MEMBERS else None
        if not found or found[2] in stated or len(found[3]) != hashlib.new(found[1].lower()).digest_size * 2:
            findings.append(finding("ova.manifest.invalid", line=number))
            if len(findings) == _MAX_WRONG_LINES:
                break
            continue
        stated[found[2]] = (found[1].lower(), found[3].lower())
    return stated, findings


def _compared(
    members: dict[str, Member], stated: dict[str, tuple[str, str]], told: Callable[[float], None]
) -> Iterator[Finding]:
    checked = [members[name] for name in stated if name in members]
    total, done = sum(member.size for member in checked) or 1, 0
    for member in checked:
        algorithm, digest = stated[member.name]
        running = hashlib.new(algorithm, usedforsecurity=False)
        with opened(member.path) as reader:
            for start in range(member.start, member.start + member.size, MIB):
                running.update(reader.read_at(start, min(MIB, member.start + member.size - start)))
                done += MIB
                told(min(done / total, 1.0))
        if running.hexdigest() != digest:
            yield finding("ova.manifest.mismatch", name=member.name, algorithm=algorithm.upper())


def _content(member: Member) -> bytes:
    if member.size > MAX_DESCRIPTOR:
        found = finding("ova.member.oversized", name=member.name, size=member.size, limit=MAX_DESCRIPTOR)
        raise errors.Refused(found.code, found.text, remedy=found.remedy)
    with ExitStack() as stack:
        reader = stack.enter_context(opened(member.path))
        return SliceReader(reader, member.start, member.size).read_at(0, member.size)


def _entries(reader: Reader) -> Iterator[tuple[str, bytes, str, int, int]]:
    """Yield name, type, link target, start and size of each entry (POSIX.1-1988 ustar, with the usual
    extensions).

    Raise tarfile.HeaderError for a header that is not one, Truncated where the archive ends too early.
    """
    place, pending, seen = 0, _Pending(), 0
    while place + _BLOCK <= reader.size:
        if seen == 4 * _MAX_MEMBERS:
            raise tarfile.HeaderError(f"more than {seen} headers")
        block = reader.read_at(place, _BLOCK)
        if not any(block):
            return
        # Only the fixed header is left to the library: it checks the sum and decodes the numbers.
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        place, seen = place + _BLOCK, seen + 1
        size = pending.size if pending.size is not None and header.type in _REGULAR else header.size
        name = pending.name or header.name
        if size < 0:
            raise tarfile.HeaderError("negative size")
        if header.type in {_LONG_NAME, _EXTENDED, _EXTENDED_ALL}:
            _extend(pending, header.type, _extension(reader, place, size))
        else:
            # A link has no content, whatever its header says (POSIX pax, "size").
            size = 0 if header.type in _LINKS else size
            if place + size > reader.size:
                raise Truncated(name, place + size, reader.size)
            yield _decoded(name), header.type, _decoded(header.linkname), place, size
            pending = _Pending()
        place += -(-size // _BLOCK) * _BLOCK
    if place > reader.size:
        raise Truncated("the last file", place, reader.size)


def _extension(reader: Reader, place: int, size: int) -> bytes:
    if size > _MAX_EXTENDED:
        raise tarfile.HeaderError(f"an extended header of {size} bytes")
    return reader.read_at(place, size, "an extended header")


def _extend(pending: _Pending, kind: bytes, content: bytes) -> None:
    if kind == _LONG_NAME:
        pending.name = content.rstrip(b"\0").decode("utf-8", "surrogateescape")
        return
    for line in content.split(b"\n"):
        key, _, value = line.partition(b" ")[2].partition(b"=")
        if key.startswith(b"GNU.sparse"):
            raise tarfile.HeaderError("a sparse file")
        if kind == _EXTENDED and key == b"path":
            pending.name = value.decode("utf-8", "surrogateescape")
        if kind == _EXTENDED and key == b"size":
            if not re.fullmatch(rb"[0-9]{1,19}", value):
                raise tarfile.HeaderError("a size that is no number")
            pending.size = int(value)


def _entry_findings(name: str, kind: bytes, target: str, size: int) -> Iterator[Finding]:
    if kind in _LINKS:
        yield finding("ova.member.link", name=name, target=target)
    elif kind == _SPARSE:
        yield finding("ova.member.sparse", name=name)
    elif kind not in _REGULAR:
        yield finding("ova.member.device", name=name)
    if name.startswith(("/", "\\")) or re.match(r"^[A-Za-z]:", name):
        yield finding("ova.member.absolute", name=name)
    elif not plain_name(name):
        yield finding("ova.member.traversal", name=name)
    small = name.lower().endswith((".ovf", ".mf", ".cert"))
    limit = MAX_DESCRIPTOR if small else _MAX_MEMBER
    if size > limit:
        yield finding("ova.member.oversized", name=name, size=size, limit=limit)


def _decoded(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").removeprefix("./")
