"""The receiving end of a copy: nothing is written unverified, nothing acknowledged that is not durable."""

import functools
import threading
from dataclasses import replace

from crossport import errors
from crossport.spi.block import BlockWriter
from crossport.transfer import frame
from crossport.transfer.channel import Channel
from crossport.transfer.frame import Failed, Hello, Kind, Welcome
from crossport.transfer.holding import Holding
from crossport.transfer.incoming import Damage, Incoming
from crossport.transfer.lanes import Lanes, Link
from crossport.transfer.leaf_store import LeafStore
from crossport.transfer.manner import Patience, Terms
from crossport.transfer.meter import Meter
from crossport.transfer.names import Names
from crossport.transfer.sharing import Sharing
from crossport.transfer.states import RECEIVER, ReceiverState, heard

__all__ = ["Receiver"]


class _Expected:
    """Which connections of an attempt of ``count`` have not come yet, beside the first."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._left = set(range(1, count))
        self._coming = threading.Lock()

    def came(self, number: int) -> None:
        """Take note of one; raise Broken when it is none that is expected."""
        with self._coming:
            if number not in self._left:
                raise frame.malformed(f"connection {number} came in place of {sorted(self._left)}")
            self._left.remove(number)


class Receiver:
    """One copy, from the receiver's side."""

    def __init__(
        self,
        writer: BlockWriter,
        link: Link,
        terms: Terms,
        meter: Meter,
        store: LeafStore,
        sharing: Sharing | None = None,
    ) -> None:
        """Receive what ``terms`` say. ``store`` says what the target holds already.

        With ``sharing`` what other copies brought is not sent again; the caller closes it.
        """
        self._link = link
        self._expected = terms.hello
        self._manner = terms.manner
        self._names = Names(terms.key)
        # Whoever does not know the key learns another one, of this copy alone.
        self._told_key = terms.key if not terms.agreed else self._names.for_one_copy(terms.hello.subject())
        self._agreed = terms.agreed
        self._sharing = sharing
        self._holding = Holding(writer, store, meter)
        self._damage = Damage(terms.manner.damage_limit)
        self._attempt = 0

    def run(self) -> bytes:
        """Receive the whole disk; return its root when it is durable and verified.

        Raise what the writer raises, Refused when the sender brings something else than was agreed,
        Unavailable when it is away for longer than is waited for, Broken when too many chunks were damaged or
        it breaks the protocol.
        """
        patience = Patience(self._manner.patience_s)
        while True:
            lanes = Lanes()
            self._holding.begin()
            if self._sharing is not None:
                self._sharing.begin(lanes.failed)
            flusher = threading.Thread(
                target=self._holding.flush_until_over, args=(lanes.failed,), name="flush", daemon=True
            )
            flusher.start()
            try:
                return self._attempted(lanes, flusher)
            except errors.Error as error:
                cause = lanes.cause(error)
                if not self._attempt or not patience.left(cause, self._holding.covered):
                    raise cause from error
            finally:
                self._end(lanes, flusher)

    def _end(self, lanes: Lanes, flusher: threading.Thread) -> None:
        lanes.end()
        if self._sharing is not None:
            self._sharing.pause()
        self._holding.end()
        flusher.join()
        lanes.close()

    def _attempted(self, lanes: Lanes, flusher: threading.Thread) -> bytes:
        channel, hello = self._first(lanes)
        goes_on, self._attempt = bool(self._attempt), hello.attempt
        count = min(hello.connections, self._manner.connections, frame.MAX_CONNECTIONS)
        with lanes.guard(channel):
            held = self._holding.store.done
            total = held.total()
            channel.send(self._welcome(hello, Welcome(b"", total, count, goes_on)))
            for part in frame.mapped(held) if total else ():
                channel.send(part)
        first = self._joined(channel, hello)
        lanes.start(first.run, channel)
        # Side by side, as the sender opens them: each takes some round trips.
        expected = _Expected(count)
        for _ in range(1, count):
            lanes.begin(functools.partial(self._further, lanes, expected))
        lanes.join()
        with lanes.guard(channel):
            self._holding.end()
            flusher.join()
            lanes.check()
            root = self._holding.root(first.end)
            channel.send(frame.done(root))
        return root

    def _first(self, lanes: Lanes) -> tuple[Channel, Hello]:
        """Return the first connection of an attempt, and what it said."""
        channel = self._link.open(lanes.check)
        lanes.add(channel)
        with lanes.guard(channel):
            hello = self._greeting(channel)
            if hello.connection:
                raise errors.Unavailable(
                    "transfer.peer.gone",
                    "A connection of an earlier attempt came late.",
                    remedy=errors.TRIED_AGAIN,
                )
        return channel, hello

    def _further(self, lanes: Lanes, expected: "_Expected") -> None:
        """Wait for one more connection of this attempt, and work with it."""
        while True:
            channel = self._link.open(lanes.check)
            lanes.add(channel)
            with lanes.guard(channel):
                hello = self._greeting(channel)
                if hello.attempt < self._attempt:
                    continue  # it comes late, and is closed with the others
                if hello.attempt > self._attempt:
                    raise errors.Unavailable(
                        "transfer.peer.gone", "The other end has begun anew.", remedy=errors.TRIED_AGAIN
                    )
                expected.came(hello.connection)
                channel.send(self._welcome(hello, Welcome(b"", 0, expected.count, goes_on=True)))
                self._joined(channel, hello).run()
                return

    def _welcome(self, hello: Hello, welcome: Welcome) -> bytes:
        """Answer in the newest version that both speak."""
        version = min(hello.version, self._expected.version)
        key = b"" if self._knows(hello) else self._told_key
        sharing = self._shares(hello)
        share = sharing is not None and sharing.is_wanted
        return replace(welcome, version=version, key=key, share=share).encoded()

    def _knows(self, hello: Hello) -> bool:
        """Say whether the sender knows the key of the names from its own job."""
        return self._agreed and min(hello.version, self._expected.version) >= frame.KEY_AGREED

    def _shares(self, hello: Hello) -> Sharing | None:
        """Return what is shared with a sender: names under any other key would mean nothing."""
        return self._sharing if self._knows(hello) else None

    def _joined(self, channel: Channel, hello: Hello) -> Incoming:
        names = self._names if self._knows(hello) else Names(self._told_key)
        lane = Incoming(self._holding, channel, names, self._damage, self._shares(hello))
        self._holding.join(lane)
        if self._sharing is not None:
            self._sharing.join(lane)
        return lane

    def _greeting(self, channel: Channel) -> Hello:
        while (came := channel.receive()).kind is Kind.ALIVE:
            continue
        if came.kind is Kind.FAILED:
            raise Failed.decoded(came).error()
        heard(RECEIVER, ReceiverState.NEW, came.kind)
        hello = Hello.decoded(came)
        if hello.subject() != self._expected.subject():
            raise errors.Refused(
                "transfer.peer.foreign",
                "The other end brings another disk, run or epoch than this end was made for.",
                remedy="Start the copy again with tickets that belong together.",
            )
        size = self._holding.writer.size
        if size < hello.size:
            raise errors.Invalid(
                "transfer.target.small",
                f"The target holds {size} bytes, the source {hello.size}.",
                remedy="Make the target at least as large as the source.",
            )
        return hello
