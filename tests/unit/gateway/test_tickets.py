"""Which tickets a gateway obeys, whatever its site says, and what it remembers of them over a restart."""

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from tests.unit.gateway.rig import job, place

from crossport import errors
from crossport.gateway import seat
from crossport.gateway.seat import Seat, Tickets
from crossport.gateway.ticket_log import TicketLog
from crossport.model.artifact import DiskRef, Way
from crossport.transfer.job import DigestJob

SEAT = Seat("acme", "alpha", "VMExportSubnet")


def admitted(tickets: Tickets, **changes: Any) -> object:
    return tickets.admit("send", job(**changes).line(), SEAT, now=time.time())


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"expires": 1.0}, "transfer.ticket.expired"),
        ({"way": Way.WRITE}, "transfer.ticket.way"),
        ({"byte_budget": 4095}, "transfer.ticket.budget"),
        ({"tenant": "other"}, "transfer.ticket.elsewhere"),
        ({"place": place(tenant="other")}, "transfer.ticket.elsewhere"),
        ({"place": place(cloud="beta")}, "transfer.ticket.elsewhere"),
        ({"place": place("VMImportSubnet")}, "transfer.ticket.elsewhere"),
        ({"hello": job(run="run-2").hello}, "transfer.ticket.foreign"),
        ({"hello": job(epoch=2).hello}, "transfer.ticket.foreign"),
    ],
    ids=["expired", "way", "budget", "tenant", "tenant's place", "cloud", "subnet", "run", "epoch"],
)
def test_a_ticket_that_is_not_for_this_gateway_is_refused(changes: dict[str, Any], code: str):
    with pytest.raises(errors.Refused) as caught:
        admitted(Tickets(), **changes)
    assert caught.value.code == code


def test_the_same_two_ends_may_present_it_again_and_a_higher_epoch_ends_it():
    tickets = Tickets()
    assert admitted(tickets) == admitted(tickets) == ("acme", "run-1", "disk-0", "read")
    admitted(tickets, epoch=2, nonce="second")
    with pytest.raises(errors.Refused) as caught:
        admitted(tickets)
    assert caught.value.code == "transfer.ticket.old"


@pytest.mark.parametrize(
    "changes",
    [
        {"ref": DiskRef(kind="file", locator="/srv/other", size=4096)},
        {"artifact": "disk-1"},
        {"run": "run-2"},
    ],
    ids=["disk", "artifact", "run"],
)
def test_a_ticket_that_comes_again_for_something_else_is_a_replay(changes: dict[str, Any]):
    tickets = Tickets()
    admitted(tickets)
    with pytest.raises(errors.Refused) as caught:
        admitted(tickets, **changes)
    assert caught.value.code == "transfer.ticket.replayed"


def test_what_is_remembered_ends_with_the_ticket():
    tickets = Tickets()
    admitted(tickets, epoch=2, expires=time.time() + 5)
    line = job(expires=time.time() + 300, nonce="later").line()
    assert tickets.admit("send", line, SEAT, now=time.time() + 10)


def test_a_measurement_and_a_digest_may_run_beside_others():
    tickets = Tickets()
    noise = DiskRef(kind="noise", locator="1", size=4096)
    assert admitted(tickets, ref=noise, tenant="", run="rate-probe") is None
    digest = DigestJob(DiskRef(kind="file", locator="/srv/disk", size=1), 1, 1.0)
    assert tickets.admit("digest", digest.line(), SEAT, now=time.time()) is None


@pytest.mark.parametrize("line", [b"", b"null", b"[]", b"{}", b'{"ticket": {}}', b"\xff", b"[" * 5000])
@pytest.mark.parametrize("way", ["send", "receive", "digest"])
def test_what_is_no_job_is_refused(way: Any, line: bytes):
    with pytest.raises(errors.Broken) as caught:
        Tickets().admit(way, line, SEAT, now=time.time())
    assert caught.value.code == "gateway.job.malformed"


def test_a_job_with_a_strange_field_is_refused():
    fields = asdict(job())
    fields["ticket"]["way"] = "sideways"
    with pytest.raises(errors.Broken):
        Tickets().admit("send", line_of(fields), SEAT, now=time.time())


def line_of(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": "one"},
        {"nonce": 5},
        {"nonce": "n" * 300},
        {"expires": float("inf")},
        {"expires": float("nan")},
    ],
    ids=["epoch", "nonce", "long", "for ever", "never"],
)
def test_a_ticket_that_nobody_gives_is_refused(changes: dict[str, Any]):
    with pytest.raises(errors.Error):
        admitted(Tickets(), **changes)


class TestLog:
    """What was shown is remembered by the next process, however this one ends."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "tickets"

    def again(self, path: Path) -> Tickets:
        return Tickets(TicketLog(path))

    def test_a_replay_and_an_older_epoch_are_refused_by_the_next_process(self, path: Path):
        admitted(self.again(path), nonce="first")
        admitted(self.again(path), epoch=3, nonce="third")
        for changes, code in (
            ({"nonce": "first", "run": "run-2"}, "transfer.ticket.replayed"),
            ({"epoch": 2, "nonce": "second"}, "transfer.ticket.old"),
        ):
            with pytest.raises(errors.Refused) as caught:
                admitted(self.again(path), **changes)
            assert caught.value.code == code
        assert admitted(self.again(path), epoch=3, nonce="third")
        assert path.stat().st_mode & 0o777 == 0o600

    def test_what_is_kept_tells_neither_where_disks_are_nor_an_address(self, path: Path):
        admitted(self.again(path))
        assert "/srv/disk" not in path.read_text()
        assert "127.0.0.1" not in path.read_text()

    @pytest.mark.parametrize("left", range(0, 60, 7))
    def test_a_line_that_a_kill_cut_was_not_admitted_and_the_rest_counts(self, path: Path, left: int):
        admitted(self.again(path), epoch=2, nonce="first")
        before = path.read_bytes()
        admitted(self.again(path), epoch=9, nonce="second")
        path.write_bytes(path.read_bytes()[: len(before) + left])
        with pytest.raises(errors.Refused):
            admitted(self.again(path), epoch=1, nonce="old")
        admitted(self.again(path), epoch=3, nonce="third")
        with pytest.raises(errors.Refused):
            admitted(self.again(path), epoch=2, nonce="fourth")

    @pytest.mark.parametrize("left", [0, 5])
    def test_a_head_that_a_kill_cut_is_written_anew(self, path: Path, left: int):
        path.write_bytes(b"crossport tickets 1"[:left])
        admitted(self.again(path), epoch=2)
        with pytest.raises(errors.Refused):
            admitted(self.again(path), nonce="old")

    @pytest.mark.parametrize("spoil", [b"crossport tickets 2\n", b"\n", b"crossport tickets 1\n{}\n"])
    def test_a_damaged_log_lets_no_gateway_begin(self, path: Path, spoil: bytes):
        path.write_bytes(spoil)
        with pytest.raises(errors.Broken) as caught:
            self.again(path)
        assert caught.value.code == "gateway.tickets.damaged"
        assert caught.value.remedy

    def test_it_does_not_grow_with_what_expired_and_forgets_no_highest_epoch(self, path: Path):
        tickets, soon, late = self.again(path), time.time() + 100, time.time() + 300
        admitted(tickets, nonce="long", expires=late)
        admitted(tickets, epoch=5, nonce="highest", expires=soon)
        for number in range(600):
            admitted(tickets, run=f"run-{number}x", nonce=f"{number}", expires=soon)
        assert len(path.read_bytes().splitlines()) == 603
        line = job(run="another", nonce="another", expires=late).line()
        for _ in range(2):
            tickets.admit("send", line, SEAT, now=soon + 1)
        assert len(path.read_bytes().splitlines()) < 10
        with pytest.raises(errors.Refused) as caught:
            self.again(path).admit("send", job(nonce="long", expires=late).line(), SEAT, now=soon + 1)
        assert caught.value.code == "transfer.ticket.old"

    def test_more_than_fit_are_refused_and_room_comes_back(self, path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(seat, "TICKETS_MAX", 2)
        tickets = self.again(path)
        for number in range(2):
            admitted(tickets, run=f"{number}", nonce=f"{number}", expires=time.time() + 5)
        with pytest.raises(errors.Unavailable) as caught:
            admitted(tickets, run="2", nonce="2")
        assert caught.value.code == "gateway.tickets.many"
        line = job(run="2", nonce="2").line()
        assert tickets.admit("send", line, SEAT, now=time.time() + 6)

    def test_a_full_disk_is_told_and_leaves_the_log_whole(self, path: Path, monkeypatch: pytest.MonkeyPatch):
        tickets = self.again(path)
        admitted(tickets, epoch=2)
        write = os.write
        with monkeypatch.context() as full:

            def short(descriptor: int, data: bytes) -> int:
                return write(descriptor, data[:20])

            full.setattr(os, "write", short)
            with pytest.raises(errors.Unavailable) as caught:
                admitted(tickets, epoch=2, nonce="second")
        assert caught.value.code == "gateway.tickets.closed"
        admitted(tickets, epoch=2, nonce="third")
        with pytest.raises(errors.Refused):
            admitted(self.again(path), nonce="old")
