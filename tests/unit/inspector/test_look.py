"""What a site believes of a worker that looked into a guest: a worker whose guest may have taken it over."""

import base64
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from crossport import errors
from crossport.inspector.content import PIECE
from crossport.inspector.look import LIMIT_S, SCAN_LIMIT_S, GuestLook
from crossport.model.artifact import DiskRef, Place
from crossport.model.inspection import Guest
from crossport.transfer.host import Journal, Way, Worker

DISKS = (DiskRef(kind="file", locator="/a", size=1), DiskRef(kind="file", locator="/b", size=1))
HERE = Place(cloud="beta", subnet="import", address="10.0.0.1")
FACTS: dict[str, Any] = {
    "system": "debian",
    "release": "12",
    "title": "Debian",
    "hostname": "web",
    "listed": True,
    "unread": [],
}
GUEST: dict[str, Any] = {"event": "guest", "count": 1, **FACTS}
DONE = {"event": "done"}
BASH = {"event": "packages", "packages": [["deb", "bash", "5", "amd64"]]}


class Saying:
    """The host of one worker, which says what it was made with."""

    name, certificate = "the worker", ""

    def __init__(self, *events: dict[str, Any]) -> None:
        self._events = list(events)
        self.job = dict[str, Any]()
        self.asked: tuple[object, ...] = ()

    async def give(self, line: bytes) -> None:
        self.job = json.loads(line)

    async def said(self) -> dict[str, Any]:
        return self._events.pop(0)

    async def forget(self, run: str) -> None:
        raise AssertionError(run)

    @contextlib.asynccontextmanager
    async def started(
        self,
        way: Way,
        ref: DiskRef,
        place: Place,
        journal: Journal | None = None,
        stock: str = "",
        published: tuple[DiskRef, ...] = (),
    ) -> AsyncGenerator[Worker]:
        self.asked = (way, ref, place, journal, stock, published)
        yield Worker(self)


async def there() -> None:
    """Nothing stands in the way."""


async def test_the_worker_gets_every_disk_and_what_it_found_comes_back():
    host = Saying({"event": "progress"}, BASH, GUEST, DONE)
    guest = await GuestLook(host, there).look(DISKS, HERE)
    assert host.asked == ("inspect", DISKS[0], HERE, None, "", DISKS[1:])
    assert [disk["locator"] for disk in host.job["disks"]] == ["/a", "/b"]
    assert (guest.title, [one.name for one in guest.packages]) == ("Debian", ["bash"])


@pytest.mark.parametrize(
    "events",
    [
        [{"event": "packages", "packages": "bash"}],
        [{"event": "packages", "packages": []}],
        [{"event": "packages", "packages": [["deb", "bash", "5", "amd64"]] * 201}],
        [{"event": "packages", "packages": [["deb", "bash"]]}, GUEST],
        [{"event": "packages", "packages": [["exe", "bash", "5", ""]]}, GUEST],
        [{"event": "packages", "packages": [["deb", "ba\u001bsh", "5", ""]]}, GUEST],
        [{"event": "packages", "packages": [7]}, GUEST],
        [GUEST],
        [BASH, DONE],
        [BASH, GUEST, GUEST],
        [BASH, GUEST, BASH, DONE],
        [BASH, {**GUEST, "packages": [], "made": True}],
        [BASH, {**GUEST, "title": 7}],
        [{"event": "listening", "port": 1}],
        [{}],
    ],
)
async def test_a_worker_that_tells_nothing_sound_is_not_believed(events: list[dict[str, Any]]):
    with pytest.raises(errors.Broken) as caught:
        await GuestLook(Saying(*events), there).look(DISKS, HERE)
    assert caught.value.code == "inspect.worker.malformed"


async def test_what_a_worker_fails_with_is_raised():
    failed = {
        "event": "failed",
        "kind": "Refused",
        "code": "inspect.time.exceeded",
        "text": "t",
        "remedy": "r",
    }
    with pytest.raises(errors.Refused) as caught:
        await GuestLook(Saying(failed), there).look(DISKS, HERE)
    assert caught.value.code == "inspect.time.exceeded"


class Hearing:
    """A scanner that keeps what it is given, and calls a file malware that says so."""

    def __init__(self) -> None:
        self.files: list[tuple[str, bytes]] = []

    async def ready(self) -> None:
        """It is there."""

    async def scan(self, path: str, size: int, pieces: AsyncIterator[bytes]) -> None:
        content = b"".join([piece async for piece in pieces])
        assert len(content) == size
        self.files.append((path, content))
        if content == b"malware":
            raise errors.Refused("image.malware", "There is some.", remedy="Clean it.")


def file(size: Any, path: Any = "0/a") -> dict[str, Any]:
    return {"event": "file", "path": path, "size": size}


def piece(content: bytes) -> dict[str, Any]:
    return {"event": "piece", "data": base64.b64encode(content).decode()}


async def test_every_file_that_a_worker_hands_out_is_scanned():
    events = [
        BASH,
        GUEST,
        file(3),
        piece(b"ab"),
        {"event": "progress"},
        piece(b"c"),
        file(1, "1/\x1b"),
        piece(b"d"),
        DONE,
    ]
    host, scanner = Saying(*events), Hearing()
    guest = await GuestLook(host, there, scanner=scanner).look(DISKS, HERE, scan=True)
    assert scanner.files == [("0/a", b"abc"), ("1/?", b"d")]
    assert guest.scanned == 2
    assert (host.job["limit_s"], host.job["scan_limit_s"]) == (LIMIT_S, SCAN_LIMIT_S)


async def test_what_a_guest_is_is_told_before_its_first_file_is_scanned_and_whatever_that_brings():
    host, told = Saying(BASH, GUEST, file(7), piece(b"malware"), DONE), list[Guest]()
    scanner = Hearing()

    async def found(guest: Guest) -> None:
        assert scanner.files == []
        told.append(guest)

    with pytest.raises(errors.Refused):
        await GuestLook(host, there, scanner=scanner).look(DISKS, HERE, scan=True, found=found)
    assert [(one.title, one.scanned, len(one.packages)) for one in told] == [("Debian", 0, 1)]


async def test_files_before_the_guest_are_not_believed():
    host = Saying(file(1), piece(b"a"), BASH, GUEST, DONE)
    with pytest.raises(errors.Broken):
        await GuestLook(host, there, scanner=Hearing()).look(DISKS, HERE, scan=True)


async def test_malware_ends_the_look():
    host = Saying(BASH, GUEST, file(7), piece(b"malware"), DONE)
    with pytest.raises(errors.Refused) as caught:
        await GuestLook(host, there, scanner=Hearing()).look(DISKS, HERE, scan=True)
    assert caught.value.code == "image.malware"


@pytest.mark.parametrize(
    "events",
    [
        [piece(b"a")],
        [file(0)],
        [file(-1)],
        [file(True)],
        [file("1")],
        [file(1, 7)],
        [file(1), DONE],
        [file(1), file(1)],
        [file(1), piece(b"")],
        [file(1), piece(b"ab")],
        [file(2 * PIECE), piece(bytes(PIECE + 1))],
        [file(1), {"event": "piece", "data": "no base64!"}],
        [file(1), {"event": "piece", "data": 7}],
    ],
)
async def test_files_that_are_none_are_not_believed(events: list[dict[str, Any]]):
    with pytest.raises(errors.Broken) as caught:
        await GuestLook(Saying(BASH, GUEST, *events), there, scanner=Hearing()).look(DISKS, HERE, scan=True)
    assert caught.value.code == "inspect.worker.malformed"


async def test_files_that_nobody_asked_for_are_not_believed():
    with pytest.raises(errors.Broken):
        await GuestLook(Saying(BASH, GUEST, file(1), piece(b"a"), DONE), there, scanner=Hearing()).look(
            DISKS, HERE
        )


async def test_a_worker_does_not_say_itself_what_was_scanned():
    guest = await GuestLook(Saying(BASH, {**GUEST, "scanned": 9}, DONE), there, scanner=Hearing()).look(
        DISKS, HERE, scan=True
    )
    assert guest.scanned == 0


async def test_without_a_clamd_the_setting_is_named():
    look = GuestLook(Saying(), there)
    await look.ready(HERE)
    for asked in (look.ready(HERE, scan=True), look.look(DISKS, HERE, scan=True)):
        with pytest.raises(errors.Refused) as caught:
            await asked
        assert (caught.value.code, caught.value.field) == ("image.scan.unset", "clamd")
