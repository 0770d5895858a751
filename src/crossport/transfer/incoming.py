"""One connection of a receiver: unpack, verify, write, and say what is durable."""

import contextlib
import threading
from collections import deque

from crossport import errors, merkle
from crossport.transfer import frame
from crossport.transfer.channel import Channel
from crossport.transfer.chunk import Run
from crossport.transfer.frame import Data, End, Failed, Frame, Kind
from crossport.transfer.holding import Holding
from crossport.transfer.names import NOTHING, SEAL, Names
from crossport.transfer.offers import Offers
from crossport.transfer.plan import COMPARED_AT_ONCE
from crossport.transfer.sharing import Sharing
from crossport.transfer.states import RECEIVER, ReceiverState, heard
from crossport.transfer.unpack import Unpacker

__all__ = ["Damage", "Incoming"]

_OFFERING = frozenset({Kind.OFFER, Kind.BLOCKS, Kind.PART})


class Damage:
    """How many chunks arrived damaged, over all connections."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._counting = threading.Lock()

    def add(self, index: int) -> None:
        """Count one more; raise Broken when they are too many."""
        with self._counting:
            self._count += 1
        if self._count > self._limit:
            raise errors.Broken(
                "transfer.chunk.damaged",
                f"{self._count} chunks arrived damaged, the last was chunk {index}.",
                remedy="Check the memory and the storage of the machine that sends.",
            )


class Incoming:
    """One connection, used by one thread; ``durable`` is called by the one that flushes."""

    def __init__(
        self, holding: Holding, channel: Channel, names: Names, damage: Damage, sharing: Sharing | None = None
    ) -> None:
        """Verify by ``names``; let the sender offer chunks where there is ``sharing``."""
        self.settled = 0
        self.end = End(0, bytes(SEAL))
        self._told = 0
        self._holding = holding
        self._cut = holding.cut
        self._channel = channel
        self._names = names
        self._damage = damage
        self._state = ReceiverState.OPEN
        self._unpacker = Unpacker()
        # What was asked for lately: the first chunk, and its leaf with those of its followers.
        self._asked: deque[tuple[int, list[bytes | None]]] = deque(
            maxlen=frame.ASKS_REMEMBERED[frame.VERSION]
        )
        self._sharing = sharing
        self._asked_to_offer = sharing is not None and sharing.is_wanted
        self._asked_for_all = False
        self._offers = None if sharing is None else sharing.offers(names, self._cut, self)

    def run(self) -> None:
        """Take in frames until the end."""
        while self._state is not ReceiverState.ENDED:
            came = self._channel.receive()
            if came.kind is Kind.FAILED:
                raise Failed.decoded(came).error()
            self._state = heard(RECEIVER, self._state, came.kind)
            (self._take_offered if came.kind in _OFFERING else self._take)(came)

    def durable(self, settled: int) -> None:
        """Tell the sender that its first ``settled`` frames survive a crash."""
        if settled > self._told:
            self._told = settled
            self._tell(frame.counted(Kind.DURABLE, settled))

    def share(self) -> None:
        """Ask the sender to offer all chunks from now on, once."""
        if not self._asked_for_all:
            self._asked_to_offer = self._asked_for_all = True
            self._tell(frame.bare(Kind.SHARE))

    def look_again(self, now: float) -> bool:
        """Look for offered chunks that were not here before; return whether there were any."""
        said = self._offers.look_again(now) if self._offers else []
        for first, verdict in said:
            self._tell(frame.listed(Kind.WANT, first, verdict))
        return bool(said)

    def take(self, first: int, count: int) -> None:
        """Let offered chunks be this connection's."""
        self._holding.take(first, count)

    def write(self, index: int, content: bytes | memoryview) -> None:
        """Write a chunk anew that was found, in whatever thread."""
        self._holding.release(index, 1)
        self._holding.write(index, content)

    def keep(self, name: bytes, content: bytes | memoryview) -> None:
        """Put a chunk in the stock, if there is one."""
        if self._sharing is not None:
            self._sharing.keep(name, content, None)

    def _tell(self, said: bytes) -> None:
        """Say something from a thread that does not receive."""
        # A broken connection is met by the thread that receives, too, and told there.
        with contextlib.suppress(errors.Unavailable):
            self._channel.send(said, listening=False)

    def _take(self, came: Frame) -> None:
        match came.kind:
            case Kind.DATA:
                self._take_data(Data.decoded(came))
            case Kind.ZEROS:
                self._take_zeros(*came.range(self._cut))
            case Kind.SAME:
                self._take_same(*came.range(self._cut))
            case Kind.KEEP:
                first, count = came.range(self._cut)
                self._holding.take(first, count)
                self._holding.keep(self, first, count)
            case Kind.ASK:
                self._answer(*came.range(self._cut))
            case Kind.SYNC:
                self._holding.ask()
            case Kind.END:
                self.end = End.decoded(came)
            case _:
                pass

    def _take_data(self, data: Data) -> None:
        if data.index >= self._cut.count or data.size != self._cut.length(data.index):
            raise frame.malformed(f"DATA of {data.size} bytes for chunk {data.index} of {self._cut.count}")
        content = self._unpacker.unpacked(data)
        leaf = merkle.leaf(content) if content is not None else b""
        if content is None or self._names.name(leaf) != data.name:
            if self._unpacker.is_news(data):
                self._damage.add(data.index)
            self._ask_again(data.index)
            return
        if self._offers is None or not self._offers.whole(data.index):
            self._holding.take(data.index, 1)
        if self._sharing is not None:
            self._sharing.keep(data.name, content, data.payload if data.packed else None)
        if self._holding.leaves(data.index, 1) == [leaf]:
            self._holding.settle(self, [(Run(data.index, 1, zero=False, changed=False), leaf)], "present")
            return
        self._release(data.index)
        self._holding.write(data.index, content)
        self._holding.settle(self, [(Run(data.index, 1, zero=False), leaf)], size=data.size)

    def _ask_again(self, index: int) -> None:
        self._channel.send(frame.counted(Kind.AGAIN, index))
        self._holding.settle(self, [])

    def _take_offered(self, came: Frame) -> None:
        offers = self._offers
        if offers is None or self._sharing is None or not self._asked_to_offer:
            raise frame.malformed(f"{came.kind.name} came, but nothing was to be offered")
        if came.kind is Kind.PART:
            self._take_part(offers, Data.decoded(came))
            return
        first, rest = came.listed()
        if came.kind is Kind.OFFER:
            verdicts = offers.take(first, rest, self._sharing.now())
            self._channel.send(frame.listed(Kind.WANT, first, verdicts))
            offers.told()
        else:
            self._channel.send(frame.listed(Kind.PICK, first, offers.blocks(first, rest)))

    def _take_part(self, offers: Offers, data: Data) -> None:
        content = self._unpacker.unpacked(data)
        if content is None and self._unpacker.is_news(data):
            self._damage.add(data.index)
        whole = offers.part(data.index, content)
        if whole is None:
            # Names of blocks are short: it need not be the link's or the sender's fault.
            self._ask_again(data.index)
            return
        leaf, chunk = whole
        self.keep(data.name, chunk)
        self._holding.settle(self, [(Run(data.index, 1, zero=False), leaf)], size=len(chunk))

    def _release(self, index: int) -> None:
        """Forget the chunk, and at once those behind it that were asked for with it, up to one that came.

        Behind a chunk that was offered others may have been settled before it is written.
        """
        first, leaves = self._asked_for(index)
        follow = self._holding.untaken(index + 1, first + len(leaves) - index - 1) if leaves else 0
        self._holding.release(index, 1 + follow)

    def _asked_for(self, index: int) -> tuple[int, list[bytes | None]]:
        """Return what was asked for together with a chunk, nothing when it was not."""
        for first, leaves in self._asked:
            if first <= index < first + len(leaves):
                return first, leaves
        return index, []

    def _take_zeros(self, first: int, count: int) -> None:
        self._holding.take(first, count)
        self._holding.zero(first, count)
        self._holding.settle(self, [(Run(first, count, zero=True), b"")], "zero")

    def _take_same(self, first: int, count: int) -> None:
        if self._offers is not None and (leaf := self._offers.same(first)) is not None:
            leaves = [leaf, *(self._offers.same(index) for index in range(first + 1, first + count))]
            self._settle_filled(first, leaves)
            return
        asked, leaves = self._asked_for(first)
        if first + count > asked + len(leaves):
            raise frame.malformed(f"SAME of chunks {first} to {first + count}, which were not asked for")
        named = leaves[first - asked : first - asked + count]
        self._holding.take(first, count)
        runs = list[tuple[Run, bytes]]()
        for index, leaf in enumerate(named, first):
            if leaf is None:
                raise frame.malformed(f"SAME of chunk {index}, which is not held")
            runs.append((Run(index, 1, zero=False, changed=not self._holding.is_held(index)), leaf))
        self._holding.settle(self, runs, "present")

    def _settle_filled(self, first: int, leaves: list[bytes | None]) -> None:
        runs = list[tuple[Run, bytes]]()
        for index, leaf in enumerate(leaves, first):
            if leaf is None:
                raise frame.malformed(f"SAME of chunk {index}, which was not offered")
            runs.append((Run(index, 1, zero=False), leaf))
        self._holding.settle(self, runs, size=self._cut.length(first, len(leaves)))

    def _answer(self, first: int, count: int) -> None:
        if count > COMPARED_AT_ONCE:
            raise frame.malformed(f"it asks for {count} names at once")
        leaves = self._holding.leaves(first, count)
        self._asked.append((first, leaves))
        names = (NOTHING if leaf is None else self._names.name(leaf) for leaf in leaves)
        self._channel.send(frame.listed(Kind.HAVE, first, b"".join(names)))
