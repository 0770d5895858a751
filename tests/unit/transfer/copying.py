"""Two ends of a copy in one process, joined by socket pairs; each part may be replaced by a faulty one."""

import contextlib
import os
import queue
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from crossport import errors
from crossport.model.artifact import Extent
from crossport.spi.block import BlockReader, BlockWriter
from crossport.testing.memory_disk import MemoryDisks
from crossport.testing.mover import slow_root
from crossport.transfer.channel import Channel
from crossport.transfer.chunk import Cut
from crossport.transfer.coverage import Book
from crossport.transfer.frame import VERSION, Data, Hello
from crossport.transfer.lane import Throttle
from crossport.transfer.lanes import Link
from crossport.transfer.leaf_store import LeafStore
from crossport.transfer.manner import Manner, Terms
from crossport.transfer.meter import Meter
from crossport.transfer.names import Names
from crossport.transfer.published import Published
from crossport.transfer.receiver import Receiver
from crossport.transfer.sender import Means, Sender
from crossport.transfer.sharing import Sharing
from crossport.transfer.stock import Stock
from crossport.transfer.stock_access import Access

CHUNK = 4096
"""What most tests use: many small chunks, each of one block."""
KEY = bytes(range(32))


def hello(size: int, **changes: object) -> Hello:
    """Return the greeting for a disk of ``size`` bytes."""
    sound = Hello(
        version=VERSION, tenant="acme", run="run-1", artifact="disk-0", epoch=3, size=size, chunk_size=CHUNK
    )
    return replace(sound, **changes)


def root_of(content: bytes) -> bytes:
    """Return the root by the slowest correct program."""
    return slow_root([content[at : at + CHUNK] for at in range(0, len(content), CHUNK)])


class Wire:
    """Connections that one end makes and the other gets; ``between`` may put something in their middle."""

    def __init__(self, idle_s: float = 5.0) -> None:
        self.idle_s = idle_s
        self.between: Callable[[socket.socket], socket.socket] = lambda end: end
        self.made = 0
        self.path: tuple[float, bool] = (0.0, False)
        self.sockets = list[socket.socket]()
        self._waiting = queue.Queue[socket.socket]()

    def near(self, meter: Meter) -> Link:
        """Return the end that makes connections."""
        return _Near(self, meter)

    def far(self, meter: Meter) -> Link:
        """Return the end that gets them."""
        return _Far(self, meter)

    def connected(self) -> socket.socket:
        """Make a connection and return one end of it."""
        left, right = self.pair()
        self.made += 1
        self._waiting.put(self.between(right))
        return left

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Return two ends that are closed with this wire."""
        pair = socket.socketpair()
        self.sockets += pair
        return pair

    def close(self) -> None:
        """Close everything."""
        for end in self.sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._waiting = queue.Queue[socket.socket]()

    def accepted(self, within_s: float) -> socket.socket:
        """Return the other end of a connection that was made; raise queue.Empty."""
        return self._waiting.get(timeout=within_s)


class _Long(Channel):
    """A channel over a path of which is told what a test says."""

    def __init__(self, end: socket.socket, idle_s: float, meter: Meter, path: tuple[float, bool]) -> None:
        super().__init__(end, idle_s, meter)
        self._path = path

    def path(self) -> tuple[float, bool]:
        return self._path


class _Near:
    def __init__(self, wire: Wire, meter: Meter) -> None:
        self._wire = wire
        self._meter = meter

    def open(self, check: Callable[[], None]) -> Channel:
        check()
        return _Long(self._wire.connected(), self._wire.idle_s, self._meter, self._wire.path)


class _Far:
    def __init__(self, wire: Wire, meter: Meter) -> None:
        self._wire = wire
        self._meter = meter

    def open(self, check: Callable[[], None]) -> Channel:
        until = time.monotonic() + self._wire.idle_s
        while time.monotonic() < until:
            check()
            try:
                return _Long(self._wire.accepted(0.05), self._wire.idle_s, self._meter, self._wire.path)
            except queue.Empty:
                continue
        raise errors.Unavailable("transfer.peer.absent", "Nobody connected.")


class Marked:
    """A reader whose extents have not changed, but for ``changed`` chunks."""

    def __init__(self, reader: BlockReader, changed: set[int]) -> None:
        self.size = reader.size
        self._reader = reader
        self._changed = changed

    def extents(self, start: int, size: int) -> Iterator[Extent]:
        """Tell what changed, chunk by chunk."""
        found = list[Extent]()
        for extent in self._reader.extents(start, size):
            at, end = extent.start, extent.start + extent.size
            while at < end:
                stop = min(end, (at // CHUNK + 1) * CHUNK)
                found.append(Extent(at, stop - at, extent.zero, at // CHUNK in self._changed))
                at = stop
        return iter(found)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """As the disk within."""
        self._reader.read_into(start, buffer)

    def close(self) -> None:
        """Close the disk within."""
        self._reader.close()


class Copy:
    """One copy between two memory disks; each end may be replaced by a faulty one.

    It can be run again: the target, the journal and the sender's book stay.
    """

    def __init__(self, content: bytes, target_size: int | None = None, old: bytes = b"") -> None:
        self.disks = MemoryDisks()
        self.source = self.disks.create("a/source", len(content), content)
        size = len(content) if target_size is None else target_size
        self.reader: BlockReader = self.disks.open_reader(self.source)
        self.writer: BlockWriter = self.disks.open_writer(self.disks.create("b/target", size, old))
        self.journal = os.memfd_create("journal")
        weakref.finalize(self, os.close, self.journal)
        self.book = Book()
        self.sends = self.expects = hello(len(content))
        self.spoil: Callable[[Data], Data] | None = None
        self.throttle: Throttle | None = None
        self.wire = Wire()
        self.manner = Manner(connections=2, patience_s=5)
        self.sender_dials = True
        self.meters = Meter(), Meter()
        self.stock: Access | None = None
        self.published: Sequence[BlockReader] = ()
        self.key = KEY
        self.outcomes: dict[str, bytes | errors.Error] = {}

    def run(self) -> tuple[bytes | errors.Error, bytes | errors.Error]:
        """Return what the sender and the receiver end with."""
        self.meters = sent, received = Meter(), Meter()
        ends = (self.wire.near, self.wire.far)
        first, second = ends if self.sender_dials else ends[::-1]
        sends, expects = (Terms(hello, self.manner, self.key) for hello in (self.sends, self.expects))
        means = Means(self.throttle, self.book, self.spoil)
        sender = Sender(self.reader, first(sent), sends, sent, means=means)
        store = LeafStore(
            self.journal,
            Cut(self.expects.size, self.expects.chunk_size),
            {"run": self.expects.run},
            durable=False,
        )
        sharing = self._sharing(received)
        receiver = Receiver(self.writer, second(received), expects, received, store, sharing)
        threads = [
            threading.Thread(target=self._end, args=("sender", sender.run)),
            threading.Thread(target=self._end, args=("receiver", receiver.run)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        if sharing is not None:
            sharing.close()
        self.wire.close()
        return self.outcomes["sender"], self.outcomes["receiver"]

    def _sharing(self, meter: Meter) -> Sharing | None:
        if self.stock is None:
            return None
        stock = Stock(self.stock, Names(self.key), time.monotonic, os.urandom)
        cut = Cut(self.expects.size, self.expects.chunk_size)
        published = Published(self.published, cut, Names(self.key)) if self.published else None
        return Sharing(stock, meter, time.monotonic, published)

    def _end(self, name: str, run: Callable[[], bytes]) -> None:
        try:
            self.outcomes[name] = run()
        except errors.Error as error:
            self.outcomes[name] = error

    def change(self, content: bytes) -> None:
        """Make the source read as ``content``, which is as long as before."""
        writer = self.disks.open_writer(self.source)
        writer.write(0, content)
        writer.close()

    def target(self) -> bytes:
        """Return what lies at the target."""
        return self.disks.content("b/target")
