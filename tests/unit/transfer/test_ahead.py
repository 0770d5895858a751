"""Names are asked for ahead, so that a long round trip holds nothing up, and never without bound."""

import queue
import threading
from socket import socketpair

import pytest
from tests.unit.transfer.copying import CHUNK, KEY, hello
from tests.unit.transfer.test_session import ALONE, Once

from crossport import errors
from crossport.testing.conformance.block import noise
from crossport.testing.memory_disk import MemoryDisks
from crossport.transfer import frame
from crossport.transfer.ahead import Ahead
from crossport.transfer.bits import Bits
from crossport.transfer.channel import Channel
from crossport.transfer.frame import VERSION, Kind, Welcome
from crossport.transfer.manner import Terms
from crossport.transfer.meter import Meter
from crossport.transfer.names import NAME
from crossport.transfer.plan import COMPARED_AT_ONCE, Deed, Task
from crossport.transfer.sender import Sender

COUNT = 30 * COMPARED_AT_ONCE


@pytest.mark.parametrize("version", frame.ASKS_REMEMBERED)
def test_a_sender_asks_for_as_much_ahead_as_the_receiver_remembers(version: int) -> None:
    """It hears no answer at all: what it says until then is what is under way on a long link."""
    disks = MemoryDisks()
    content = noise(COUNT * CHUNK)
    reader = disks.open_reader(disks.create("a/source", len(content), content))
    left, right = socketpair()
    outcome = queue.Queue[errors.Error]()

    def send() -> None:
        try:
            Sender(reader, Once(left, idle_s=5), Terms(hello(len(content)), ALONE, KEY), Meter()).run()
        except errors.Error as error:
            outcome.put(error)

    thread = threading.Thread(target=send)
    thread.start()
    receiver = Channel(right, idle_s=5)
    assert receiver.receive().kind is Kind.HELLO
    key = KEY if version < frame.KEY_AGREED else b""
    receiver.send(Welcome(key, held=COUNT, version=version).encoded())
    held = Bits(COUNT)
    held.fill(0, COUNT)
    for part in frame.mapped(held):
        receiver.send(part)
    expected = max(1, frame.ASKS_REMEMBERED[version] // 2)
    asked = [receiver.receive().kind for _ in range(expected)]
    assert asked == [Kind.ASK] * expected
    assert receiver.poll() is None
    receiver.abort()
    thread.join()
    assert outcome.get().code == "transfer.peer.gone"
    receiver.close()


def compare(first: int, count: int = 1) -> Task:
    return Task(Deed.COMPARE, first, count)


def test_tasks_come_in_order_and_only_when_their_names_are_here() -> None:
    ahead = Ahead(2)
    ahead.add(compare(0))
    assert not ahead.has_room
    assert ahead.widen(more=True)
    ahead.add(Task(Deed.SEND, 1, 1))
    assert not ahead.is_ready
    assert not ahead.widen(more=True)
    ahead.answer(0, bytes(NAME))
    assert ahead.is_ready
    assert ahead.names(ahead.pop()) == bytes(NAME)
    assert ahead.is_ready
    assert ahead.pop() == Task(Deed.SEND, 1, 1)
    assert not ahead


def test_nothing_is_looked_for_ahead_where_nothing_is_left() -> None:
    assert not Ahead(8).widen(more=False)


@pytest.mark.parametrize(("first", "names"), [(0, b"short"), (1, bytes(NAME)), (2, bytes(NAME))])
def test_an_answer_to_no_question_breaks_the_protocol(first: int, names: bytes) -> None:
    ahead = Ahead(3)
    ahead.add(compare(0))
    ahead.add(Task(Deed.SEND, 2, 1))
    with pytest.raises(errors.Broken):
        ahead.answer(first, names)


def test_an_answer_given_twice_breaks_the_protocol() -> None:
    ahead = Ahead(1)
    ahead.add(compare(0))
    ahead.answer(0, bytes(NAME))
    with pytest.raises(errors.Broken):
        ahead.answer(0, bytes(NAME))


def test_the_newest_version_is_among_those_that_are_remembered() -> None:
    assert VERSION in frame.ASKS_REMEMBERED
