"""The sending end of a copy: as many attempts as the link needs, each over several connections."""

import functools
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from crossport import errors
from crossport.spi.block import BlockReader
from crossport.transfer import frame
from crossport.transfer.bits import Bits
from crossport.transfer.channel import Channel
from crossport.transfer.chunk import Cut
from crossport.transfer.coverage import Book, Coverage
from crossport.transfer.frame import Data, Hello
from crossport.transfer.lane import Lane, Throttle, Work
from crossport.transfer.lanes import Lanes, Link
from crossport.transfer.manner import PAUSE_S, Patience, Terms, connections_over
from crossport.transfer.meter import Meter
from crossport.transfer.pack import Packer
from crossport.transfer.plan import Plan, tasks

__all__ = ["Means", "Sender"]

_WINDOW = 40 << 20
"""Bytes under way that are not durable yet, over all connections: what a cut costs at most."""


@dataclass(frozen=True, slots=True)
class Means:
    """What else a sender works with. ``spoil`` is for tests: it may damage a chunk after it was named.

    ``trusts``: what the receiver says that it holds is not read again, for a source that is dear to read and
    nobody vouches for. Then the root may be the receiver's word.
    """

    throttle: Throttle | None = None
    book: Book | None = None
    spoil: Callable[[Data], Data] | None = None
    trusts: bool = False


class Sender:
    """One copy, from the sender's side."""

    def __init__(
        self,
        reader: BlockReader,
        link: Link,
        terms: Terms,
        meter: Meter,
        *,
        means: Means | None = None,
    ) -> None:
        """Send what ``terms`` say."""
        hello, means = terms.hello, means or Means()
        self._manner = terms.manner
        self._link = link
        self._hello = replace(hello, connections=self._manner.connections)
        self._meter = meter
        cut = Cut(hello.size, hello.chunk_size)
        packer = Packer(meter, self._manner.connections)
        key = terms.key if terms.agreed else b""
        self._work = Work(reader, cut, meter, packer, means.throttle, key, means.spoil)
        self._book = means.book or Book()
        self._trusts = means.trusts
        self._coverage = Coverage(cut, self._book, trusts=self._trusts)

    def run(self) -> bytes:
        """Send the whole disk; return its root when the receiver says that it is durable and verified.

        Raise what the reader raises, Unavailable when the receiver failed or is away for longer than is
        waited for, Broken when it breaks the protocol.
        """
        patience, connected = Patience(self._manner.patience_s), False
        for attempt in itertools.count(1):
            lanes = Lanes()
            try:
                return self._attempt(replace(self._hello, attempt=attempt), lanes)
            except errors.Error as error:
                cause = lanes.cause(error)
                connected = connected or bool(lanes.channels)
                if not connected or not patience.left(cause, self._coverage.settled.total()):
                    raise cause from error
                time.sleep(PAUSE_S)
            finally:
                lanes.close()
                self._coverage.keep()
        raise AssertionError("attempts do not end")

    def _attempt(self, hello: Hello, lanes: Lanes) -> bytes:
        first = self._lane(lanes)
        with lanes.guard(first.channel):
            hello = self._fitting(hello, first.channel)
            welcome = first.greet(hello)
            if welcome.version > hello.version:
                raise frame.malformed(f"it answers in version {welcome.version}")
            if welcome.connections > hello.connections:
                raise frame.malformed("it wants more connections than were offered")
            if not welcome.goes_on:
                self._coverage = Coverage(self._work.cut, self._book, trusts=self._trusts)
            plan = self._plan(first.held(welcome.held))
        self._work.packer.threads = welcome.connections
        window = _WINDOW // welcome.connections
        lanes.start(lambda: first.run(plan, self._coverage, window), first.channel)
        others = list[Lane]()

        def further(number: int) -> None:
            lane = self._lane(lanes)
            others.append(lane)
            with lanes.guard(lane.channel):
                lane.greet(replace(hello, connection=number, connections=welcome.connections))
                lane.run(plan, self._coverage, window)

        # Side by side: on a long way each takes several round trips until the first byte of a disk.
        for number in range(1, welcome.connections):
            lanes.begin(functools.partial(further, number))
        lanes.join()
        with lanes.guard(first.channel):
            for lane in others:
                lane.leave()
            return first.end()

    def _fitting(self, hello: Hello, channel: Channel) -> Hello:
        """Ask for as many connections as the link wants."""
        round_trip_s, by_rate = channel.path()
        enough = connections_over(round_trip_s, by_rate=by_rate)
        return replace(hello, connections=min(hello.connections, enough))

    def _lane(self, lanes: Lanes) -> Lane:
        lane = Lane(self._work, self._link.open(lanes.check), self._coverage)
        lanes.add(lane.channel)
        return lane

    def _plan(self, held: Bits) -> Plan:
        cut, coverage = self._work.cut, self._coverage
        extents = functools.partial(self._work.reader.extents, 0, cut.size)
        return Plan(tasks(extents, cut, held, coverage.settled, coverage.known))
