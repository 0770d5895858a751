"""The book of partners, and the link in memory with everything that it can do to a message."""

import dataclasses

import pytest

from crossport import errors
from crossport.identity.partners import STALE_S, KeptPartners
from crossport.model.partner import Partner, PartnerState
from crossport.testing.document import MemoryDocuments
from crossport.testing.partner import Fate, MemoryWorld

NOW = 1_900_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


PARTNER = Partner(
    name="south",
    authorities=("PEM",),
    address="https://south.example.org:8445",
    root="cm9vdA==",
    roles="cm9sZXM=",
    state=PartnerState.ACCEPTED,
    since=NOW,
    changed=NOW,
    refreshed=NOW,
)


def book(clock: Clock) -> KeptPartners:
    documents = MemoryDocuments()
    return KeptPartners(lambda: documents, clock)


async def test_what_was_added_is_found_once() -> None:
    kept = book(Clock())
    await kept.add(PARTNER)
    assert await kept.partners() == (PARTNER,)
    assert await kept.partner("south") == PARTNER
    with pytest.raises(errors.Conflict, match="known to this site") as caught:
        await kept.add(PARTNER)
    assert caught.value.code == "partner.known"
    await kept.forget("south")
    with pytest.raises(errors.NotFound) as unknown:
        await kept.partner("south")
    assert (unknown.value.code, unknown.value.field) == ("partner.unknown", "partner")


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (PartnerState.INVITED, "partner.unconfirmed"),
        (PartnerState.REVOKED, "partner.revoked"),
        (PartnerState.COMPROMISED, "partner.revoked"),
    ],
)
async def test_one_that_is_not_accepted_is_not_trusted(state: PartnerState, code: str) -> None:
    kept = book(Clock())
    await kept.add(PARTNER)
    await kept.change("south", lambda known: dataclasses.replace(known, state=state))
    with pytest.raises(errors.Refused) as caught:
        await kept.partner("south")
    assert caught.value.code == code
    assert (await kept.known("south")).state is state


async def test_one_that_was_not_heard_for_too_long_is_not_trusted() -> None:
    clock = Clock()
    kept = book(clock)
    await kept.add(PARTNER)
    clock.now += STALE_S
    await kept.partner("south")
    clock.now += 1
    with pytest.raises(errors.Refused) as caught:
        await kept.partner("south")
    assert caught.value.code == "partner.stale"


async def test_the_link_in_memory_loses_repeats_and_delays() -> None:
    clock = Clock()
    fates = [Fate(arrives=0), Fate(answered=False), Fate(arrives=2), Fate(delay_s=9.0)]
    world = MemoryWorld(clock, lambda _from, _to, _operation: fates.pop(0))
    world.accept("north", "south")
    asked = list[bytes]()

    async def count(partner: Partner, body: bytes) -> bytes:
        asked.append(body)
        return f"{partner.name} {len(asked)}".encode()

    north = world.site("north")
    world.site("south").answer("count", count)
    for _ in range(2):
        with pytest.raises(errors.Unavailable) as caught:
            await north.call("south", "count", b"{}")
        assert caught.value.code == "partner.away"
    assert len(asked) == 1
    assert await north.call("south", "count", b"{}") == b"north 3"
    assert await north.call("south", "count", b"{}") == b"north 4"
    assert clock.now == NOW + 9
    world.site("south").revoke("north")
    fates.append(Fate())
    with pytest.raises(errors.Refused) as refused:
        await north.call("south", "count", b"{}")
    assert refused.value.code == "partner.revoked"
