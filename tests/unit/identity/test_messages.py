"""Messages between sites: taken once, by whom they are for, and now. What is played back changes nothing."""

import asyncio
import dataclasses
from itertools import count

import pytest
from tests.unit.migration.world import TestClock

from crossport import errors
from crossport.identity import messages as module
from crossport.identity.messages import WINDOW_S, Messages
from crossport.model import codec
from crossport.model.message import Envelope, Reply
from crossport.testing.document import MemoryDocuments


class Ends:
    """A site that writes, and one that reads and counts what it was made to do."""

    def __init__(self) -> None:
        self.clock = TestClock()
        self.documents = MemoryDocuments()
        numbers = count(1)
        self.writer = Messages("a", MemoryDocuments, self.clock, lambda: f"{next(numbers):032x}")
        self.reader = self.restarted()
        self.made: list[str] = []
        self.fails: list[errors.Error] = []

    def restarted(self) -> Messages:
        return Messages("b", lambda: self.documents, self.clock, lambda: "")

    def written(self, body: str = "hello", **changes: object) -> bytes:
        content = self.writer.written("b", "site.test", body, run="r1", epoch=2)
        envelope = dataclasses.replace(codec.decoded(content, Envelope), **changes)
        return codec.encoded(envelope).encode()

    async def read(self, content: bytes, partner: str = "a", operation: str = "site.test") -> str | None:
        async def making(envelope: Envelope) -> str:
            self.made.append(envelope.body)
            if self.fails:
                raise self.fails.pop()
            return f"answer {len(self.made)}"

        reply = await self.reader.answered(partner, operation, content, making)
        return codec.decoded(reply, Reply).answer


@pytest.fixture
def ends() -> Ends:
    return Ends()


async def refused(ends: Ends, content: bytes, code: str, **where: str) -> None:
    with pytest.raises(errors.Error) as caught:
        await ends.read(content, **where)
    assert caught.value.code == code
    assert caught.value.remedy
    assert ends.made == []


async def test_the_same_message_is_done_once_and_answered_the_same(ends: Ends):
    content = ends.written()
    assert await ends.read(content) == await ends.read(content) == "answer 1"
    ends.reader = ends.restarted()
    assert await ends.read(content) == "answer 1"
    assert ends.made == ["hello"]
    assert await ends.read(ends.written()) == "answer 2"


async def test_another_message_with_a_known_nonce_is_refused(ends: Ends):
    content = ends.written()
    await ends.read(content)
    for change in ({"body": "other"}, {"epoch": 3}, {"run": "r2"}, {"time": ends.clock.now + 1}):
        other = dataclasses.replace(codec.decoded(content, Envelope), **change)
        with pytest.raises(errors.Refused) as caught:
            await ends.read(codec.encoded(other).encode())
        assert caught.value.code == "message.replayed"
    assert ends.made == ["hello"]


@pytest.mark.parametrize("away", [-WINDOW_S - 1, WINDOW_S + 1])
async def test_a_message_of_another_time_is_refused(ends: Ends, away: float):
    await refused(ends, ends.written(time=ends.clock.now + away), "message.time.off")


async def test_a_recorded_message_does_nothing_later(ends: Ends):
    content = ends.written()
    await ends.read(content)
    ends.clock.now += 3 * WINDOW_S
    for _ in range(module.PRUNED_EVERY):
        await ends.read(ends.written())
    done = len(ends.made)
    with pytest.raises(errors.Refused) as caught:
        await ends.read(content)
    assert caught.value.code == "message.time.off"
    assert len(ends.made) == done


async def test_what_is_over_is_forgotten(ends: Ends):
    await ends.read(ends.written())
    ends.clock.now += 3 * WINDOW_S
    for _ in range(module.PRUNED_EVERY):
        await ends.read(ends.written())
    with pytest.raises(errors.NotFound):
        await ends.documents.fetch("message", f"a/{1:032x}", object)


async def test_a_message_is_only_for_its_receiver_by_its_sender_for_its_operation(ends: Ends):
    await refused(ends, ends.written(), "message.other", partner="c")
    await refused(ends, ends.written(), "message.other", operation="site.clean")
    await refused(ends, ends.written(receiver="c"), "message.other")
    await refused(ends, ends.written(version=2), "message.version.newer")
    await refused(ends, b"{}", "message.malformed")
    await refused(ends, ends.written().replace(b'"epoch":2', b'"epoch":-1'), "message.malformed")
    await refused(ends, ends.written().replace(b'"run":"r1"', b'"run":"../r1"'), "message.malformed")


async def test_a_refusal_is_answered_again_and_what_may_be_tried_again_is_tried(ends: Ends):
    content = ends.written()
    ends.fails = [errors.Refused("x.y", "no"), errors.Unavailable("x.z", "not now")]
    for expected in (errors.Unavailable, errors.Refused, errors.Refused):
        with pytest.raises(expected):
            await ends.read(content)
    assert len(ends.made) == 2


async def test_what_takes_long_goes_on_while_the_partner_asks_again(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "WAIT_S", 0.0)
    content, go_on, made = ends.written(), asyncio.Event(), list[int]()

    async def making(envelope: Envelope) -> str:
        made.append(envelope.epoch)
        await go_on.wait()
        return "done"

    async def read() -> str | None:
        reply = await ends.reader.answered("a", "site.test", content, making)
        return codec.decoded(reply, Reply).answer

    assert await read() is None
    ends.clock.now += 3 * WINDOW_S
    assert await read() is None
    go_on.set()
    monkeypatch.setattr(module, "WAIT_S", 60.0)
    assert (await read(), made) == ("done", [2])


async def test_a_later_execution_of_the_run_ends_what_is_being_done(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
):
    begun, ended = asyncio.Event(), list[bool]()

    async def making(envelope: Envelope) -> str:
        del envelope
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        return ""

    reading = asyncio.create_task(ends.reader.answered("a", "site.test", ends.written(), making))
    await begun.wait()
    await ends.reader.end("a", "r1", 2)
    assert ended == []
    await ends.reader.end("a", "r1", 3)
    with pytest.raises(errors.Refused) as caught:
        await reading
    assert caught.value.code == "message.epoch.old"
    assert ended == [True]
