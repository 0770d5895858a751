"""Read what the appliance tells: one tar archive of few, small files, from whoever may have taken it over.

Nothing is unpacked. What was looked at is told last: without it something is missing. An archive that is
cut, too large, or not one, is refused by name.
"""

import tarfile
from dataclasses import dataclass, field
from typing import BinaryIO

from crossport import errors
from crossport.units import MIB, size_text

__all__ = ["MAX_FILE", "FileSystem", "Answer", "answer_in"]

MAX_FILE = 192 * MIB
"""Bytes of a file that is read: databases of packages are far smaller."""
MAX_FILES = 64
_REPORT = "report"


@dataclass(frozen=True, slots=True)
class FileSystem:
    """A part of a disk, and what it was mounted as; ``none`` is what nothing here can read."""

    device: str
    kind: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The files that were there, by file system (its number) and path, and all that was looked at."""

    systems: tuple[FileSystem, ...]
    files: dict[tuple[int, str], bytes] = field(default_factory=dict[tuple[int, str], bytes])


def answer_in(stream: BinaryIO) -> Answer:
    """Read an archive from ``stream``; raise Refused (``inspect.answer.…``)."""
    report: bytes | None = None
    files: dict[tuple[int, str], bytes] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for count, member in enumerate(archive):
                if count >= MAX_FILES:
                    raise _malformed(f"it has more than {MAX_FILES} files")
                if not member.isreg():
                    continue
                text = _content(archive, member)
                if member.name == _REPORT:
                    report = text
                    continue
                number, _, path = member.name.partition("/")
                if not (number.isascii() and number.isdigit() and len(number) < 4):
                    raise _malformed("it names files outside the guest")
                files.setdefault((int(number), path), text)
    except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
        raise _malformed("it is no archive") from error
    if report is None:
        raise _malformed("it does not say what was looked at")
    return Answer(_systems(report), files)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_FILE:
        raise errors.Refused(
            "inspect.answer.large",
            f"The guest's file {member.name[:80]!r} has {size_text(member.size)}; "
            f"{size_text(MAX_FILE)} are read.",
            remedy="Look into the guest at its source: no list of packages is so large.",
        )
    opened = archive.extractfile(member)
    text = opened.read() if opened else b""
    if len(text) != member.size:
        raise _malformed("it is cut off")
    return text


def _systems(report: bytes) -> tuple[FileSystem, ...]:
    lines = [line.split() for line in report.decode("ascii", "replace").splitlines()[:256]]
    return tuple(FileSystem(line[0][:32], line[1][:32]) for line in lines if len(line) == 2)


def _malformed(why: str) -> errors.Refused:
    return errors.Refused(
        "inspect.answer.malformed",
        f"What the inspection appliance says of the guest makes no sense: {why}.",
        remedy="Its file systems are damaged, or made to break whoever reads them. Look into the guest at "
        "its source.",
    )
