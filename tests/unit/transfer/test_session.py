"""Both ends of a copy joined by a socket pair: what arrives, and what happens when one misbehaves."""

import json
import struct
import tempfile
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from socket import socket, socketpair

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transfer.copying import CHUNK, KEY, Copy, hello, root_of

from crossport import errors, merkle
from crossport.testing.conformance.block import noise
from crossport.testing.faulty_disk import CutReader, ForgetfulWriter, FullWriter, TwistedReader
from crossport.testing.memory_disk import MemoryDisks
from crossport.transfer import frame
from crossport.transfer.channel import Channel
from crossport.transfer.chunk import Cut
from crossport.transfer.frame import Data, End, Kind
from crossport.transfer.leaf_store import LeafStore
from crossport.transfer.manner import Manner, Terms
from crossport.transfer.meter import Meter
from crossport.transfer.names import SEAL, Names
from crossport.transfer.receiver import Receiver
from crossport.transfer.sender import Sender


def code(outcome: bytes | errors.Error) -> str:
    assert isinstance(outcome, errors.Error), "it succeeded"
    return outcome.code


chunks = st.one_of(st.just(bytes(CHUNK)), st.integers(0, 9).map(lambda seed: noise(CHUNK, str(seed))))


@settings(max_examples=30, deadline=None)
@given(st.lists(chunks, max_size=40), st.binary(max_size=50), st.booleans())
def test_any_disk_arrives_as_it_is(parts: list[bytes], tail: bytes, dirty: bool) -> None:
    content = b"".join(parts) + tail
    copy = Copy(content, old=noise(len(content), "old") if dirty else b"")
    assert copy.run() == (root_of(content), root_of(content))
    assert copy.target() == content


def test_only_what_holds_data_is_written_and_every_byte_is_counted() -> None:
    content = noise(10 * CHUNK) + bytes(100 * CHUNK) + noise(CHUNK + 1)
    copy = Copy(content)
    copy.run()
    sent, received = copy.meters
    assert received.counters.written == 11 * CHUNK + 1
    assert received.done == len(content)
    assert 11 * CHUNK < sent.counters.sent < 13 * CHUNK


def test_text_crosses_compressed() -> None:
    copy = Copy(b"the same words again and again. " * 4096)
    copy.run()
    assert copy.meters[0].counters.sent < len(copy.target()) // 20


def test_nothing_that_was_acknowledged_is_lost_with_the_power() -> None:
    content = noise(50 * CHUNK)
    copy = Copy(content)
    copy.writer = forgetful = ForgetfulWriter(copy.writer)
    assert copy.run()[0] == root_of(content)
    forgetful.lose()
    assert copy.target() == content


def flip(data: Data) -> Data:
    payload = bytearray(data.payload)
    payload[len(payload) // 2] ^= 1
    return replace(data, payload=bytes(payload))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_a_chunk_damaged_after_hashing_is_sent_again(packed: bool) -> None:
    content = (b"text " * 40_000 if packed else noise(200_000))[: 40 * CHUNK]
    copy, times = Copy(content), iter(range(100))
    copy.spoil = lambda data: flip(data) if data.index == 7 and next(times) < 2 else data
    assert copy.run() == (root_of(content), root_of(content))
    assert copy.target() == content


def test_a_sender_that_always_damages_is_given_up_and_nothing_bad_is_written() -> None:
    copy = Copy(noise(20 * CHUNK))
    copy.spoil = flip
    sent, received = copy.run()
    assert code(received) == "transfer.chunk.damaged"
    assert "transfer.chunk.damaged" in str(sent)
    assert not any(copy.target())


def test_a_read_error_is_told_at_both_ends() -> None:
    copy = Copy(noise(50 * CHUNK))
    bad = errors.Broken("nbd.request.failed", "Bytes 81920 to 98304 cannot be read (EIO).")
    copy.reader = CutReader(copy.reader, 20 * CHUNK, bad)
    sent, received = copy.run()
    assert code(sent) == "nbd.request.failed"
    assert code(received) == "transfer.peer.failed"
    assert "81920" in str(received)


def test_a_full_target_is_told_at_both_ends() -> None:
    copy = Copy(noise(5000 * CHUNK))
    copy.writer = FullWriter(copy.writer, 10 * CHUNK)
    sent, received = copy.run()
    assert code(received) == "transfer.target.full"
    assert code(sent) == "transfer.peer.failed"
    assert "transfer.target.full" in str(sent)


def test_a_source_that_lies_about_one_bit_is_not_noticed_in_transit_but_has_another_root() -> None:
    content = noise(8 * CHUNK)
    copy = Copy(content)
    copy.reader = TwistedReader(copy.reader, 5000)
    sent, received = copy.run()
    assert sent == received != root_of(content)


def test_a_target_that_is_too_small_is_refused_by_the_receiver_too() -> None:
    copy = Copy(noise(8 * CHUNK), target_size=7 * CHUNK)
    assert code(copy.run()[1]) == "transfer.target.small"
    assert not any(copy.target())


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 2},
        {"run": "other"},
        {"artifact": "disk-1"},
        {"tenant": "x"},
        {"size": 8},
        {"chunk_size": 8192},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_sender_that_brings_something_else_is_refused(change: dict[str, object]) -> None:
    copy = Copy(noise(8 * CHUNK))
    copy.sends = replace(copy.sends, **change)
    sent, received = copy.run()
    assert code(received) == "transfer.peer.foreign"
    assert "transfer.peer.foreign" in str(sent)
    assert not any(copy.target())


def test_a_newer_peer_is_told_apart_from_a_broken_one() -> None:
    copy = Copy(noise(8 * CHUNK))
    copy.sends = replace(copy.sends, version=9, least=9)
    assert code(copy.run()[1]) == "transfer.protocol.newer"


def test_an_older_peer_is_told_to_upgrade() -> None:
    copy = Copy(noise(8 * CHUNK))
    copy.sends = replace(copy.sends, version=1, least=1)
    assert code(copy.run()[1]) == "transfer.protocol.older"


def test_a_newer_peer_that_still_speaks_our_version_is_answered_in_it() -> None:
    content = noise(8 * CHUNK)
    copy = Copy(content)
    copy.sends = replace(copy.sends, version=9)
    assert copy.run() == (root_of(content), root_of(content))


class Once:
    """A link with one connection."""

    def __init__(self, connection: socket, idle_s: float = 0.3) -> None:
        self._channels = [Channel(connection, idle_s)]

    def open(self, check: Callable[[], None]) -> Channel:
        check()
        if not self._channels:
            raise errors.Unavailable("transfer.peer.absent", "Nobody connects any more.")
        return self._channels.pop()


ALONE = Manner(connections=1, patience_s=0)


def received_from(peer: list[bytes], size: int = 4 * CHUNK) -> tuple[errors.Error, bytes]:
    """Let a hostile sender say ``peer`` to a receiver; return how it ends and what was written."""
    disks = MemoryDisks()
    writer = disks.open_writer(disks.create("b/target", size))
    left, right = socketpair()
    talker = threading.Thread(target=say, args=(left, peer))
    talker.start()
    with tempfile.TemporaryFile() as journal:
        store = LeafStore(journal.fileno(), Cut(size, CHUNK), {}, durable=False)
        receiver = Receiver(writer, Once(right), Terms(hello(size), ALONE, KEY), Meter(), store)
        with pytest.raises(errors.Error) as caught:
            receiver.run()
    talker.join()
    return caught.value, disks.content("b/target")


def say(connection: socket, words: list[bytes]) -> None:
    """Say words to whoever is at the other end, and wait until it leaves."""
    with connection:
        try:
            for word in words:
                connection.sendall(word)
            while connection.recv(4096):
                pass
        except OSError:
            return


def chunk_frame(index: int, content: bytes = b"x" * CHUNK, **changes: object) -> bytes:
    data = Data(index, len(content), NAMES.name(merkle.leaf(content)), packed=False, payload=content)
    return replace(data, **changes).encoded()


NAMES = Names(KEY)
GREETING = hello(4 * CHUNK).encoded()
BOMB = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 26))
HOSTILE = {
    "huge-length": [frame.HEADER.pack(Kind.DATA, b"\0\0\0", 0xFFFFFFFF)],
    "huge-greeting": [frame.HEADER.pack(Kind.HELLO, b"\0\0\0", 1 << 20)],
    "unknown-kind": [frame.HEADER.pack(77, b"\0\0\0", 0)],
    "reserved-bytes": [frame.HEADER.pack(Kind.HELLO, b"\0\1\0", 0)],
    "greeting-is-no-json": [frame.HEADER.pack(Kind.HELLO, b"\0\0\0", 2) + b"\xff{"],
    "greeting-is-deep": [frame.HEADER.pack(Kind.HELLO, b"\0\0\0", 4000) + b"[" * 4000],
    "greeting-lacks-words": [frame.HEADER.pack(Kind.HELLO, b"\0\0\0", 13) + b'{"version":2}'],
    "data-before-greeting": [chunk_frame(0)],
    "beyond-the-end": [GREETING, *(chunk_frame(index) for index in range(5))],
    "repeated": [GREETING, chunk_frame(0), chunk_frame(0)],
    "wrong-size": [GREETING, chunk_frame(0, b"short")],
    "no-payload": [GREETING, chunk_frame(0, payload=b"")],
    "payload-larger-than-chunk": [GREETING, chunk_frame(0, payload=b"x" * (CHUNK + 1))],
    "zeros-beyond-the-end": [GREETING, frame.ranged(Kind.ZEROS, 0, 5)],
    "zeros-without-end": [GREETING, frame.ranged(Kind.ZEROS, 0, (1 << 64) - 1)],
    "zeros-over-data": [GREETING, chunk_frame(0), frame.ranged(Kind.ZEROS, 0, 1)],
    "same-that-was-not-asked-for": [GREETING, frame.ranged(Kind.SAME, 0, 1)],
    "same-that-is-not-held": [GREETING, frame.ranged(Kind.ASK, 0, 1), frame.ranged(Kind.SAME, 0, 1)],
    "unchanged-that-is-not-held": [GREETING, frame.ranged(Kind.KEEP, 0, 4)],
    "names-beyond-the-end": [GREETING, frame.ranged(Kind.ASK, 3, 2)],
    "names-without-end": [GREETING, frame.ranged(Kind.ASK, 1 << 63, 1 << 63)],
    "words-after-the-end": [GREETING, End(4, bytes(SEAL)).encoded(), GREETING],
    "no-connections": [hello(4 * CHUNK, connections=0).encoded()],
    "no-zeros": [GREETING, frame.ranged(Kind.ZEROS, 0, 0)],
    "early-end": [GREETING, chunk_frame(0), End(4, bytes(SEAL)).encoded()],
    "wrong-end": [GREETING, frame.ranged(Kind.ZEROS, 0, 4), End(5, bytes(SEAL)).encoded()],
    "receiver-s-own-words": [GREETING, frame.counted(Kind.DURABLE, 1)],
    "greeting-again": [GREETING, GREETING],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_sender_is_refused_by_name(name: str) -> None:
    error, _ = received_from(HOSTILE[name])
    assert error.code == "transfer.peer.malformed"


def test_a_seal_that_does_not_fit_what_arrived_is_refused() -> None:
    error, _ = received_from([GREETING, frame.ranged(Kind.ZEROS, 0, 4), End(4, b"1" * SEAL).encoded()])
    assert error.code == "transfer.root.differs"


@pytest.mark.parametrize(
    "payload",
    [
        BOMB,
        b"\x28\xb5\x2f\xfd" + b"\xff" * 100,
        zstandard.ZstdCompressor().compress(b"y" * (CHUNK - 1)),
        zstandard.ZstdCompressor().compress(b"y" * CHUNK) + b"more",
        zstandard.ZstdCompressor(write_content_size=False).compress(b"y" * CHUNK),
    ],
    ids=["bomb", "garbage", "too-little", "trailing", "unknown-size"],
)
def test_a_packed_chunk_that_is_none_counts_as_damaged(payload: bytes) -> None:
    name = NAMES.name(merkle.leaf(b"y" * CHUNK))
    tracemalloc.start()
    error, target = received_from([GREETING, chunk_frame(0, packed=True, payload=payload, name=name)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 << 20
    # It was asked for again, and nobody answered.
    assert error.code == "transfer.peer.silent"
    assert not any(target)


def test_a_silent_peer_is_given_up() -> None:
    error, _ = received_from([GREETING])
    assert error.code == "transfer.peer.silent"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=200), st.sampled_from(sorted(HOSTILE))), max_size=6), st.booleans()
)
def test_garbage_ends_in_an_error_and_writes_nothing_unverified(
    parts: list[bytes | str], greet: bool
) -> None:
    words = [GREETING] if greet else []
    for part in parts:
        words += [part] if isinstance(part, bytes) else HOSTILE[part]
    _, target = received_from(words)
    assert set(target) <= {0, ord("x")}


def sent_to(peer: list[bytes], content: bytes, key: bytes = KEY) -> errors.Error:
    """Let a hostile receiver say ``peer`` to a sender; return how it ends."""
    disks = MemoryDisks()
    reader = disks.open_reader(disks.create("a/source", len(content), content))
    left, right = socketpair()
    talker = threading.Thread(target=say, args=(right, peer))
    talker.start()
    with pytest.raises(errors.Error) as caught:
        Sender(reader, Once(left), Terms(hello(len(content)), ALONE, key), Meter()).run()
    talker.join()
    return caught.value


WELCOME = frame.Welcome(KEY).encoded()
HOLDS_ALL = frame.Welcome(KEY, held=4).encoded()


@pytest.mark.parametrize(
    "words",
    [
        [frame.HEADER.pack(Kind.WELCOME, b"\0\0\0", 0xFFFFFFFF)],
        [frame.HEADER.pack(Kind.WELCOME, b"\0\0\0", 2) + b"{}"],
        [frame.Welcome(b"short").encoded()],
        [frame.Welcome(KEY, connections=2).encoded()],
        [frame.Welcome(KEY, connections=99).encoded()],
        [HOLDS_ALL, frame.listed(Kind.MAP, 8, b"\x0f")],
        [HOLDS_ALL, frame.listed(Kind.MAP, 0, b"\x07")],
        [HOLDS_ALL, frame.listed(Kind.MAP, 0, b"\x0f\0")],
        [HOLDS_ALL, frame.listed(Kind.MAP, 0, b"\x0f"), frame.listed(Kind.HAVE, 0, bytes(16))],
        [HOLDS_ALL, frame.listed(Kind.MAP, 0, b"\x0f"), frame.listed(Kind.HAVE, 1, bytes(64))],
        [WELCOME, frame.listed(Kind.MAP, 0, b"\x0f")],
        [WELCOME, frame.counted(Kind.AGAIN, 99)],
        [WELCOME, frame.counted(Kind.DURABLE, 99)],
        [WELCOME, frame.done(bytes(32))],
        [WELCOME, GREETING],
        [WELCOME, chunk_frame(0)],
        [WELCOME, frame.HEADER.pack(Kind.AGAIN, b"\0\0\0", 3) + b"abc"],
        [WELCOME, frame.HEADER.pack(Kind.DONE, b"\0\0\0", 0)],
    ],
    ids=[
        "huge",
        "no-version",
        "short-key",
        "more-connections-than-offered",
        "too-many-connections",
        "map-out-of-order",
        "map-of-too-few",
        "map-too-long",
        "too-few-names",
        "other-names",
        "map-in-the-middle",
        "beyond-the-end",
        "durable-beyond-the-end",
        "done-too-early",
        "greeting",
        "data",
        "short",
        "no-root",
    ],
)
def test_a_hostile_receiver_is_refused_by_name(words: list[bytes]) -> None:
    assert sent_to(words, noise(4 * CHUNK)).code == "transfer.peer.malformed"


def test_a_newer_receiver_is_told_apart() -> None:
    words = json.dumps({"version": 9, "key": KEY.hex()}).encode()
    newer = struct.pack(">B3sI", Kind.WELCOME, b"\0\0\0", len(words)) + words
    assert sent_to([newer], noise(CHUNK)).code == "transfer.protocol.newer"


def test_what_a_failing_peer_says_is_plain_text_only() -> None:
    words = frame.Failed("some.code", "red \x1b[31malert\n").encoded()
    error = sent_to([words], noise(CHUNK))
    assert error.code == "transfer.peer.failed"
    assert error.text.isprintable()
    assert "some.code" in error.text


RECORDED = noise(6 * CHUNK)
CHUNKS = [RECORDED[at : at + CHUNK] for at in range(0, len(RECORDED), CHUNK)]
SENDER_SAID = [
    hello(len(RECORDED)).encoded(),
    *(chunk_frame(index, content) for index, content in enumerate(CHUNKS[:4])),
    frame.ranged(Kind.ASK, 4, 2),
    chunk_frame(4, CHUNKS[4]),
    frame.ranged(Kind.ZEROS, 5, 1),
    frame.bare(Kind.SYNC),
    End(6, bytes(SEAL)).encoded(),
]
RECEIVER_SAID = [
    frame.Welcome(KEY, held=4).encoded(),
    frame.listed(Kind.MAP, 0, b"\x0f"),
    frame.listed(Kind.HAVE, 0, bytes(64)),
    frame.counted(Kind.AGAIN, 1),
    frame.counted(Kind.DURABLE, 2),
    frame.done(bytes(32)),
]
mutations = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "repeat", "swap", "drop"]), st.integers(0, 9), st.integers(0, 5000)
    ),
    min_size=1,
    max_size=4,
)


def mutated(words: list[bytes], by: list[tuple[str, int, int]]) -> list[bytes]:
    changed = list(words)
    for what, number, place in by:
        at = number % len(changed)
        word = bytearray(changed[at])
        match what:
            case "flip" if word:
                word[place % len(word)] ^= 1 << place % 8
                changed[at] = bytes(word)
            case "cut":
                changed[at] = bytes(word[: place % (len(word) + 1)])
            case "repeat":
                changed.insert(at, changed[at])
            case "swap":
                other = place % len(changed)
                changed[at], changed[other] = changed[other], changed[at]
            case _:
                changed[at] = b""
    return changed


@settings(max_examples=60, deadline=None)
@given(mutations)
def test_a_mutated_session_ends_in_an_error_and_writes_no_byte_that_was_not_verified(
    by: list[tuple[str, int, int]],
) -> None:
    error, target = received_from(mutated(SENDER_SAID, by), len(RECORDED))
    assert error.text
    for at in range(0, len(RECORDED), CHUNK):
        assert target[at : at + CHUNK] in {bytes(CHUNK), *CHUNKS}


@settings(max_examples=40, deadline=None)
@given(mutations)
def test_mutated_words_of_a_receiver_end_the_sender_in_an_error(by: list[tuple[str, int, int]]) -> None:
    assert sent_to(mutated(RECEIVER_SAID, by), CHUNKS[0] * 4).text
