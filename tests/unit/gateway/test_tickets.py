"""Which tickets a gateway obeys, whatever its site says."""

import json
import time
from dataclasses import asdict
from typing import Any

import pytest
from tests.unit.gateway.rig import job, place

from crossport import errors
from crossport.gateway.seat import Seat, Tickets
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
    ],
    ids=["expired", "way", "budget", "tenant", "tenant's place", "cloud", "subnet"],
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
