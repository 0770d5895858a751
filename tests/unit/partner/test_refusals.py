"""What a partner is refused is in the audit log before it is told; a flood of it does not fill the log."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from tests.unit.partner import rig

from crossport import errors
from crossport.model.audit import AuditKind, Result
from crossport.model.partner import Partner
from crossport.partner.refusals import ACTION, AT_ONCE, EACH_S, Refusals
from crossport.spi.partner import Lines
from crossport.testing.audit import MemoryAudit

NO = errors.Refused(
    "message.replayed", "Another one with its nonce came before.", remedy="Look for who sent it."
)


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def refuse(partner: Partner, body: bytes) -> bytes:
    del partner, body
    raise NO


async def refuse_lines(partner: Partner, opening: bytes, lines: Lines) -> None:
    del partner, opening, lines
    raise NO


@pytest.fixture
async def sites(tmp_path: Path) -> AsyncGenerator[tuple[rig.Site, rig.Site]]:
    north, south = [await rig.Site(tmp_path, name).open() for name in ("north", "south")]
    await rig.befriend(north, south)
    north.answer("site.open", refuse)
    north.converse("worker", refuse_lines)
    yield north, south
    await north.close()
    await south.close()


async def test_requests_and_streams_that_are_refused_are_written_down(
    sites: tuple[rig.Site, rig.Site],
) -> None:
    north, south = sites
    with pytest.raises(errors.Refused):
        await south.call("north", "site.open", b"1")
    with pytest.raises(errors.Refused):
        async with south.stream("north", "worker", b"1") as lines:
            await lines.receive()
    told = [
        (one.kind, one.action, one.actor, one.subject, one.result, one.code) for one in north.audit.records
    ]
    assert told == [
        (AuditKind.NOTE, ACTION, "partner south", asked, Result.REFUSED, NO.code)
        for asked in ("site.open", "worker")
    ]


async def test_a_refusal_that_cannot_be_written_down_is_not_told(sites: tuple[rig.Site, rig.Site]) -> None:
    north, south = sites
    north.audit.full = True
    with pytest.raises(errors.Unavailable) as caught:
        await south.call("north", "site.open", b"1")
    assert caught.value.code == "audit.unwritten"


async def test_of_a_flood_only_the_number_is_told_and_others_are_not_touched_by_it() -> None:
    audit, time = MemoryAudit(), Time()
    refusals = Refusals(lambda: audit, time)
    for _ in range(AT_ONCE + 7):
        await refusals.note("partner south", "site.open", NO)
    await refusals.note("partner east", "site.open", NO)
    assert len(audit.records) == AT_ONCE + 1
    time.now += EACH_S
    await refusals.note("partner south", "site.open", NO)
    assert audit.records[-1].facts == {"more": "7"}


async def test_what_a_partner_says_it_wants_is_told_shortly_and_in_print() -> None:
    audit = MemoryAudit()
    await Refusals(lambda: audit, Time()).note("partner south", "a\nb" + "x" * 1000, NO)
    assert audit.records[-1].subject.startswith("a?bx")
    assert len(audit.records[-1].subject) == 80
