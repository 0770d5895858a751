"""The simple mover's workers as processes: where they run, what they see, how they die."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.lab.transfer.transfer_lab import Lab, Process, workers_of

from crossport import errors, merkle
from crossport.model.artifact import Copied, DiskRef, Heat, Moved, Progress, Ticket
from crossport.model.locator import file_locator
from crossport.testing.conformance.block import noise
from crossport.transfer.chunk import Cut, Run
from crossport.transfer.job import subject_of
from crossport.transfer.journals import shelf
from crossport.transfer.leaf_store import LeafStore

MIB = 1 << 20


def ignore(progress: Progress) -> None:
    """Do not look at the progress."""


async def until(true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not come true"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def slow_copy(
    lab: Lab, least: int = MIB
) -> AsyncGenerator[tuple[asyncio.Task[Moved], list[Process], DiskRef]]:
    """A copy in its middle: 64 MiB at 8 MiB/s, both workers at work."""
    source = lab.served(lab.file(noise(64 * MIB)), rate=8 * MIB)
    target = replace(lab.file(size=64 * MIB), identity="volume-1")
    written = list[int]()
    copy = asyncio.ensure_future(
        lab.mover.move(
            *lab.tickets(source, target), lambda progress: written.append(progress.counters.written)
        )
    )
    await until(lambda: bool(written) and written[-1] > least)
    try:
        yield copy, workers_of(os.getpid()), target
    finally:
        copy.cancel()
        await asyncio.gather(copy, return_exceptions=True)


async def test_a_worker_sees_its_disk_and_nothing_else(lab: Lab) -> None:
    canary = lab.directory / "canary"
    canary.write_text("nobody but its owner")
    async with slow_copy(lab) as (_, workers, _):
        assert len(workers) == 2
        for worker in workers:
            root = Path(f"/proc/{worker.pid}/root")
            assert not (root / str(canary).lstrip("/")).exists()
            assert not (root / "etc/passwd").exists()
            assert len(list((root / str(lab.directory).lstrip("/")).iterdir())) == 1
            assert worker.uid == (os.geteuid() or worker.uid)
            assert worker.uid != 0


async def test_no_secret_is_in_an_argument_or_the_environment(lab: Lab) -> None:
    async with slow_copy(lab) as (_, workers, _):
        for worker in workers:
            for text in (worker.name, worker.environment):
                assert not any(word in text for word in ("nonce-of", "PRIVATE", "BEGIN", "ticket-"))


async def test_what_changes_all_the_time_is_left_to_the_last_copy(lab: Lab) -> None:
    """Two workers each time, which remember nothing: what is owed goes by way of the run."""
    chunk, heat, told = 256 << 10, tuple[Heat, ...](), list[Moved]()
    source, target = (replace(lab.file(size=10 * chunk), identity=f"volume-{number}") for number in range(2))
    for number in range(5):
        content = noise(chunk) + noise(chunk, f"hot-{number}") + noise(8 * chunk)
        Path(source.locator).write_bytes(content)
        changed = (
            replace(source, locator=file_locator(source.locator, ((chunk, chunk),))) if number else source
        )
        read, write = (replace(one, nonce=f"{one.way}-{number}") for one in lab.tickets(changed, target))
        read = replace(read, heat=heat, defers=0 < number < 4)
        told.append(await lab.mover.move(read, write, ignore))
        heat = told[-1].heat
    assert [one.counters.written // chunk for one in told] == [10, 1, 0, 0, 1]
    assert [one.counters.read // chunk for one in told] == [10, 1, 0, 0, 1], "the sender's end remembers"
    assert [[part.owed for part in one.heat] for one in told] == [[], [False], [True], [True], []]
    assert Path(target.locator).read_bytes() == Path(source.locator).read_bytes()


async def test_what_the_target_has_instead_of_a_chunk_that_is_not_read_again_is_found(lab: Lab) -> None:
    chunk = 256 << 10
    content, other = noise(8 * chunk), noise(chunk, "another")
    source, target = (
        replace(lab.file(each, size=8 * chunk), identity=f"volume-{number}")
        for number, each in enumerate((content, b""))
    )
    await lab.mover.move(*lab.tickets(source, target), ignore)

    Path(target.locator).write_bytes(content[: 5 * chunk] + other + content[6 * chunk :])
    subject = subject_of(Copied("acme", "run-1", "disk-0"), target)
    with (lab.directory / "journals" / shelf("run-1") / shelf("disk-0")).open("r+b") as journal:
        held = LeafStore(journal.fileno(), Cut(8 * chunk, chunk), subject)
        held.commit([(Run(5, 1, zero=False), merkle.leaf(other))])

    changed = replace(source, locator=file_locator(source.locator, ((chunk, chunk),)))
    read, write = (replace(one, nonce=f"{one.way}-again") for one in lab.tickets(changed, target))
    with pytest.raises(errors.Broken, match="another root than that of what was read"):
        await lab.mover.move(read, write, ignore)


async def test_memory_stays_bounded(lab: Lab) -> None:
    async with slow_copy(lab) as (_, workers, _):
        assert max(worker.peak_size for worker in workers) < 64 * MIB


def _write(disk: DiskRef, places: tuple[int, ...]) -> None:
    with Path(disk.locator).open("r+b") as file:
        for place in places:
            file.seek(place)
            file.write(noise(MIB, str(place)))


async def test_two_tib_of_which_little_is_used_cost_little_memory_and_time(lab: Lab) -> None:
    source, target = lab.file(size=2 << 40), replace(lab.file(size=2 << 40), identity="volume-1")
    _write(source, (0, 1 << 40, (2 << 40) - MIB))
    seen = list[int]()

    def look(progress: Progress) -> None:
        seen.extend(worker.peak_size for worker in workers_of(os.getpid()))

    read, write = (replace(ticket, byte_budget=1 << 42) for ticket in lab.tickets(source, target))
    moved = await lab.mover.move(read, write, look)
    assert moved.counters.written == 3 * MIB
    assert max(seen) < 128 * MIB
    again = await lab.mover.move(read, write, ignore)
    assert (again.root, again.counters.written, again.counters.present) == (moved.root, 0, 3 * MIB)


@pytest.mark.parametrize("end", [0, 1])
async def test_a_killed_worker_is_unavailable_and_the_copy_goes_on(lab: Lab, end: int) -> None:
    async with slow_copy(lab, 12 * MIB) as (copy, workers, target):
        os.kill(workers[end].pid, signal.SIGKILL)
        with pytest.raises(errors.Unavailable) as caught:
            async with asyncio.timeout(30):
                await copy
        assert caught.value.code == "transfer.worker.died"
        assert not workers_of(os.getpid())
        source = lab.file(noise(64 * MIB))
        moved = await lab.mover.move(*_fresh(lab, source, target), ignore)
        assert moved.counters.present > 2 * MIB
        assert moved.counters.sent < 62 * MIB
        assert Path(target.locator).read_bytes() == noise(64 * MIB)


def _fresh(lab: Lab, source: DiskRef, target: DiskRef) -> tuple[Ticket, Ticket]:
    read, write = lab.tickets(source, target)
    return replace(read, epoch=2, nonce="r2"), replace(write, epoch=2, nonce="w2")


async def test_cancelling_leaves_no_process_behind(lab: Lab) -> None:
    async with slow_copy(lab) as (copy, workers, _):
        began = time.monotonic()
        copy.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copy
        assert time.monotonic() - began < 1
        # They are dead; whoever collects the orphans of this machine may take a moment.
        await until(lambda: not any(Path(f"/proc/{worker.pid}").exists() for worker in workers), 1.5)


async def test_workers_end_within_a_second_when_the_mover_is_killed(lab: Lab) -> None:
    source, target = lab.served(lab.file(noise(16 * MIB)), rate=MIB), lab.file(size=16 * MIB)
    script = f"""
        import asyncio
        from pathlib import Path
        from crossport.model.artifact import DiskRef
        from tests.lab.transfer.transfer_lab import Lab
        lab = Lab(Path({str(lab.directory)!r}))
        tickets = lab.tickets({source!r}, {target!r})
        asyncio.run(lab.mover.move(*tickets, lambda progress: None))
    """
    argv = [sys.executable, "-c", textwrap.dedent(script)]
    mover = await asyncio.create_subprocess_exec(*argv, cwd=Path(__file__).parents[3])
    await until(lambda: len(workers_of(mover.pid)) == 2)
    workers = workers_of(mover.pid)
    mover.kill()
    await until(lambda: not any(Path(f"/proc/{worker.pid}").exists() for worker in workers), 1.5)
    await mover.wait()


async def test_a_source_that_stops_answering_is_unavailable(lab: Lab) -> None:
    source = lab.served(lab.file(noise(16 * MIB)), rate=4 * MIB)
    target = lab.file(size=16 * MIB)
    seen = list[int]()
    copy = asyncio.ensure_future(
        lab.mover.move(*lab.tickets(source, target), lambda progress: seen.append(progress.done))
    )
    await until(lambda: bool(seen) and seen[-1] > 0)
    lab.close()
    with pytest.raises(errors.Unavailable) as caught:
        await copy
    assert caught.value.code == "nbd.connection.lost"


async def test_a_served_source_that_somebody_writes_to_meanwhile_ends_the_copy(lab: Lab) -> None:
    file = lab.file(noise(16 * MIB))
    source, target = lab.served(file, rate=8 * MIB), lab.file(size=16 * MIB)
    seen = list[int]()
    copy = asyncio.ensure_future(
        lab.mover.move(*lab.tickets(source, target), lambda progress: seen.append(progress.done))
    )
    await until(lambda: bool(seen) and seen[-1] > 8 * MIB)
    Path(file.locator).write_bytes(noise(16 * MIB, seed="changed"))
    with pytest.raises(errors.Broken, match=r"transfer\.source\.changed"):
        await copy


@pytest.mark.root
async def test_a_socket_that_is_closed_to_the_worker_is_refused_with_a_remedy(lab: Lab) -> None:
    source = lab.served(lab.file(noise(MIB)), mode=0o600)
    with pytest.raises(errors.Refused, match=r"transfer\.socket\.closed"):
        await lab.mover.move(*lab.tickets(source, lab.file(size=MIB)), ignore)


@pytest.fixture
def small_file_system(tmp_path: Path) -> Generator[Path]:
    directory = tmp_path / "small"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)], check=True)
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.root
async def test_a_target_without_room_is_told_as_such(lab: Lab, small_file_system: Path) -> None:
    path = small_file_system / "disk.raw"
    path.touch()
    target = DiskRef(kind="file", locator=str(path), size=16 * MIB)
    with pytest.raises(errors.Conflict) as caught:
        await lab.mover.move(*lab.tickets(lab.file(noise(16 * MIB)), target), ignore)
    assert caught.value.code == "transfer.target.full"
    assert "No space left" in caught.value.text


@pytest.fixture
def wan() -> Generator[tuple[str, str]]:
    """Two network namespaces joined by one link, 10.98.7.1 and 10.98.7.2."""
    names = f"xpt{os.getpid()}a", f"xpt{os.getpid()}b"

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True)

    for name in names:
        ip("netns", "add", name)
    ip("link", "add", "wan", "netns", names[0], "type", "veth", "peer", "name", "wan", "netns", names[1])
    for number, name in enumerate(names, 1):
        ip("-n", name, "address", "add", f"10.98.7.{number}/24", "dev", "wan")
        ip("-n", name, "link", "set", "wan", "up")
    yield names
    for name in names:
        ip("netns", "delete", name)


@pytest.mark.root
async def test_each_end_works_in_the_namespace_of_its_place(lab: Lab, wan: tuple[str, str]) -> None:
    content = noise(4 * MIB) + bytes(4 * MIB)
    source, target = lab.served(lab.file(content)), lab.served(lab.file(size=8 * MIB))
    places = lab.place("10.98.7.1", wan[0]), lab.place("10.98.7.2", wan[1])
    moved = await lab.mover.move(*lab.tickets(source, target, places), ignore)
    assert Path(target.locator[5:].partition("?")[0]).with_suffix(".raw").read_bytes() == content
    assert (await lab.mover.digest(target, places[1])).root == moved.root
    carried = _bytes_over(wan[1])
    assert moved.counters.sent <= carried <= 1.2 * moved.counters.sent


def _bytes_over(namespace: str) -> int:
    argv = ["ip", "netns", "exec", namespace, "cat", "/proc/net/dev"]
    told = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    [line] = [line for line in told.splitlines() if line.strip().startswith("wan:")]
    return int(line.partition(":")[2].split()[0])


@pytest.mark.root
async def test_a_place_that_does_not_exist_is_unavailable(lab: Lab) -> None:
    source, target = lab.file(noise(MIB)), lab.file(size=MIB)
    places = lab.place(namespace="no-such-namespace"), lab.place(namespace="no-such-namespace")
    with pytest.raises(errors.Unavailable, match="no-such-namespace"):
        await lab.mover.move(*lab.tickets(source, target, places), ignore)
