"""One connection of a sender: take a task, read, hash, compare, compress, send, and listen meanwhile."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from crossport import merkle
from crossport.spi.block import BlockReader
from crossport.transfer import frame
from crossport.transfer.ahead import Ahead
from crossport.transfer.bits import Bits
from crossport.transfer.channel import Channel
from crossport.transfer.chunk import Cut
from crossport.transfer.coverage import Coverage
from crossport.transfer.frame import Data, End, Failed, Frame, Kind, Verdict
from crossport.transfer.meter import Meter
from crossport.transfer.names import NAME, SEAL, Names
from crossport.transfer.offering import Offering
from crossport.transfer.pack import Packer
from crossport.transfer.plan import READ_AT_ONCE, Deed, Plan, Task
from crossport.transfer.prospect import Prospect
from crossport.transfer.states import SENDER, SenderState, heard

_NOTED = 256
"""Bytes of memory that a leaf takes until its chunk is durable, which a hostile receiver never says."""
_OFFERED = 48 << 20
"""Bytes of chunks that were offered and wait in memory for an answer, over all connections."""

__all__ = ["Lane", "Throttle", "Work"]


class Throttle(Protocol):
    """Whoever bounds the rate: ``crossport.transfer.throttle.Throttle``."""

    def take(self, size: int) -> object:
        """Return when ``size`` more bytes may be sent."""
        ...


@dataclass(frozen=True, slots=True)
class Work:
    """What the lanes of a sender share. ``spoil`` is for tests: it may damage a chunk after it was named."""

    reader: BlockReader
    cut: Cut
    meter: Meter
    packer: Packer
    throttle: Throttle | None
    key: bytes = field(default=b"", repr=False)
    spoil: Callable[[Data], Data] | None = None
    prospect: Prospect = field(default_factory=Prospect)


@dataclass(slots=True)
class _Sent:
    """Chunks under way, zeros or not; ``count`` is 0 when they were asked for again."""

    first: int
    count: int
    size: int
    zero: bool = False


class Lane:
    """One connection, used by one thread at a time."""

    def __init__(self, work: Work, channel: Channel, coverage: Coverage) -> None:
        """``coverage`` is used until `run` is told of another."""
        self.channel = channel
        self._work = work
        self._cut = work.cut
        self._coverage = coverage
        self._names = Names(b"")
        self._state = SenderState.GREETED
        self._under_way: deque[_Sent] = deque()
        self._size_under_way = 0
        self._durable = 0
        self._ahead = Ahead(1)
        self._offering = Offering(0, work.prospect)
        self._strands = False
        self._root = b""
        self._zeros = self._sames = (0, 0)
        self._buffer = bytearray(READ_AT_ONCE * work.cut.chunk_size)
        self._zero_chunk = bytes(work.cut.chunk_size)
        self._answers: dict[Kind, Callable[[Frame], None]] = {
            Kind.DURABLE: lambda came: self._settled(came.count()),
            Kind.AGAIN: lambda came: self._send_again(came.count()),
            Kind.HAVE: lambda came: self._ahead.answer(*came.listed()),
            Kind.SHARE: self._begin_to_offer,
            Kind.WANT: lambda came: self._wanted(*came.listed()),
            Kind.PICK: lambda came: self._picked(*came.listed()),
            Kind.DONE: self._take_root,
            Kind.MAP: self._refuse_map,
        }

    def greet(self, hello: frame.Hello) -> frame.Welcome:
        """Say who is there; return what the receiver answers."""
        self.channel.send(hello.encoded())
        while (came := self._expected(self.channel.receive())).kind is not Kind.WELCOME:
            continue
        welcome = frame.Welcome.decoded(came)
        if not welcome.key and not self._work.key:
            raise frame.malformed("it tells no key, and none came with the job")
        self._names = Names(welcome.key or self._work.key)
        self._strands = welcome.version >= frame.STRANDS
        self._ahead = Ahead(frame.ASKS_REMEMBERED[welcome.version] // 2 or 1)
        self._offering = Offering(_OFFERED // welcome.connections, self._work.prospect)
        self._offering.is_on = welcome.share
        return welcome

    def held(self, total: int) -> Bits:
        """Return the chunks that the receiver says it holds, ``total`` of them."""
        bits = Bits(self._cut.count)
        raw = bytearray()
        while total and len(raw) < len(bits.raw):
            came = self._expected(self.channel.receive())
            if came.kind is Kind.MAP:
                first, part = came.listed()
                if first != len(raw) * 8 or not 0 < len(part) <= len(bits.raw) - len(raw):
                    raise frame.malformed("MAP is out of order")
                raw += part
        bits = Bits(self._cut.count, bytes(raw))
        if bits.total() != total:
            raise frame.malformed(f"MAP names {bits.total()} chunks, not {total}")
        return bits

    def run(self, plan: Plan, coverage: Coverage, window: int) -> None:
        """Take tasks until there are none, and wait until all that was sent is durable.

        At most ``window`` bytes are under way that are not.
        """
        self._coverage = coverage
        while (task := self._next(plan)) is not None:
            self._do(task)
            while (came := self.channel.poll()) is not None:
                self._hear(came)
            self._drain(window)
        while self._offering:
            self._hear(self.channel.receive())
        self._drain(0)

    def end(self) -> bytes:
        """Say that all is settled; return the root. Raise Broken when it is not that of what was read."""
        self._state = SenderState.ENDING
        self.channel.send(End(self._cut.count, self._coverage.seal.sealed()).encoded())
        own = self._coverage.root()
        while not self._root:
            self._hear(self.channel.receive())
        if own != self._root and not (own is None and self._coverage.trusts):
            self._coverage.forget()  # should it be this end that is wrong, then all is compared the next time
            raise frame.malformed("it tells another root than that of what was read")
        return self._root

    def leave(self) -> None:
        """Say on another connection than the first that nothing more comes."""
        self.channel.send(End(0, bytes(SEAL)).encoded())

    def _do(self, task: Task) -> None:
        match task.deed:
            case Deed.ZERO:
                self._settle(Kind.ZEROS, task.first, task.count)
            case Deed.KEEP:
                self._settle(Kind.KEEP, task.first, task.count)
            case Deed.SEND:
                self._send_batches(task, b"")
            case Deed.COMPARE:
                self._send_batches(task, self._ahead.names(task))

    def _send_batches(self, task: Task, held: bytes) -> None:
        for first in range(task.first, task.first + task.count, READ_AT_ONCE):
            count = min(READ_AT_ONCE, task.first + task.count - first)
            at = (first - task.first) * NAME
            self._send_chunks(first, count, held[at : at + count * NAME])
        self._offer(self._offering.batch())
        while self._offering.is_full:
            self._hear(self.channel.receive())

    def _next(self, plan: Plan) -> Task | None:
        """Return the next task that can be done at once; names are asked for long before they are used."""
        ahead = self._ahead
        while True:
            while ahead.has_room and (task := plan.next()) is not None:
                ahead.add(task)
                if task.deed is Deed.COMPARE:
                    self.channel.send(frame.ranged(Kind.ASK, task.first, task.count))
            if not ahead or ahead.is_ready:
                return ahead.pop() if ahead else None
            if not ahead.widen(more=not plan.over):
                self._hear(self.channel.receive())

    def _send_chunks(self, first: int, count: int, held: bytes) -> None:
        """Send what is neither zero nor named in ``held``."""
        offers = self._offering.takes(count)
        for number, (index, content) in enumerate(self._read(first, count)):
            if content is None:
                self._same(index, 0)
                self._zero(index, 1)
                continue
            leaf = merkle.leaf(content)
            again = self._coverage.note(index, leaf)
            name = self._names.name(leaf)
            self._zero(index, 0)
            if name == held[number * NAME : (number + 1) * NAME]:
                self._same(index, 1)
                continue
            self._same(index, 0)
            if offers:
                self._add_offer(index, name, content)
                continue
            self._offering.passes(len(content))
            size = self._send_data(index, content, name)
            if again:
                self._work.meter.add(resent=size)
        self._zero(0, 0)
        self._same(0, 0)

    def _add_offer(self, index: int, name: bytes, content: memoryview) -> None:
        self._offer(self._offering.add(index, name, content))
        if self._offering.is_batch_full:
            self._offer(self._offering.batch())

    def _offer(self, batch: tuple[int, bytes] | None) -> None:
        if batch is not None:
            first, names = batch
            self.channel.send(frame.listed(Kind.OFFER, first, names))
            self._work.meter.add(offered=self._cut.length(first, len(names) // NAME))

    def _wanted(self, first: int, said: bytes) -> None:
        """Do with chunks that were offered what the receiver says to each."""
        for index, verdict in self._offering.verdicts(first, said):
            if verdict is Verdict.BLOCKS:
                names = self._names.blocks(self._offering.content(index))
                self.channel.send(frame.listed(Kind.BLOCKS, index, b"".join(names)))
            elif verdict is Verdict.LATER:
                self._offering.wait(index)
            else:
                offered = self._offering.take(index)
                if verdict is Verdict.FILLED:
                    self._same(index, 1)
                    continue
                self._same(index, 0)
                self._send_offered(index, offered)
                continue
            self._same(index, 0)
        self._same(0, 0)

    def _send_offered(self, index: int, offered: tuple[bytes, bytes] | None) -> None:
        self._offering.sends(self._cut.length(index))
        if offered is None:
            self._send_whole(index)
        else:
            self._send_data(index, memoryview(offered[1]), offered[0])

    def _send_whole(self, index: int) -> int:
        """Read a chunk once more and send it, whatever it holds; return how many bytes that took."""
        part = memoryview(self._buffer)[: self._cut.length(index)]
        with self._work.meter.waits("source"):
            self._work.reader.read_into(self._cut.start(index), part)
        leaf = merkle.leaf(part)
        self._coverage.note(index, leaf)
        return self._send_data(index, part, self._names.name(leaf))

    def _picked(self, index: int, bits: bytes) -> None:
        """Send the blocks of a chunk that are wanted; without any the receiver has filled it."""
        blocks = self._offering.picked(index, bits)
        name, content = self._offering.take(index) or (b"", b"")
        if not blocks:
            self._settle(Kind.SAME, index, 1)
        else:
            self._offering.sends(len(blocks))
            self._send_data(index, memoryview(blocks), name, part=len(blocks) < len(content))

    def _zero(self, index: int, count: int) -> None:
        """Add to the run of zeros, or end it."""
        self._zeros = self._run_on(Kind.ZEROS, self._zeros, index, count)

    def _same(self, index: int, count: int) -> None:
        """Add to the run of chunks that the receiver holds, or end it."""
        self._sames = self._run_on(Kind.SAME, self._sames, index, count)

    def _run_on(self, kind: Kind, run: tuple[int, int], index: int, count: int) -> tuple[int, int]:
        if count:
            return (run[0] if run[1] else index, run[1] + 1)
        if run[1]:
            self._settle(kind, *run)
        return (0, 0)

    def _read(self, first: int, count: int) -> Iterator[tuple[int, memoryview | None]]:
        """Read chunks at once and return them one by one, None for zeros."""
        start = self._cut.start(first)
        buffer = self._buffer
        part = memoryview(buffer)[: self._cut.length(first, count)]
        with self._work.meter.waits("source"):
            self._work.reader.read_into(start, part)
        self._work.meter.add(read=len(part))
        for index in range(first, first + count):
            at, size = self._cut.start(index) - start, self._cut.length(index)
            # Compares without copying, and ends at the first byte that differs.
            zero = buffer.startswith(self._zero_chunk[:size], at)
            yield index, None if zero else part[at : at + size]

    def _send_data(self, index: int, content: memoryview, name: bytes, *, part: bool = False) -> int:
        hard = self._offering.is_mostly_found
        packed = self._work.packer.packed(content, strands=self._strands, hard=hard)
        payload, strand = (content, 0) if packed is None else (packed.payload, packed.strand)
        data = Data(index, len(content), name, packed is not None and not strand, payload, part, strand)
        if self._work.spoil:
            data = self._work.spoil(data)
        encoded = data.encoded()
        self._transmit(encoded, _Sent(index, 1, len(encoded)))
        self._work.meter.add(compressed=len(content) if packed is not None else 0)
        return len(data.payload)

    def _settle(self, kind: Kind, first: int, count: int) -> None:
        if kind is Kind.ZEROS:
            self._coverage.note_zeros(first, count)
        encoded = frame.ranged(kind, first, count)
        size = len(encoded) + (count * _NOTED if kind is Kind.SAME else 0)
        self._transmit(encoded, _Sent(first, count, size, kind is Kind.ZEROS))

    def _transmit(self, encoded: bytes, sent: _Sent) -> None:
        if self._work.throttle is not None:
            with self._work.meter.waits("limit"):
                self._work.throttle.take(len(encoded))
        self.channel.send(encoded)
        self._under_way.append(sent)
        self._size_under_way += sent.size

    def _drain(self, window: int) -> None:
        """Wait until no more than ``window`` bytes are under way."""
        synced = -1
        while self._size_under_way > window or (not window and self._under_way):
            sent = self._durable + len(self._under_way)
            if synced < sent:  # what was asked for again waits for a flush, too
                self.channel.send(frame.bare(Kind.SYNC))
                synced = sent
            self._hear(self.channel.receive())

    def _expected(self, came: Frame) -> Frame:
        if came.kind is Kind.FAILED:
            raise Failed.decoded(came).error()
        self._state = heard(SENDER, self._state, came.kind)
        return came

    def _hear(self, came: Frame) -> None:
        answer = self._answers.get(self._expected(came).kind)
        if answer is not None:
            answer(came)

    def _begin_to_offer(self, came: Frame) -> None:
        del came
        self._offering.begin()

    def _take_root(self, came: Frame) -> None:
        self._root = bytes(came.body)
        if len(self._root) != len(merkle.zero_leaf(0)):
            raise frame.malformed("DONE has no root")

    def _refuse_map(self, came: Frame) -> None:
        raise frame.malformed(f"{came.kind.name} came in the middle")

    def _settled(self, durable: int) -> None:
        if not self._durable <= durable <= self._durable + len(self._under_way):
            raise frame.malformed(f"DURABLE {durable} came after {self._durable}")
        for _ in range(durable - self._durable):
            sent = self._under_way.popleft()
            self._size_under_way -= sent.size
            if sent.count:
                self._coverage.settle(sent.first, sent.count, zero=sent.zero)
        self._durable = durable

    def _send_again(self, index: int) -> None:
        for sent in self._under_way:
            if sent.first == index and sent.count == 1:
                sent.count = 0
                break
        else:
            raise frame.malformed(f"chunk {index} was asked for again, but is not under way")
        self._work.packer.snap()  # it may not have been understood, nor what follows it
        self._work.meter.add(resent=self._send_whole(index))
