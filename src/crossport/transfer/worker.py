"""One end of a copy as a process of its own: ``crossport.transfer.worker send|receive|digest|look FD…``.

It reads who it is and then its job, one line each, from standard input, tells its progress as lines on
standard output, and ends when standard input ends: a worker never outlives the process that started it. As an
entry point it reads the clock itself. Imports are lean, because a person waits for each start: what only one
way or one kind of disk needs is imported when that is asked for.
"""

import contextlib
import importlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from crossport import errors
from crossport.model.artifact import Copied, DiskRef, Way
from crossport.transfer import chunk, disk, noise, ticket
from crossport.transfer.frame import VERSION
from crossport.transfer.job import Credential, DigestJob, Job, LookJob, failure_line, subject_of
from crossport.transfer.link import Dialled, Listening
from crossport.transfer.manner import Terms
from crossport.transfer.meter import Meter
from crossport.transfer.names import KEY, Names
from crossport.transfer.throttle import Throttle

if TYPE_CHECKING:
    from crossport.spi.block import BlockReader, BlockWriter
    from crossport.transfer.far_egress import FarEgress
    from crossport.transfer.leaf_store import LeafStore
    from crossport.transfer.published import Published
    from crossport.transfer.sharing import Sharing

__all__ = ["NEEDED", "main"]

REPORT_EVERY_S = 0.25
_ORPHANED = 75
_IMAGE_TIMEOUT_S = 3.0
_SPOT_CHECKED = ("file", "nbd")
"""Kinds of disks that somebody may write to unseen. A web server tells versions apart."""
_DEAR = ("http",)
"""Kinds that are not read twice; what comes from there has no seal."""


class _Voice:
    """Standard output, one JSON line at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, event: dict[str, Any]) -> None:
        with self._lock:
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()


def main(way: str, inherited: list[int]) -> int:
    """Do the job that comes on standard input.

    A receiver inherits descriptors: the journal, then the chunks and the table of a stock if there is one.
    """
    voice = _Voice()
    for needed in NEEDED[way]:  # while the job is still on its way
        importlib.import_module(f"crossport.transfer.{needed}")
    own = Credential.of(sys.stdin.buffer.readline())
    job = sys.stdin.buffer.readline()
    orders = _Orders(voice)
    threading.Thread(target=orders.follow, daemon=True).start()
    try:
        voice.say({"event": "done", **_WAYS[way](job, _Surroundings(own, voice, orders, inherited))})
    except errors.Error as error:
        voice.say(failure_line(error))
        return 1
    except Exception as error:  # noqa: BLE001 - the outermost frame of the process: told, and on stderr in full
        traceback.print_exc()
        told = errors.Broken(
            "transfer.worker.crashed",
            f"A worker failed ({type(error).__name__}: {error}).",
            remedy="Look into the log of the site; then resume the run.",
        )
        voice.say(failure_line(told))
        return 1
    return 0


class _Orders:
    """What the starter says after the job, line by line; the worker ends when it says no more."""

    def __init__(self, voice: _Voice) -> None:
        self.throttle = Throttle(time.monotonic)
        self._voice = voice

    @cached_property
    def egress(self) -> "FarEgress":
        """Whoever says what of the web may be read; nobody answers before the worker has asked."""
        from crossport.transfer.far_egress import FarEgress  # noqa: PLC0415

        return FarEgress(self._voice.say)

    def follow(self) -> None:
        try:
            for line in sys.stdin.buffer:
                self._obey(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            traceback.print_exc()  # whoever speaks nonsense is no starter: end as if it were gone
        os._exit(_ORPHANED)

    def _obey(self, order: dict[str, Any]) -> None:
        match order["do"]:
            case "rate":
                self.throttle.rate(order["bps"])
            case "reach":
                self.egress.answered(order)
            case _:
                return  # of a newer release


@dataclass(frozen=True, slots=True)
class _Surroundings:
    own: Credential
    voice: _Voice
    orders: _Orders
    inherited: list[int]


def _send(line: bytes, here: _Surroundings) -> dict[str, Any]:
    from crossport.hypervisor.boot import boot_id  # noqa: PLC0415
    from crossport.transfer.coverage import Book  # noqa: PLC0415
    from crossport.transfer.sender import Means, Sender  # noqa: PLC0415
    from crossport.transfer.spot_check import SpotChecked  # noqa: PLC0415

    job = Job.of(line)
    meter = _began(job, Way.READ, here.voice)
    source = disk.open_reader(_openers(job.disk_timeout_s, here), job.ticket.ref)
    spots = SpotChecked(source) if job.ticket.ref.kind in _SPOT_CHECKED else None
    reader, heat = _left_out(spots or source, job)
    link = _link(job, meter, here)
    began = time.monotonic()
    try:
        terms = _terms(job)
        book = Book(here.inherited[0], {**_subject(job), "boot": boot_id()})
        means = Means(here.orders.throttle, book, trusts=job.ticket.ref.kind in _DEAR)
        root = Sender(reader, link, terms, meter, means=means).run()
        if spots:
            spots.check()
    finally:
        link.close()
        reader.close()
    took_us = round((time.monotonic() - began) * 1e6)
    return {"root": root.hex(), "took_us": took_us, "heat": heat, **meter.told()}


def _left_out(reader: "BlockReader", job: Job) -> "tuple[BlockReader, list[tuple[int, int, int, bool]]]":
    """Return the disk as it is to be sent, without what is left to later, and what is told of its heat."""
    told = job.ticket
    if not told.defers and not told.heat:
        return reader, []
    from crossport.transfer.heat import HotLast  # noqa: PLC0415

    hot = HotLast(reader, told.heat, job.hello.size, unit=job.hello.chunk_size, defers=told.defers)
    return hot, hot.told()


def _receive(line: bytes, here: _Surroundings) -> dict[str, Any]:
    from crossport.transfer import leaf_store  # noqa: PLC0415
    from crossport.transfer.receiver import Receiver  # noqa: PLC0415

    job = Job.of(line)
    meter = _began(job, Way.WRITE, here.voice)
    openers = _openers(job.disk_timeout_s, here, leaf_store.size_for(_cut(job)))
    writer = disk.open_writer(openers, _target(job))
    link = _link(job, meter, here)
    try:
        store, terms = _store(job, here.inherited[0]), _terms(job)
        with contextlib.ExitStack() as held:
            sharing = _sharing(terms, meter, here, _published(job, terms, here, held))
            if sharing is not None:
                held.callback(sharing.close)
            root = Receiver(writer, link, terms, meter, store, sharing).run()
    finally:
        link.close()
        writer.close()
    return {"root": root.hex(), **meter.told()}


def _terms(job: Job) -> Terms:
    """Return what the site says, in the newest version that is spoken here, whatever the site knows of."""
    key = bytes.fromhex(job.names_key)
    tenant, run = job.spoken or (job.hello.tenant, job.hello.run)
    hello = replace(job.hello, version=VERSION, tenant=tenant, run=run)
    return Terms(hello, job.manner, key or os.urandom(KEY), agreed=bool(key))


def _shares(terms: Terms, here: _Surroundings) -> bool:
    return len(here.inherited) > 1 and terms.agreed


def _sharing(
    terms: Terms, meter: Meter, here: _Surroundings, published: "Published | None"
) -> "Sharing | None":
    if not _shares(terms, here):
        return None
    from crossport.transfer.sharing import Sharing  # noqa: PLC0415
    from crossport.transfer.stock import Stock  # noqa: PLC0415
    from crossport.transfer.stock_access import Access  # noqa: PLC0415

    chunks, table = here.inherited[1:]
    access = Access(chunks, table, os.fstat(chunks).st_size, bytes.fromhex(here.own.stock_key))
    stock = Stock(access, Names(terms.key), time.monotonic, os.urandom)
    return Sharing(stock, meter, time.monotonic, published)


def _published(job: Job, terms: Terms, here: _Surroundings, held: contextlib.ExitStack) -> "Published | None":
    """Open the images that the ticket tells, as far as they are there; ``held`` closes them."""
    if not job.ticket.published or not _shares(terms, here):
        return None
    from crossport.transfer.published import Published  # noqa: PLC0415

    readers = list["BlockReader"]()
    for ref in job.ticket.published:
        # One that does not answer at once is no reason to keep a copy waiting.
        with contextlib.suppress(errors.Error):
            reader = disk.open_reader(_openers(min(job.disk_timeout_s, _IMAGE_TIMEOUT_S), here), ref)
            held.callback(reader.close)
            readers.append(reader)
    return Published(readers, _cut(job), Names(terms.key)) if readers else None


def _store(job: Job, journal: int) -> "LeafStore":
    from crossport.transfer.leaf_store import LeafStore  # noqa: PLC0415

    return LeafStore(journal, _cut(job), _subject(job), durable=bool(job.ticket.ref.identity))


def _subject(job: Job) -> dict[str, str]:
    ticket = job.ticket
    return subject_of(Copied(ticket.tenant, ticket.run, ticket.artifact), ticket.ref)


def _cut(job: Job) -> chunk.Cut:
    return chunk.Cut(job.hello.size, job.hello.chunk_size)


def _target(job: Job) -> DiskRef:
    """Return what is written to. What takes bytes in order has no size of its own, and is full at the end."""
    ref = job.ticket.ref
    return replace(ref, size=job.hello.size) if ref.kind == "http" else ref


def _link(job: Job, meter: Meter, here: _Surroundings) -> Dialled | Listening:
    if job.end.port:
        return Dialled(job.end, here.own, meter, job.idle_s, job.connect_s)
    link = Listening(job.end, here.own, meter, job.idle_s)
    here.voice.say({"event": "listening", "port": link.port})
    return link


def _digest(line: bytes, here: _Surroundings) -> dict[str, Any]:
    from crossport.transfer.leaf_store import LeafStore  # noqa: PLC0415
    from crossport.transfer.proof import root_proven  # noqa: PLC0415
    from crossport.transfer.wrapper import Statistics  # noqa: PLC0415

    job = DigestJob.of(line)
    reader = Statistics(disk.open_reader(_openers(job.disk_timeout_s, here), job.ref))
    _report(lambda: {"event": "progress", "bytes_read": reader.bytes_read}, here.voice)
    try:
        cut = chunk.Cut(job.ref.size, job.chunk_size)
        if job.subject:
            root = root_proven(reader, LeafStore(here.inherited[0], cut, job.subject))
        else:
            root = chunk.root_of(reader, cut)
    finally:
        reader.close()
    return {"root": root.hex(), "bytes_read": reader.bytes_read}


def _look(line: bytes, here: _Surroundings) -> dict[str, Any]:
    from crossport.transfer.http_disk import HttpDisk  # noqa: PLC0415

    job = LookJob.of(line)
    found = HttpDisk(job.url, here.orders.egress, None, job.disk_timeout_s)
    found.close()
    return {"size": found.size, "identity": found.object.identity}


_WAYS: dict[str, Callable[[bytes, _Surroundings], dict[str, Any]]] = {
    "send": _send,
    "receive": _receive,
    "digest": _digest,
    "look": _look,
}
NEEDED = {
    "send": ("sender", "spot_check"),
    "receive": ("receiver", "leaf_store"),
    "digest": ("proof", "wrapper"),
    "look": ("http_disk",),
}
"""By way, what is loaded while the job is still coming."""


def _began(job: Job, way: Way, voice: _Voice) -> Meter:
    now = time.time()
    ticket.check(job.ticket, way, size=job.hello.size, now=now)
    # The bound is a duration, so that a jump of the wall clock neither ends a copy nor prolongs it.
    threading.Thread(target=_expire, args=(job.ticket.expires - now, voice), daemon=True).start()
    meter = Meter()
    _report(lambda: {"event": "progress", **meter.told()}, voice)
    return meter


class _WebOpener:
    """Opens disks of kind ``http`` as `crossport.transfer.http_disk.HttpOpener` does."""

    def __init__(self, timeout_s: float, here: _Surroundings, journal_size: int) -> None:
        self._timeout_s = timeout_s
        self._journal_size = journal_size
        self._here = here

    @cached_property
    def _opener(self) -> disk.Opener:
        from crossport.transfer.http_disk import HttpOpener  # noqa: PLC0415
        from crossport.transfer.staging import Aside  # noqa: PLC0415

        here = self._here
        return HttpOpener(
            here.orders.egress,
            sleep=time.sleep,
            timeout_s=self._timeout_s,
            # In the file of the journal, and behind it: whoever needs this has none that is read again.
            aside=Aside(here.inherited[0], os.urandom, base=self._journal_size),
        )

    def open_reader(self, ref: DiskRef) -> "BlockReader":
        return self._opener.open_reader(ref)

    def open_writer(self, ref: DiskRef) -> "BlockWriter":
        return self._opener.open_writer(ref)


def _openers(timeout_s: float, here: _Surroundings, journal_size: int = 0) -> dict[str, disk.Opener]:
    return {
        "file": disk.FileOpener(unchanging=True),
        "nbd": disk.NbdOpener(timeout_s),
        "http": _WebOpener(timeout_s, here, journal_size),
        noise.NOISE: noise.NoiseOpener(os.urandom, time.monotonic),
        noise.VOID: noise.VoidOpener(),
    }


def _report(event: Callable[[], dict[str, Any]], voice: _Voice) -> None:
    def forever() -> None:
        while True:
            voice.say(event())
            time.sleep(REPORT_EVERY_S)

    threading.Thread(target=forever, daemon=True).start()


def _expire(seconds: float, voice: _Voice) -> None:
    time.sleep(min(seconds, threading.TIMEOUT_MAX))
    voice.say(
        failure_line(
            errors.Refused(
                "transfer.ticket.expired",
                "The ticket expired during the copy.",
                remedy="Nothing: it is tried again with a new one.",
            )
        )
    )
    os._exit(1)


if __name__ == "__main__":
    status = main(sys.argv[1], list(map(int, sys.argv[2:])))
    sys.stdout.flush()
    os._exit(status)  # threads that still wait for a disk or a peer have nothing left to do
