"""When the audit log is signed and its heads are exchanged: each hour, and soon after runs."""

import asyncio
from typing import Any, cast

import structlog

from crossport import errors
from crossport.app.audit_watch import EACH_S, SETTLE_S, watch_audit
from crossport.model.partner import Partner, PartnerState


class Steps:
    """A clock that a test moves: whoever sleeps goes on when it says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sleeping: list[tuple[float, asyncio.Event]] = []

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        over = asyncio.Event()
        self.sleeping.append((self.now + seconds, over))
        await over.wait()

    async def move(self, seconds: float) -> None:
        await turns()
        self.now += seconds
        for end, over in self.sleeping:
            if end <= self.now:
                over.set()
        await turns()


async def turns() -> None:
    """Let all that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


def partner(name: str, state: PartnerState) -> Partner:
    return Partner(
        name=name,
        authorities=(),
        address="https://there.example:1",
        root="",
        roles="",
        state=state,
        since=0.0,
        changed=0.0,
        refreshed=0.0,
    )


class World:
    """A site with three partners, of whom one is away and one is not trusted any more."""

    def __init__(self) -> None:
        self.done: list[str] = []

    async def sign(self) -> None:
        self.done.append("sign")

    async def exchange(self, partner: Partner, link: object) -> None:
        self.done.append(partner.name)
        if partner.name == "east":
            raise errors.Unavailable("partner.away", "It does not answer.")

    async def partners(self) -> tuple[Partner, ...]:
        accepted, revoked = PartnerState.ACCEPTED, PartnerState.REVOKED
        return (partner("east", accepted), partner("south", accepted), partner("west", revoked))


class Second(World):
    """Another node of that site, which has no signer that counts."""

    async def sign(self) -> None:
        self.done.append("sign")
        raise errors.Conflict("key.signer.elsewhere", "The keys lie with node one.", remedy="Ask it.")


async def test_a_node_without_the_signer_says_so_once_and_leaves_it_to_the_other():
    world, clock = Second(), Steps()
    with structlog.testing.capture_logs() as logs:
        watching = asyncio.create_task(watch_audit(world, cast("Any", (world, None)), asyncio.Event(), clock))
        for _ in range(3):
            await clock.move(EACH_S)
            await clock.move(SETTLE_S)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert world.done == ["sign"] * 3  # the keys may move to this node meanwhile
    assert [(one["event"], one["log_level"], one["reason"]) for one in logs] == [
        ("audit.head.elsewhere", "info", "The keys lie with node one.")
    ]


async def test_it_is_signed_after_runs_and_each_hour_whoever_is_away():
    world, clock, ended = World(), Steps(), asyncio.Event()
    book = cast("Any", (world, None))
    once = ["sign", "east", "south"]
    with structlog.testing.capture_logs() as logs:
        watching = asyncio.create_task(watch_audit(world, book, ended, clock))
        await clock.move(1.0)
        assert world.done == []
        ended.set()
        await clock.move(0.0)
        ended.set()  # another run ends within the time
        await clock.move(SETTLE_S)
        assert world.done == once
        await clock.move(EACH_S)
        await clock.move(SETTLE_S)
        assert world.done == once * 2
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert [one["code"] for one in logs] == ["partner.away"] * 2
