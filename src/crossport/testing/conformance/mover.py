"""What every Mover promises, as tests.

Derive a class named ``Test…`` and give it the fixture ``bench``: a mover, and disks it can copy between. The
suite checks the bytes at the target, the root by the slowest correct program, and every ticket that must be
refused.
"""

import asyncio
import time
from dataclasses import replace
from typing import Protocol

import pytest

from crossport import errors
from crossport.model.artifact import Copied, Digest, DiskRef, Moved, Place, Progress, Ticket, Way
from crossport.spi.mover import Mover
from crossport.testing.conformance.block import noise
from crossport.testing.mover import CHUNK, slow_root

__all__ = ["DigestingMover", "MoverBench", "MoverConformance", "root_of", "tickets"]

MIXED = noise(CHUNK, "a") + bytes(2 * CHUNK) + noise(CHUNK + 100, "b") + bytes(3 * CHUNK) + b"the end"


class DigestingMover(Mover, Protocol):
    """A mover that also reads an artifact at rest."""

    async def digest(
        self, ref: DiskRef, place: Place, chunk_size: int = CHUNK, copied: Copied | None = None
    ) -> Digest:
        """Return the Merkle root over the first ``ref.size`` bytes of what lies there."""
        ...


class MoverBench(Protocol):
    """The mover under test and its disks."""

    mover: DigestingMover

    def source(self, content: bytes) -> DiskRef:
        """Make a disk that reads as ``content``."""
        ...

    def target(self, size: int, content: bytes = b"") -> DiskRef:
        """Make a disk of ``size`` bytes that begins with ``content`` and else reads as zero."""
        ...

    def content(self, ref: DiskRef) -> bytes:
        """Return what lies on a disk."""
        ...

    def spoil(self, ref: DiskRef, position: int) -> None:
        """Flip one bit of the byte at ``position`` where it lies."""
        ...

    def lose(self, ref: DiskRef) -> None:
        """Make a disk vanish."""
        ...

    def place(self, way: Way) -> Place:
        """Return where that end works."""
        ...


def tickets(bench: MoverBench, source: DiskRef, target: DiskRef, run: str = "run-1") -> tuple[Ticket, Ticket]:
    """Return sound tickets for one copy."""
    read = Ticket(
        id=f"{run}-read",
        tenant="acme",
        run=run,
        epoch=1,
        artifact="disk-0",
        way=Way.READ,
        ref=source,
        place=bench.place(Way.READ),
        byte_budget=1 << 30,
        expires=time.time() + 300,
        nonce=f"{run}-read-nonce",
    )
    write = replace(
        read,
        id=f"{run}-write",
        way=Way.WRITE,
        ref=target,
        place=bench.place(Way.WRITE),
        nonce=f"{run}-write-nonce",
    )
    return read, write


def root_of(content: bytes) -> str:
    """Return the root by the slowest correct program."""
    return slow_root([content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]).hex()


def ignore(progress: Progress) -> None:
    """Do not look at the progress."""


class MoverConformance:
    """Passes for everything that may call itself a mover."""

    @pytest.fixture
    def bench(self) -> MoverBench:
        """Return the mover under test and its disks."""
        raise NotImplementedError("the implementation under test gives this fixture")

    @pytest.mark.parametrize("size", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK - 7, len(MIXED)], ids=str)
    async def test_every_byte_arrives_and_the_root_proves_it(self, bench: MoverBench, size: int) -> None:
        content = MIXED[:size]
        source, target = bench.source(content), bench.target(size)
        moved = await bench.mover.move(*tickets(bench, source, target), ignore)
        assert bench.content(target)[:size] == content
        assert moved.root == root_of(content)
        assert (moved.artifact, moved.size, moved.chunk_size) == ("disk-0", size, CHUNK)

    async def test_holes_cost_nothing(self, bench: MoverBench) -> None:
        content = noise(CHUNK) + bytes(40 * CHUNK) + noise(CHUNK)
        moved = await bench.mover.move(
            *tickets(bench, bench.source(content), bench.target(len(content))), ignore
        )
        assert moved.root == root_of(content)
        assert moved.counters.read <= 3 * CHUNK
        assert moved.counters.sent < 2.1 * CHUNK
        assert moved.counters.written == 2 * CHUNK

    async def test_every_byte_is_counted_once(self, bench: MoverBench) -> None:
        content = noise(CHUNK) + bytes(40 * CHUNK) + b"text " * CHUNK
        moved = await bench.mover.move(
            *tickets(bench, bench.source(content), bench.target(len(content))), ignore
        )
        counted = moved.counters
        assert counted.zero == 40 * CHUNK
        assert counted.written + counted.zero + counted.present + counted.unchanged == len(content)

    async def test_a_run_is_forgotten_twice_and_so_is_one_that_nobody_knows(self, bench: MoverBench) -> None:
        pair = tickets(bench, bench.source(MIXED), bench.target(len(MIXED)))
        await bench.mover.move(*pair, ignore)
        for run in ("run-1", "run-1", "nobody-s"):
            await bench.mover.forget(run)
        assert (await bench.mover.move(*_both(pair, epoch=2, nonce="later"), ignore)).root == root_of(MIXED)

    async def test_old_content_of_the_target_does_not_shine_through(self, bench: MoverBench) -> None:
        source = bench.source(MIXED)
        target = bench.target(len(MIXED), content=noise(len(MIXED), "old"))
        await bench.mover.move(*tickets(bench, source, target), ignore)
        assert bench.content(target)[: len(MIXED)] == MIXED

    async def test_what_lies_beyond_the_source_s_size_is_not_touched(self, bench: MoverBench) -> None:
        old = noise(8 * CHUNK, "old")
        target = bench.target(8 * CHUNK, content=old)
        content = noise(3 * CHUNK)
        await bench.mover.move(*tickets(bench, bench.source(content), target), ignore)
        assert bench.content(target) == content + old[3 * CHUNK :]

    async def test_progress_only_grows_and_ends_at_the_whole(self, bench: MoverBench) -> None:
        seen = list[Progress]()
        source, target = bench.source(MIXED), bench.target(len(MIXED))
        await bench.mover.move(*tickets(bench, source, target), seen.append)
        done = [progress.done for progress in seen]
        assert done == sorted(done)
        assert seen[-1].done == seen[-1].size == len(MIXED)
        assert {progress.artifact for progress in seen} == {"disk-0"}

    async def test_the_same_copy_may_be_made_again(self, bench: MoverBench) -> None:
        pair = tickets(bench, bench.source(MIXED), bench.target(len(MIXED)))
        first = await bench.mover.move(*pair, ignore)
        second = await bench.mover.move(*pair, ignore)
        later = await bench.mover.move(*_both(pair, epoch=2, nonce="later"), ignore)
        assert first.root == second.root == later.root == root_of(MIXED)

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"expires": 1.0}, "transfer.ticket.expired"),
            ({"way": Way.READ}, "transfer.ticket.way"),
            ({"byte_budget": len(MIXED) - 1}, "transfer.ticket.budget"),
            ({"run": "another"}, "transfer.ticket.foreign"),
            ({"tenant": "another"}, "transfer.ticket.foreign"),
            ({"artifact": "disk-1"}, "transfer.ticket.foreign"),
            ({"epoch": 2}, "transfer.ticket.foreign"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",  # pyright: ignore[reportUnknownLambdaType,reportUnknownArgumentType]
    )
    async def test_a_ticket_that_does_not_allow_it_is_refused(
        self, bench: MoverBench, change: dict[str, object], code: str
    ) -> None:
        target = bench.target(len(MIXED))
        read, write = tickets(bench, bench.source(MIXED), target)
        with pytest.raises(errors.Refused) as caught:
            await bench.mover.move(read, replace(write, **change), ignore)
        assert caught.value.code == code
        assert not any(bench.content(target))

    async def test_a_ticket_of_an_older_epoch_is_refused(self, bench: MoverBench) -> None:
        pair = tickets(bench, bench.source(MIXED), bench.target(len(MIXED)))
        await bench.mover.move(*_both(pair, epoch=2), ignore)
        with pytest.raises(errors.Refused) as caught:
            await bench.mover.move(*_both(pair, epoch=1, nonce="old"), ignore)
        assert caught.value.code == "transfer.ticket.old"

    async def test_a_ticket_that_was_used_elsewhere_is_refused(self, bench: MoverBench) -> None:
        read, write = tickets(bench, bench.source(MIXED), bench.target(len(MIXED)))
        await bench.mover.move(read, write, ignore)
        elsewhere = replace(write, place=replace(write.place, subnet="another"), nonce="fresh")
        with pytest.raises(errors.Refused) as caught:
            await bench.mover.move(read, elsewhere, ignore)
        assert caught.value.code == "transfer.ticket.replayed"

    async def test_a_target_that_is_too_small_is_refused_before_anything_is_written(
        self, bench: MoverBench
    ) -> None:
        target = bench.target(2 * CHUNK)
        with pytest.raises(errors.Invalid) as caught:
            await bench.mover.move(*tickets(bench, bench.source(noise(3 * CHUNK)), target), ignore)
        assert caught.value.code == "transfer.target.small"
        assert not any(bench.content(target))

    @pytest.mark.parametrize("end", ["source", "target"])
    async def test_an_end_that_vanished_is_unavailable(self, bench: MoverBench, end: str) -> None:
        source, target = bench.source(MIXED), bench.target(len(MIXED))
        bench.lose(source if end == "source" else target)
        with pytest.raises(errors.Unavailable):
            await bench.mover.move(*tickets(bench, source, target), ignore)

    async def test_a_cancelled_copy_ends_at_once_and_can_be_made_again(self, bench: MoverBench) -> None:
        content = noise(16 << 20)
        pair = tickets(bench, bench.source(content), bench.target(len(content)))
        copy, began = _started(bench, pair)
        await began.wait()
        cancelled = time.monotonic()
        copy.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copy
        assert time.monotonic() - cancelled < 2
        assert (await bench.mover.move(*pair, ignore)).root == root_of(content)

    async def test_a_higher_epoch_ends_the_copy_of_a_lower_one(self, bench: MoverBench) -> None:
        content = noise(16 << 20)
        pair = tickets(bench, bench.source(content), bench.target(len(content)))
        lower, began = _started(bench, pair)
        await began.wait()
        moved = await bench.mover.move(*_both(pair, epoch=2, nonce="two"), ignore)
        with pytest.raises(errors.Refused) as caught:
            await lower
        assert caught.value.code == "transfer.ticket.superseded"
        assert moved.root == root_of(content)

    async def test_one_flipped_bit_at_rest_is_found(self, bench: MoverBench) -> None:
        target = bench.target(len(MIXED))
        moved = await bench.mover.move(*tickets(bench, bench.source(MIXED), target), ignore)
        at_rest, place = replace(target, size=moved.size), bench.place(Way.READ)
        before = await bench.mover.digest(at_rest, place)
        assert (before.root, before.read > 0) == (moved.root, True)
        bench.spoil(target, 2 * CHUNK + 5)  # in a hole
        assert (await bench.mover.digest(at_rest, place)).root != moved.root

    async def test_what_was_written_behind_a_reading_is_read_once_more(self, bench: MoverBench) -> None:
        target, place = bench.target(len(MIXED)), bench.place(Way.READ)
        first = tickets(bench, bench.source(MIXED), target)
        copied = Copied(first[1].tenant, first[1].run, first[1].artifact)
        moved = await bench.mover.move(*first, ignore)
        assert (await bench.mover.digest(target, place, copied=copied)).root == moved.root
        changed = MIXED[: 3 * CHUNK] + noise(CHUNK, "changed") + MIXED[4 * CHUNK :]
        second = tickets(bench, bench.source(changed), target)
        moved = await bench.mover.move(*_both(second, epoch=1, nonce="second"), ignore)
        assert (await bench.mover.digest(target, place, copied=copied)).root == moved.root
        moved = await bench.mover.move(*_both(first, epoch=1, nonce="third"), ignore)
        bench.spoil(target, 3 * CHUNK + 5)  # in what was written last
        assert (await bench.mover.digest(target, place, copied=copied)).root != moved.root


def _both(pair: tuple[Ticket, Ticket], *, epoch: int, nonce: str = "") -> tuple[Ticket, Ticket]:
    read, write = pair
    return (
        replace(read, epoch=epoch, nonce=nonce + read.nonce),
        replace(write, epoch=epoch, nonce=nonce + write.nonce),
    )


def _started(bench: MoverBench, pair: tuple[Ticket, Ticket]) -> tuple[asyncio.Task[Moved], asyncio.Event]:
    """Begin a copy; the event is set at its first progress."""
    began = asyncio.Event()

    def note(progress: Progress) -> None:
        began.set()

    return asyncio.ensure_future(bench.mover.move(*pair, note)), began
