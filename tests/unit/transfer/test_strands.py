"""Chunks that share a zstd frame: packed by a thread, unpacked in the same order, broken in the middle."""

import random
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transfer.copying import CHUNK as PIECE
from tests.unit.transfer.copying import Copy, root_of

from crossport.testing.conformance.block import noise
from crossport.transfer import frame
from crossport.transfer.frame import Data
from crossport.transfer.meter import Meter
from crossport.transfer.pack import LEVELS, Gear, Packer
from crossport.transfer.unpack import Unpacker

CHUNK = 64 << 10
WORDS = [noise(24)[:size] for size in range(4, 20)]


def hard(threads: int = 1) -> Packer:
    """Return a packer for a slow link."""
    gear = Gear()
    gear.place = len(LEVELS) - 1
    return Packer(Meter(), threads, judge_every_s=3600, gear=gear)


def text(seed: int, size: int = CHUNK) -> bytes:
    """Return what compresses, and resembles what other seeds give."""
    choice = random.Random(seed)  # noqa: S311 - the same on every run
    return b"".join(choice.choice(WORDS) for _ in range(size // 4))[:size]


def sent(packer: Packer, contents: list[bytes]) -> Iterator[Data]:
    """Return chunks as a connection carries them."""
    for index, content in enumerate(contents):
        packed = packer.packed(memoryview(content), strands=True)
        if packed is None:
            yield Data(index, len(content), b"", packed=False, payload=content)
        else:
            alone = packed.strand == frame.NO_STRAND
            yield Data(index, len(content), b"", alone, packed.payload, strand=packed.strand)


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=300), st.integers(0, 9).map(text)), max_size=40))
@settings(max_examples=30, deadline=None)
def test_what_was_packed_in_strands_is_unpacked_as_it_was(contents: list[bytes]) -> None:
    unpacker = Unpacker()
    came = [Data.decoded(_frame(data)) for data in sent(hard(), contents)]
    assert [bytes(unpacker.unpacked(data) or b"") for data in came] == contents


def test_a_strand_packs_chunks_that_resemble_each_other_better_than_each_alone() -> None:
    half = noise(CHUNK // 2)
    contents = [half + text(seed, CHUNK // 2) for seed in range(8)]
    alone = sum(len(zstandard.ZstdCompressor(level=9).compress(content)) for content in contents)
    together = list(sent(hard(), contents))
    assert [data.strand for data in together] == [frame.FIRST] + 7 * [frame.NEXT]
    assert sum(len(data.payload) for data in together) < alone * 0.6


def test_a_strand_ends_after_a_while_and_when_it_is_snapped() -> None:
    packer = hard()
    assert [data.strand for data in sent(packer, [text(0, 2048)] * 100)].count(frame.FIRST) == 2
    packer.snap()
    assert next(sent(packer, [text(0)])).strand == frame.FIRST


def test_many_connections_pack_each_chunk_alone_to_save_memory() -> None:
    assert next(sent(hard(threads=16), [text(0)])).strand == frame.NO_STRAND


def test_an_easy_level_packs_each_chunk_alone() -> None:
    assert next(sent(Packer(Meter(), 1), [text(0)])).strand == frame.NO_STRAND


def test_what_follows_a_damaged_chunk_in_its_strand_is_lost_with_it_and_is_no_news() -> None:
    packer, unpacker = hard(), Unpacker()
    good = list(sent(packer, [text(seed) for seed in range(5)]))
    assert unpacker.unpacked(good[0]) == text(0)
    spoiled = Data(1, CHUNK, b"", False, bytes(len(good[1].payload)), strand=frame.NEXT)
    assert unpacker.unpacked(spoiled) != text(1)
    assert unpacker.is_news(spoiled)
    for data in good[2:]:
        assert unpacker.unpacked(data) is None
        assert not unpacker.is_news(data)
    packer.snap()
    assert [unpacker.unpacked(data) for data in sent(packer, [text(8), text(9)])] == [text(8), text(9)]


@pytest.mark.parametrize("strand", [frame.FIRST, frame.NEXT])
def test_a_strand_that_is_none_gives_no_chunk(strand: int) -> None:
    assert Unpacker().unpacked(Data(0, CHUNK, b"", False, noise(500), strand=strand)) is None


def test_a_strand_never_takes_more_memory_than_a_chunk_and_its_window() -> None:
    bomb = zstandard.ZstdCompressor(level=3).compress(bytes(256 << 20))
    wide = zstandard.ZstdCompressionParameters(compression_level=3, window_log=27)
    far = zstandard.ZstdCompressor(compression_params=wide).compressobj().compress(noise(1 << 20))
    assert len(far) > CHUNK
    tracemalloc.start()
    try:
        Unpacker().unpacked(Data(0, CHUNK, b"", False, bomb, strand=frame.FIRST))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert Unpacker().unpacked(Data(0, CHUNK, b"", False, far, strand=frame.FIRST)) is None


class Slow:
    """A rate limit that all wait for nearly all the time."""

    def take(self, size: int) -> None:
        time.sleep(0.002)


def test_a_chunk_damaged_in_a_strand_is_sent_again_with_what_follows_it_and_counts_once() -> None:
    content = b"".join(text(number % 7, PIECE) for number in range(600))
    copy, spoilt = Copy(content), list[int]()
    copy.throttle = Slow()
    copy.manner = replace(copy.manner, damage_limit=1)

    def spoil(data: Data) -> Data:
        if data.strand != frame.NEXT or spoilt or data.index % 4 != 1:
            return data  # two others of its batch follow before the sender listens
        spoilt.append(data.index)
        return replace(data, payload=bytes(len(data.payload)))

    copy.spoil = spoil
    assert copy.run() == (root_of(content), root_of(content))
    assert spoilt
    assert copy.target() == content


def _frame(data: Data) -> frame.Frame:
    encoded = data.encoded()
    return frame.Frame(frame.Kind.DATA, encoded[frame.HEADER.size :])
