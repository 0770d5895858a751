"""A site that is one release ahead of its gateway: what it may ask for, and what it must not."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.gateway.rig import Site, job, place

from crossport import errors
from crossport.gateway.seat import Seat, Tickets
from crossport.model.artifact import DiskRef, Place, Ticket
from crossport.model.record import record, sparse
from crossport.transfer.job import DigestJob, Job

SEAT = Seat("acme", "alpha", "VMExportSubnet")


@record()
class LaterRef(DiskRef):
    """A disk as the next release knows it, of which only so many bytes a second may be read."""

    most_bps: int = 0


@record()
class LaterPlace(Place):
    """A place as the next release knows it."""

    zone: str = ""


@record()
class LaterTicket(Ticket):
    """A ticket as the next release gives it, which may be for some hours of the day only."""

    hours: tuple[int, ...] = ()


def later(hours: tuple[int, ...] = (), zone: str = "", most_bps: int = 0) -> Job:
    """Return a job of the next release."""
    now = job()
    ref = LaterRef(**parts(now.ticket.ref), most_bps=most_bps)
    seat = LaterPlace(**parts(now.ticket.place), zone=zone)
    rest: dict[str, Any] = {**parts(now.ticket), "ref": ref, "place": seat}
    return replace(now, ticket=LaterTicket(**rest, hours=hours))


def parts(value: Any) -> dict[str, Any]:
    """Return the fields of a record as they are."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def test_a_job_that_makes_no_use_of_what_came_later_is_done() -> None:
    assert Tickets().admit("send", later().line(), SEAT, now=time.time()) is not None
    read = Job.of(later().line())
    assert replace(read.ticket, expires=0.0) == replace(job().ticket, expires=0.0)
    assert read.hello == job().hello
    digest = DigestJob(LaterRef(kind="file", locator="/srv/disk", size=1), 1, 1.0)
    assert DigestJob.of(digest.line()).ref == DiskRef(kind="file", locator="/srv/disk", size=1)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"hours": (22, 23)}, "ticket.hours"),
        ({"zone": "b"}, "place.zone"),
        ({"most_bps": 1}, "ref.most_bps"),
    ],
)
def test_what_may_restrict_is_never_overlooked(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(errors.Refused, match=field) as caught:
        Tickets().admit("send", later(**asked).line(), SEAT, now=time.time())
    assert caught.value.code == "transfer.job.newer"


def test_advice_in_a_job_is_overlooked() -> None:
    said = {**json.loads(job().line()), "huge_pages": True}
    assert Tickets().admit("send", json.dumps(said).encode(), SEAT, now=time.time()) is not None


def test_what_is_left_out_is_what_no_word_means() -> None:
    assert sparse(DiskRef(kind="file", locator="/a", size=1)) == {"kind": "file", "locator": "/a", "size": 1}
    assert sparse(DiskRef(kind="file", locator="/a", size=1, identity="x"))["identity"] == "x"
    assert "ref" in sparse(job().ticket)


async def test_an_order_that_asks_for_what_came_later_fails_alone(site: Site) -> None:
    await site.gateway()
    ref = LaterRef(kind="file", locator="/srv/disk", size=4096, most_bps=1)
    with pytest.raises(errors.Refused) as caught:
        async with site.hub.started("digest", ref, place()):
            pytest.fail("it was started")
    assert (caught.value.code, "ref.most_bps" in caught.value.text) == ("transfer.job.newer", True)
