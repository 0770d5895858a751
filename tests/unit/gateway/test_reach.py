"""Which files a gateway opens, whatever its site says."""

import asyncio
from pathlib import Path

import pytest
from tests.unit.gateway.rig import Site, Workers, place

from crossport import errors
from crossport.gateway.reach import Reach
from crossport.model.artifact import DiskRef


def file(path: Path) -> DiskRef:
    return DiskRef(kind="file", locator=str(path), size=1)


def refused(reach: Reach, ref: DiskRef) -> bool:
    try:
        reach.check(ref)
    except errors.Refused as error:
        return error.code == "gateway.disk.outside"
    return False


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("own", "disks", "etc"):
        (tmp_path / name).mkdir()
    (tmp_path / "disks/link").symlink_to(tmp_path / "etc")
    return tmp_path


def test_only_what_lies_below_the_directories_of_disks_is_opened(home: Path):
    reach = Reach(home / "own", [home / "disks"])
    assert not refused(reach, file(home / "disks/web.raw"))
    for path in ("etc/shadow", "disks/../etc/shadow", "disks/link/shadow", "disks2/web.raw", "own/key.pem"):
        assert refused(reach, file(home / path)), path


def test_what_says_which_parts_changed_hides_no_path(home: Path):
    reach = Reach(home / "own", [home / "disks"])
    changed = DiskRef(kind="file", locator=f"{home}/etc/shadow?changed=0+1", size=1)
    assert refused(reach, changed)


def test_sockets_are_judged_and_servers_on_the_network_are_not(home: Path):
    reach = Reach(home / "own", [home / "disks"])
    for where, outside in ((f"unix:{home}/disks/a.sock", False), (f"unix:{home}/etc/a%2Esock", True)):
        assert refused(reach, DiskRef(kind="nbd", locator=f"{where}?export=x", size=1)) is outside
    assert not refused(reach, DiskRef(kind="nbd", locator="tcp:192.0.2.1:10809?export=x", size=1))
    assert not refused(reach, DiskRef(kind="noise", locator="1", size=1))


def test_without_directories_all_but_the_gateway_s_own_is_opened(home: Path):
    reach = Reach(home / "own")
    assert not refused(reach, file(home / "etc/shadow"))
    (home / "etc/way").symlink_to(home / "own")
    assert refused(reach, file(home / "own/key.pem"))
    assert refused(reach, file(home / "etc/way/key.pem"))


async def test_a_site_cannot_read_a_gateway_s_key(site: Site):
    workers = Workers()
    one = await site.gateway(start=workers.start)
    async with asyncio.timeout(30):
        with pytest.raises(errors.Refused) as caught:
            async with site.hub.started("send", file(one.kept.directory / "key.pem"), place()):
                pass
    assert caught.value.code == "gateway.disk.outside"
    assert workers.all == []
