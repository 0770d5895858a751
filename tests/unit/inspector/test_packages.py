"""Reading what an appliance tells of a guest: archives and databases of packages, sound and hostile."""

import io
import sqlite3
import struct
import tarfile
from collections.abc import Iterable

import pytest

from crossport import errors
from crossport.inspector.answer import MAX_FILE, Answer, answer_in
from crossport.inspector.packages import guest_of
from crossport.model.inspection import Guest, GuestPackage, PackageKind

DPKG = b"""\
Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.15-2
Description: a shell
 Package: not-a-field

Package: gone
Status: deinstall ok config-files
Version: 1
"""
APK = b"C:Q1\nP:musl\nV:1.2.4-r2\nA:x86_64\n\n"


def archive(*files: tuple[str, bytes], report: bytes = b"vda ext4\nvdb none\n") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, text in (*files, ("report", report)):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    return made.getvalue()


def read(text: bytes) -> Answer:
    return answer_in(io.BytesIO(text))


def guest(*files: tuple[str, bytes]) -> Guest:
    return guest_of(read(archive(*files)))


def header(name: str, version: str, release: str, *, epoch: int | None = None) -> bytes:
    data, index = b"", b""
    for tag, text in ((1000, name), (1001, version), (1002, release), (1022, "x86_64")):
        index += struct.pack(">IIII", tag, 6, len(data), 1)
        data += text.encode() + b"\0"
    if epoch is not None:
        index += struct.pack(">IIII", 1003, 4, len(data), 1)
        data += struct.pack(">I", epoch)
    return struct.pack(">II", len(index) // 16, len(data)) + index + data


def rpm(headers: Iterable[object]) -> bytes:
    database = sqlite3.connect(":memory:")
    try:
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)")
        database.executemany("INSERT INTO Packages (blob) VALUES (?)", ((one,) for one in headers))
        database.commit()
        return database.serialize()
    finally:
        database.close()


def test_a_debian_tells_its_installed_packages_name_and_system():
    release = b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'
    found = guest(
        ("0/usr/lib/os-release", release), ("0/etc/hostname", b"web\n"), ("0/var/lib/dpkg/status", DPKG)
    )
    assert (found.system, found.release, found.title) == ("debian", "12", "Debian GNU/Linux 12 (bookworm)")
    assert (found.hostname, found.listed, found.unread) == ("web", True, ("vdb",))
    assert found.packages == (
        GuestPackage(kind=PackageKind.DEB, name="bash", version="5.2.15-2", architecture="amd64"),
    )


def test_a_database_on_a_file_system_of_its_own_counts():
    assert guest(("0/etc/hostname", b"web\n"), ("1/lib/dpkg/status", DPKG)).listed


def test_an_alpine_and_an_rpm_system_tell_theirs():
    (musl,) = guest(("0/lib/apk/db/installed", APK)).packages
    assert (musl.kind, musl.name, musl.version) == (PackageKind.APK, "musl", "1.2.4-r2")
    database = rpm([header("openssl", "3.0.7", "1.el9", epoch=1), header("bash", "5.1.8", "9.el9")])
    found = guest(("0/var/lib/rpm/rpmdb.sqlite", database)).packages
    assert [(one.name, one.version) for one in found] == [
        ("openssl", "1:3.0.7-1.el9"),
        ("bash", "5.1.8-9.el9"),
    ]


def test_a_guest_without_a_database_of_packages_says_so():
    assert not guest(("0/etc/hostname", b"\x1b[2Jevil\n")).listed
    assert guest(("0/etc/hostname", b"\x1b[2Jevil\n")).hostname == "?[2Jevil"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("var/lib/dpkg/status", b"Package: a b\nStatus: install ok installed\nVersion: 1\n"),
        ("var/lib/dpkg/status", b"Status: install ok installed\nVersion: 1\n"),
        ("var/lib/dpkg/status", b"Package: \xff\x00\nStatus: install ok installed\nVersion: 1\n"),
        ("lib/apk/db/installed", b"P:" + b"x" * 400 + b"\nV:1\n"),
        ("var/lib/rpm/rpmdb.sqlite", b"no database at all"),
        ("var/lib/rpm/rpmdb.sqlite", rpm([b"\xff" * 40])),
        ("var/lib/rpm/rpmdb.sqlite", rpm([b""])),
        ("var/lib/rpm/rpmdb.sqlite", rpm(["text"])),
        ("var/lib/rpm/rpmdb.sqlite", rpm([header("", "1", "1")])),
    ],
)
def test_a_database_that_makes_no_sense_is_refused(path: str, text: bytes):
    with pytest.raises(errors.Refused) as caught:
        guest((f"0/{path}", text))
    assert caught.value.code == "inspect.packages.malformed"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no archive" * 100,
        archive(("0/etc/hostname", b"x" * 5000))[:6144],
        archive(("../etc/hostname", b"x")),
        archive(("/etc/shadow", b"x")),
        archive(*((f"0/{number}", b"") for number in range(65))),
    ],
    ids=["nothing", "noise", "cut", "above", "absolute", "many"],
)
def test_an_archive_that_makes_no_sense_is_refused(text: bytes):
    with pytest.raises(errors.Refused) as caught:
        read(text)
    assert caught.value.code == "inspect.answer.malformed"


def test_a_file_that_is_too_large_is_refused_before_it_is_read():
    member = tarfile.TarInfo("0/var/lib/dpkg/status")
    member.size = MAX_FILE + 1
    with pytest.raises(errors.Refused) as caught:
        read(member.tobuf())
    assert caught.value.code == "inspect.answer.large"


def test_a_link_in_the_archive_is_passed_over():
    link = tarfile.TarInfo("0/etc/os-release")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/shadow"
    assert read(link.tobuf() + archive()).files == {}
