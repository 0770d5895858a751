"""Ends that lie while chunks are offered: told by name, and no byte is written that was not verified."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socket import socketpair

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from tests.unit.transfer.copying import KEY, hello
from tests.unit.transfer.test_session import ALONE, Once, mutated, mutations, say, sent_to

from crossport import errors, merkle
from crossport.testing.conformance.block import noise
from crossport.testing.memory_disk import MemoryDisks
from crossport.transfer import frame
from crossport.transfer.chunk import Cut
from crossport.transfer.frame import Data, End, Kind, Verdict, Welcome
from crossport.transfer.leaf_store import LeafStore
from crossport.transfer.manner import Terms
from crossport.transfer.meter import Meter
from crossport.transfer.names import BLOCK, SEAL, Names
from crossport.transfer.receiver import Receiver
from crossport.transfer.sharing import Sharing
from crossport.transfer.stock import Stock
from crossport.transfer.stock_access import Access
from crossport.transfer.stock_table import SEGMENT
from crossport.transfer.stocks import Stocks

CHUNK = 4 * BLOCK
NAMES = Names(KEY)
KNOWN = [noise(CHUNK, f"known {number}") for number in range(4)]
NEW = KNOWN[1][: 2 * BLOCK] + noise(2 * BLOCK, "new")
GREETING = hello(4 * CHUNK, chunk_size=CHUNK).encoded()


def name(content: bytes) -> bytes:
    return NAMES.name(merkle.leaf(content))


@pytest.fixture
def stocked(tmp_path: Path) -> Iterator[Access]:
    """A stock with some chunks that the tests know."""
    with Stocks(tmp_path / "stocks", 2 * SEGMENT).opened("acme") as access:
        assert access is not None
        stock = Stock(access, NAMES, time.monotonic, os.urandom)
        for content in KNOWN:
            stock.put(name(content), content, None)
        yield access


def received(words: list[bytes], access: Access, tmp_path: Path) -> tuple[errors.Error, bytes]:
    """Let a hostile sender say ``words`` to a receiver; return how it ends and what was written."""
    disks, meter = MemoryDisks(), Meter()
    writer = disks.open_writer(disks.create("b/target", 4 * CHUNK))
    left, right = socketpair()
    talker = threading.Thread(target=say, args=(left, words))
    talker.start()
    sharing = Sharing(Stock(access, NAMES, time.monotonic, os.urandom), meter, time.monotonic)
    terms = Terms(hello(4 * CHUNK, chunk_size=CHUNK), ALONE, KEY)
    with (tmp_path / "journal").open("w+b") as journal:
        store = LeafStore(journal.fileno(), Cut(4 * CHUNK, CHUNK), {}, durable=False)
        with pytest.raises(errors.Error) as caught:
            Receiver(writer, Once(right), terms, meter, store, sharing).run()
    sharing.close()
    talker.join()
    return caught.value, disks.content("b/target")


def offer(*contents: bytes, first: int = 0) -> bytes:
    return frame.listed(Kind.OFFER, first, b"".join(map(name, contents)))


def blocks(content: bytes, index: int = 0) -> bytes:
    return frame.listed(Kind.BLOCKS, index, b"".join(NAMES.blocks(content)))


def part(payload: bytes, content: bytes = NEW, index: int = 0) -> bytes:
    return Data(index, len(payload), name(content), packed=False, payload=payload, part=True).encoded()


def whole(content: bytes, index: int = 0) -> bytes:
    return Data(index, len(content), name(content), packed=False, payload=content).encoded()


BOMB = zstandard.ZstdCompressor().compress(bytes(1 << 26))
HOSTILE: dict[str, list[bytes]] = {
    "offer-beyond-the-end": [offer(NEW, first=4)],
    "offer-of-half-a-name": [frame.listed(Kind.OFFER, 0, bytes(17))],
    "offer-of-nothing": [frame.listed(Kind.OFFER, 0, b"")],
    "offered-twice": [offer(NEW), offer(NEW)],
    "offered-and-zeros": [offer(NEW), frame.ranged(Kind.ZEROS, 0, 1)],
    "filled-and-sent": [offer(KNOWN[0]), whole(KNOWN[0])],
    "filled-and-same-twice": [offer(KNOWN[0]), *2 * [frame.ranged(Kind.SAME, 0, 1)]],
    "same-of-what-is-wanted": [offer(NEW), frame.ranged(Kind.SAME, 0, 1)],
    "same-beyond-what-is-filled": [offer(KNOWN[0]), frame.ranged(Kind.SAME, 0, 2)],
    "sent-whole-instead-of-its-blocks": [offer(NEW), whole(NEW)],
    "blocks-of-what-was-not-offered": [blocks(NEW)],
    "too-few-blocks": [offer(NEW), frame.listed(Kind.BLOCKS, 0, bytes(8))],
    "blocks-twice": [offer(NEW), blocks(NEW), blocks(NEW)],
    "part-of-what-was-not-offered": [part(NEW)],
    "part-before-blocks": [offer(NEW), part(NEW)],
    "part-after-part": [offer(NEW), blocks(NEW), part(NEW[2 * BLOCK :]), part(NEW[2 * BLOCK :])],
    "receiver-s-own-words": [frame.listed(Kind.WANT, 0, b"\0")],
    "huge-offer": [frame.HEADER.pack(Kind.OFFER, b"\0\0\0", 1 << 20)],
    "huge-blocks": [frame.HEADER.pack(Kind.BLOCKS, b"\0\0\0", 1 << 20)],
    "huge-part": [frame.HEADER.pack(Kind.PART, b"\0\0\0", 0xFFFFFFFF)],
    "ends-while-it-is-waited-for": [offer(NEW), End(4, bytes(SEAL)).encoded()],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_sender_is_refused_by_name(case: str, stocked: Access, tmp_path: Path) -> None:
    error, target = received([GREETING, *HOSTILE[case]], stocked, tmp_path)
    assert error.code == "transfer.peer.malformed"
    assert verified(target)


def verified(target: bytes) -> bool:
    parts = {target[at : at + CHUNK] for at in range(0, len(target), CHUNK)}
    return parts <= {bytes(CHUNK), NEW, *KNOWN}


def test_nothing_may_be_offered_that_was_not_asked_for(tmp_path: Path) -> None:
    """An empty stock asks for no offers: not even the time that a look at it takes is to be seen."""
    with Stocks(tmp_path, 2 * SEGMENT).opened("acme") as access:
        assert access is not None
        error, _ = received([GREETING, offer(NEW)], access, tmp_path)
    assert error.code == "transfer.peer.malformed"


@pytest.mark.parametrize(
    "words",
    [
        [blocks(KNOWN[0])],
        [blocks(NEW), part(KNOWN[0][2 * BLOCK :])],
        [blocks(NEW), part(NEW[3 * BLOCK :])],
        [blocks(NEW), part(NEW)],
    ],
    ids=["blocks-of-another-chunk", "blocks-that-are-others", "too-few", "too-many"],
)
def test_a_chunk_that_is_not_what_its_name_says_is_asked_for_whole(
    words: list[bytes], stocked: Access, tmp_path: Path
) -> None:
    error, target = received([GREETING, offer(NEW), *words], stocked, tmp_path)
    # It was asked for again, and nobody answered.
    assert error.code == "transfer.peer.silent"
    assert not any(target)


def test_a_packed_part_that_is_a_bomb_is_not_unpacked(stocked: Access, tmp_path: Path) -> None:
    bomb = Data(0, 2 * BLOCK, name(NEW), packed=True, payload=BOMB, part=True).encoded()
    error, target = received([GREETING, offer(NEW), blocks(NEW), bomb], stocked, tmp_path)
    assert error.code == "transfer.peer.silent"
    assert not any(target)


SAID = [
    GREETING,
    offer(KNOWN[0], NEW),
    frame.ranged(Kind.SAME, 0, 1),
    blocks(NEW, 1),
    part(NEW[2 * BLOCK :], index=1),
    offer(KNOWN[2], first=2),
    frame.ranged(Kind.SAME, 2, 1),
    frame.ranged(Kind.ZEROS, 3, 1),
    End(4, bytes(SEAL)).encoded(),
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(mutations)
def test_a_mutated_session_ends_in_an_error_and_writes_no_byte_that_was_not_verified(
    stocked: Access, tmp_path: Path, by: list[tuple[str, int, int]]
) -> None:
    error, target = received(mutated(SAID, by), stocked, tmp_path)
    assert error.text
    assert verified(target)


SHARES = Welcome(b"", share=True).encoded()
SENDER_S = noise(4 * 4096)


def want(first: int, *verdicts: int) -> bytes:
    return frame.listed(Kind.WANT, first, bytes(verdicts))


@pytest.mark.parametrize(
    "words",
    [
        [want(0, Verdict.WHOLE)],
        [SHARES, want(4, Verdict.WHOLE)],
        [SHARES, want(0, 9)],
        [SHARES, want(0, *5 * [Verdict.WHOLE])],
        [SHARES, want(0, Verdict.WHOLE), want(0, Verdict.WHOLE)],
        [SHARES, want(0, Verdict.LATER), want(0, Verdict.LATER)],
        [SHARES, want(0, Verdict.LATER), want(0, Verdict.BLOCKS)],
        [SHARES, want(0, Verdict.FILLED), want(0, Verdict.WHOLE)],
        [SHARES, frame.listed(Kind.PICK, 9, b"\1")],
        [SHARES, want(0, Verdict.BLOCKS), frame.listed(Kind.PICK, 0, b"\2")],
        [SHARES, want(0, Verdict.BLOCKS), frame.listed(Kind.PICK, 0, b"\1\1")],
        [SHARES, frame.HEADER.pack(Kind.WANT, b"\0\0\0", 1 << 20)],
        [SHARES, frame.HEADER.pack(Kind.PICK, b"\0\0\0", 1 << 20)],
        [SHARES, frame.ranged(Kind.OFFER, 0, 1)],
    ],
)
def test_a_hostile_receiver_is_refused_by_name(words: list[bytes]) -> None:
    said = words if words[0] == SHARES else [Welcome(b"").encoded(), *words]
    assert sent_to(said, SENDER_S).code == "transfer.peer.malformed"


RECEIVER_SAID = [
    SHARES,
    want(0, Verdict.FILLED, Verdict.BLOCKS, Verdict.WHOLE, Verdict.LATER),
    frame.listed(Kind.PICK, 1, b"\1"),
    want(3, Verdict.WHOLE),
    frame.counted(Kind.DURABLE, 2),
    frame.done(bytes(32)),
]


@settings(max_examples=40, deadline=None)
@given(mutations)
def test_mutated_words_of_a_receiver_end_the_sender_in_an_error(by: list[tuple[str, int, int]]) -> None:
    assert sent_to(mutated(RECEIVER_SAID, by), SENDER_S).text
