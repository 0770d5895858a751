"""Copies that are cut, killed and made again: what is sent again, and that every byte is right in the end."""

import random
import socket
import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transfer.copying import CHUNK, KEY, Copy, Marked, Wire, root_of

from crossport import errors, merkle
from crossport.spi.block import BlockReader, BlockWriter
from crossport.testing.conformance.block import noise
from crossport.testing.faulty_disk import CutReader, ForgetfulWriter
from crossport.transfer import frame
from crossport.transfer.manner import Manner
from crossport.transfer.names import NAME, Names

SIZE = 200 * CHUNK


class Flaky:
    """Stands between the two ends and cuts each connection after ``life`` bytes, ``times`` times in all."""

    def __init__(self, wire: Wire, life: int, times: int, piece: int = 1 << 16) -> None:
        self.wire = wire
        self.life = life
        self.left = times
        self.piece = piece
        self.passed = 0

    def __call__(self, end: socket.socket) -> socket.socket:
        inner, outer = self.wire.pair()
        for source, to in ((end, inner), (inner, end)):
            threading.Thread(target=self._pump, args=(source, to), daemon=True).start()
        return outer

    def _pump(self, source: socket.socket, to: socket.socket) -> None:
        passed = 0
        try:
            while piece := source.recv(self.piece):
                passed += len(piece)
                self.passed += len(piece)
                to.sendall(piece)
                if passed >= self.life and self.left > 0:
                    self.left -= 1
                    break
        except OSError:
            pass
        for one in (source, to):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def test_a_link_that_drops_again_and_again_is_connected_anew_and_little_is_sent_twice() -> None:
    content = noise(SIZE)
    copy = Copy(content)
    copy.wire.between = flaky = Flaky(copy.wire, life=20 * CHUNK, times=3)
    assert copy.run() == (root_of(bytes(content)), root_of(bytes(content)))
    assert copy.target() == content
    assert flaky.left == 0
    assert copy.meters[0].counters.sent < 1.7 * SIZE


def test_a_link_that_delivers_a_byte_at_a_time_is_slow_and_nothing_else() -> None:
    content = noise(CHUNK)
    copy = Copy(content)
    copy.wire.between = Flaky(copy.wire, life=1 << 40, times=0, piece=1)
    assert copy.run() == (root_of(bytes(content)), root_of(bytes(content)))


def test_a_link_that_stays_away_is_given_up() -> None:
    copy = Copy(noise(SIZE))
    copy.manner = Manner(connections=1, patience_s=0.2)
    copy.wire.idle_s = 0.5
    copy.wire.between = Flaky(copy.wire, life=1, times=1 << 30)
    assert all(isinstance(outcome, errors.Unavailable) for outcome in copy.run())


def interrupted(copy: Copy, after: int) -> None:
    """Run a copy whose source fails behind ``after`` bytes."""
    whole = copy.reader
    copy.reader = CutReader(whole, after, errors.Broken("nbd.request.failed", "It cannot be read."))
    sent, _ = copy.run()
    assert isinstance(sent, errors.Broken)
    copy.reader = whole


def test_a_copy_that_was_killed_sends_only_what_was_missing() -> None:
    content = noise(SIZE)
    copy = Copy(content)
    interrupted(copy, SIZE // 2)
    assert copy.run() == (root_of(bytes(content)), root_of(bytes(content)))
    assert copy.target() == content
    assert copy.meters[1].counters.present > 0.4 * SIZE
    assert copy.meters[0].counters.sent < 0.6 * SIZE


def test_missing_chunks_come_before_those_that_are_compared() -> None:
    copy = Copy(noise(SIZE))
    copy.manner = Manner(connections=1)  # two would end at about the same time
    interrupted(copy, SIZE // 2)
    order = list[int]()
    writer = copy.writer

    class Watched:
        size = writer.size
        reads_as_zero = writer.reads_as_zero

        def write(self, start: int, data: bytes | memoryview) -> None:
            order.append(start)
            writer.write(start, data)

        def zero(self, start: int, size: int) -> None:
            writer.zero(start, size)

        def flush(self) -> None:
            writer.flush()

        def close(self) -> None:
            writer.close()

    new = bytearray(noise(SIZE))
    new[0] ^= 1
    copy.change(bytes(new))
    copy.writer = Watched()
    assert copy.run()[0] == root_of(bytes(new))
    assert order[-1] == 0


def test_what_was_not_flushed_at_a_power_cut_is_sent_again_and_nothing_else() -> None:
    content = noise(SIZE)
    copy = Copy(content)
    copy.writer = forgetful = ForgetfulWriter(copy.writer)
    interrupted(copy, SIZE // 2)
    forgetful.lose()
    assert copy.run() == (root_of(bytes(content)), root_of(bytes(content)))
    assert copy.target() == content


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_power_cuts_in_the_middle_of_syncs_leave_no_lie_in_the_journal(seed: int, tracked: bool) -> None:
    chance = random.Random(seed)  # noqa: S311
    first = noise(40 * CHUNK)
    content = bytearray(first)
    copy = Copy(first)
    plain: BlockWriter = copy.writer
    reader = copy.reader
    changed: set[int] = set(range(40))
    for _ in range(4):
        copy.writer = forgetful = ForgetfulWriter(plain)
        limit = chance.choice([CHUNK * 10, CHUNK * 30, CHUNK * 41])
        source: BlockReader = Marked(reader, changed) if tracked else reader
        copy.reader = CutReader(source, limit, errors.Broken("cut", "The power is gone."))
        sent, _ = copy.run()
        forgetful.lose()
        if not isinstance(sent, errors.Error):
            assert copy.target() == bytes(content)
            changed = set[int]()
        for _ in range(3):
            index = chance.randrange(40)
            changed.add(index)
            # Now and then a chunk is again what it was before.
            fresh = (
                noise(40 * CHUNK)[index * CHUNK : (index + 1) * CHUNK]
                if chance.random() < 0.5
                else b"x" * CHUNK
            )
            content[index * CHUNK : (index + 1) * CHUNK] = fresh
        copy.change(bytes(content))
    copy.writer, copy.reader = plain, Marked(reader, changed) if tracked else reader
    assert copy.run() == (root_of(bytes(content)), root_of(bytes(content)))
    assert copy.target() == bytes(content)


def test_a_delta_sync_reads_and_sends_only_what_changed() -> None:
    content = bytearray(noise(SIZE))
    copy = Copy(bytes(content))
    copy.run()
    content[7 * CHUNK : 8 * CHUNK] = noise(CHUNK, "new")
    content[100 * CHUNK : 102 * CHUNK] = bytes(2 * CHUNK)
    copy.change(bytes(content))
    copy.reader = Marked(copy.reader, {7, 8, 100, 101})
    assert copy.run() == (root_of(bytes(content)), root_of(bytes(content)))
    sent, received = (meter.counters for meter in copy.meters)
    assert sent.read == 4 * CHUNK
    assert sent.sent < 2 * CHUNK
    assert (received.written, received.zero, received.present) == (CHUNK, 2 * CHUNK, CHUNK)
    assert received.unchanged == SIZE - 4 * CHUNK
    assert copy.target() == bytes(content)


def test_a_lost_dirty_bit_is_found_when_all_is_compared_100_times_of_100() -> None:
    chance = random.Random(7)  # noqa: S311
    content = bytearray(noise(20 * CHUNK))
    copy = Copy(bytes(content))
    copy.run()
    whole = copy.reader
    for _ in range(100):
        place = chance.randrange(len(content))
        content[place] ^= 1 << chance.randrange(8)
        copy.change(bytes(content))
        copy.reader = Marked(whole, set())
        copy.run()
        assert copy.target() != bytes(content)
        copy.reader = whole
        assert copy.run() == (root_of(bytes(content)), root_of(bytes(content)))
        assert copy.target() == bytes(content)
        assert copy.meters[1].counters.written == CHUNK


def test_unchanged_chunks_that_the_target_lacks_are_sent_all_the_same() -> None:
    content = noise(SIZE)
    copy = Copy(content)
    interrupted(copy, SIZE // 2)
    copy.reader = Marked(copy.reader, set())
    assert copy.run() == (root_of(bytes(content)), root_of(bytes(content)))
    assert copy.target() == content


def test_a_journal_of_another_run_is_thrown_away() -> None:
    content = noise(SIZE)
    copy = Copy(content)
    copy.run()
    copy.sends, copy.expects = (replace(hello, run="run-2") for hello in (copy.sends, copy.expects))
    copy.run()
    assert copy.meters[1].counters.present == 0
    assert copy.meters[0].counters.sent > SIZE


@pytest.mark.parametrize("sender_dials", [True, False])
@pytest.mark.parametrize("connections", [1, 3, 16])
def test_either_end_may_dial_over_any_number_of_connections(sender_dials: bool, connections: int) -> None:
    content = noise(SIZE)
    copy = Copy(content)
    copy.wire.path = (0.2, False)  # a long way, which wants many
    copy.manner = Manner(connections=connections)
    copy.sender_dials = sender_dials
    assert copy.run() == (root_of(bytes(content)), root_of(bytes(content)))
    assert copy.wire.made == connections


def test_a_name_tells_nothing_about_a_chunk_under_another_key() -> None:
    leaf = merkle.leaf(noise(CHUNK))
    ours, theirs = Names(KEY), Names(bytes(32))
    assert ours.name(leaf) != theirs.name(leaf)
    assert len(ours.name(leaf)) == NAME
    assert ours.name(leaf) not in leaf


def test_no_plain_digest_crosses_the_wire() -> None:
    content = noise(40 * CHUNK)
    copy = Copy(content)
    heard = bytearray()

    def listening(end: socket.socket) -> socket.socket:
        inner, outer = copy.wire.pair()

        def pump(source: socket.socket, to: socket.socket) -> None:
            try:
                while piece := source.recv(1 << 16):
                    heard.extend(piece)
                    to.sendall(piece)
                to.shutdown(socket.SHUT_WR)
            except OSError:
                return

        for source, to in ((end, inner), (inner, end)):
            threading.Thread(target=pump, args=(source, to), daemon=True).start()
        return outer

    copy.wire.between = listening
    copy.run()
    copy.run()
    leaves = [merkle.leaf(content[at : at + CHUNK]) for at in range(0, len(content), CHUNK)]
    assert not any(leaf[:NAME] in heard for leaf in leaves)
    assert any(frame.HEADER.pack(frame.Kind.HAVE, b"\0\0\0", 8 + n * NAME) in heard for n in range(65))
