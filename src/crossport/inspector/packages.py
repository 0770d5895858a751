"""Read a guest's databases of packages: dpkg's and apk's text, rpm's SQLite. All of them may be hostile."""

import re
import sqlite3
import struct
from collections.abc import Callable, Iterator

from crossport import errors
from crossport.inspector.answer import Answer
from crossport.model.inspection import Guest, GuestPackage, PackageKind

__all__ = ["MAX_PACKAGES", "guest_of"]

MAX_PACKAGES = 200_000
_WORD = re.compile(r"[\x21-\x7e]{1,300}")
_SHELL = re.compile(r"""([A-Z_]+)=(?:"([^"]*)"|'([^']*)'|(\S*))""")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_RPM_NAME, _RPM_VERSION, _RPM_RELEASE, _RPM_EPOCH, _RPM_ARCHITECTURE = 1000, 1001, 1002, 1003, 1022
_INT32, _TEXTS = 4, frozenset((6, 8, 9))


def guest_of(answer: Answer) -> Guest:
    """Return what the files say of the guest; raise Refused for a database that is none."""
    known = _released(answer)
    found: dict[GuestPackage, None] = {}
    listed = False
    for (_, path), text in sorted(answer.files.items()):
        reader = next((read for end, read in _READERS.items() if path.endswith(end)), None)
        if reader is None:
            continue
        listed = True
        for package in reader(text):
            found[package] = None
            if len(found) > MAX_PACKAGES:
                raise _unsound(path, f"it names more than {MAX_PACKAGES} packages")
    return Guest(
        system=_line(known.get("ID", "")),
        release=_line(known.get("VERSION_ID", "")),
        title=_line(known.get("PRETTY_NAME", "")),
        hostname=_line(_first(answer, "etc/hostname").partition(b"\n")[0].decode("utf-8", "replace").strip()),
        listed=listed,
        packages=tuple(found),
        unread=tuple(_line(one.device) for one in answer.systems if one.kind == "none"),
    )


def _released(answer: Answer) -> dict[str, str]:
    text = _first(answer, "etc/os-release") or _first(answer, "lib/os-release")
    lines = text[: 64 << 10].decode("utf-8", "replace").splitlines()
    matches = filter(None, map(_SHELL.fullmatch, map(str.strip, lines)))
    return {one[1]: one[2] or one[3] or one[4] or "" for one in matches}


def _first(answer: Answer, end: str) -> bytes:
    return next((text for (_, path), text in sorted(answer.files.items()) if path.endswith(end)), b"")


def _line(text: str) -> str:
    return _CONTROL.sub("?", text)[:300]


def _dpkg(text: bytes) -> Iterator[GuestPackage]:
    for paragraph in text.decode("utf-8", "replace").split("\n\n"):
        lines = (line.partition(": ") for line in paragraph.splitlines() if line[:1].isalpha())
        facts = {name: value.strip() for name, _, value in lines}
        if facts.get("Status", "").endswith(" installed"):
            yield _package(
                PackageKind.DEB, facts.get("Package"), facts.get("Version"), facts.get("Architecture", "")
            )


def _apk(text: bytes) -> Iterator[GuestPackage]:
    for paragraph in text.decode("utf-8", "replace").split("\n\n"):
        facts = {line[:1]: line[2:].strip() for line in paragraph.splitlines() if line[1:2] == ":"}
        if facts:
            yield _package(PackageKind.APK, facts.get("P"), facts.get("V"), facts.get("A", ""))


def _rpm(text: bytes) -> Iterator[GuestPackage]:
    connection = sqlite3.connect(":memory:")
    try:
        connection.deserialize(text)
        for (blob,) in connection.execute("SELECT blob FROM Packages"):
            if not isinstance(blob, bytes):
                raise _unsound("rpmdb.sqlite", "a package is no header")
            yield _rpm_package(blob)
    except sqlite3.Error as error:
        raise _unsound("rpmdb.sqlite", str(error)) from error
    finally:
        connection.close()


def _rpm_package(blob: bytes) -> GuestPackage:
    """Read a header of rpm: counts, an index (tag, type, offset and count for each entry), and the data."""
    try:
        entries, size = struct.unpack_from(">II", blob)
        start = 8 + 16 * entries
        data = blob[start : start + size]
        index = {entry[0]: entry for entry in struct.iter_unpack(">IIII", blob[8:start])}
    except struct.error as error:
        raise _unsound("rpmdb.sqlite", "a package is no header") from error

    def text(tag: int) -> str:
        _, kind, offset, _ = index.get(tag, (tag, 0, 0, 0))
        return data[offset:].partition(b"\0")[0].decode("utf-8", "replace") if kind in _TEXTS else ""

    _, kind, offset, _ = index.get(_RPM_EPOCH, (0, 0, 0, 0))
    number = data[offset : offset + 4] if kind == _INT32 else b""
    epoch = f"{int.from_bytes(number, 'big')}:" if number else ""
    version = f"{epoch}{text(_RPM_VERSION)}-{text(_RPM_RELEASE)}"
    return _package(PackageKind.RPM, text(_RPM_NAME), version, text(_RPM_ARCHITECTURE))


def _package(kind: PackageKind, name: str | None, version: str | None, architecture: str) -> GuestPackage:
    words = (name or "", version or "", architecture or "none")
    if not all(map(_WORD.fullmatch, words)):
        raise _unsound(kind, f"a package is called {words[0][:60]!r} {words[1][:60]!r}")
    return GuestPackage(kind=kind, name=words[0], version=words[1], architecture=architecture)


def _unsound(what: str, why: str) -> errors.Refused:
    return errors.Refused(
        "inspect.packages.malformed",
        f"The guest's database of packages ({what}) cannot be believed: {why}.",
        remedy="Repair it in the guest at the source, then migrate again.",
    )


_READERS: dict[str, Callable[[bytes], Iterator[GuestPackage]]] = {
    "lib/dpkg/status": _dpkg,
    "rpmdb.sqlite": _rpm,
    "lib/apk/db/installed": _apk,
}
