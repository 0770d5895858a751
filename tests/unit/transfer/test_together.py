"""Contexts that are entered side by side: both are open, or neither is."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from crossport import errors
from crossport.transfer.together import entered


class Rooms:
    """Contexts that note who is inside; each opens once all are asked for, or fails."""

    def __init__(self) -> None:
        self.inside: list[str] = []
        self.asked: list[str] = []
        self.all_asked = asyncio.Event()

    @asynccontextmanager
    async def room(self, name: str) -> AsyncGenerator[str]:
        self.asked.append(name)
        if len(self.asked) == 2:
            self.all_asked.set()
        await self.all_asked.wait()
        self.inside.append(name)
        try:
            yield name
        finally:
            self.inside.remove(name)

    @asynccontextmanager
    async def broken(self) -> AsyncGenerator[str]:
        await asyncio.sleep(0)
        raise errors.Unavailable("room.closed", "It is closed.", remedy="Wait.")
        yield ""


async def test_each_is_entered_while_the_other_is_and_both_are_left() -> None:
    rooms = Rooms()
    async with asyncio.timeout(30), entered(rooms.room("one"), rooms.room("other")) as both:
        assert both == ("one", "other")
        assert sorted(rooms.inside) == ["one", "other"]
    assert rooms.inside == []


async def test_what_fails_within_leaves_both() -> None:
    rooms = Rooms()
    with pytest.raises(ZeroDivisionError):
        async with entered(rooms.room("one"), rooms.room("other")):
            _ = 1 // 0
    assert rooms.inside == []


@pytest.mark.parametrize("is_open", [False, True])
async def test_when_one_fails_the_other_is_left_or_not_waited_for(is_open: bool) -> None:
    rooms = Rooms()
    if is_open:
        rooms.all_asked.set()
    with pytest.raises(errors.Unavailable, match="closed"):
        async with asyncio.timeout(30), entered(rooms.room("one"), rooms.broken()):
            pytest.fail("it was entered")
    assert rooms.asked == ["one"]
    assert rooms.inside == []


async def test_when_it_is_cancelled_while_they_come_about_both_are_left() -> None:
    rooms = Rooms()
    asked = asyncio.Event()

    @asynccontextmanager
    async def never() -> AsyncGenerator[str]:
        rooms.inside.append("never")
        asked.set()
        try:
            await asyncio.Event().wait()
            yield ""
        finally:
            rooms.inside.remove("never")

    async def wait() -> None:
        async with entered(rooms.room("one"), never()):
            pytest.fail("it was entered")

    rooms.all_asked.set()
    task = asyncio.create_task(wait())
    await asked.wait()
    assert rooms.inside == ["one", "never"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert rooms.inside == []
