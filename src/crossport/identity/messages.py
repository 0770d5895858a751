"""Messages between sites: written so that they hold once, and read so that nothing is done twice or late.

Who sends is known from the connection. What is checked here is the rest: a message is for this site and this
operation, of now, and new. What came before is kept until its time is over, with its answer: whoever asks
again, because the answer was lost, gets it. So recorded messages that are played back change nothing.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from crossport import errors
from crossport.model import codec
from crossport.model.failure import Failure
from crossport.model.message import FORMAT, Envelope, Reply
from crossport.model.record import record
from crossport.spi.clock import Clock
from crossport.spi.document import Document, Documents

__all__ = ["WINDOW_S", "Messages"]

KIND = "message"
WINDOW_S = 300.0
"""How far the clocks of two sites, and the way between them, may be apart."""
WAIT_S = 20.0
"""How long one request waits for what takes long, before the partner is told to ask again."""
PRUNED_EVERY = 500

Making = Callable[[Envelope], Awaitable[str]]


@record()
class _Kept:
    """A message that came: the digest of all of it, how long it may come again, and how it was answered."""

    of: str
    until: float
    answer: str | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class _Opened:
    """What is being done now for one message."""

    envelope: Envelope
    kept: _Kept
    task: asyncio.Task[_Kept] = field(repr=False)


class Messages:
    """What the site ``site`` writes to partners, and reads of theirs. ``token`` is 32 hex digits, fresh."""

    def __init__(
        self, site: str, documents: Callable[[], Documents], clock: Clock, token: Callable[[], str]
    ) -> None:
        self._site = site
        self._documents = documents
        self._clock = clock
        self._token = token
        self._open: dict[str, _Opened] = {}
        self._came = 0

    def written(self, receiver: str, operation: str, body: str, *, run: str = "", epoch: int = 0) -> bytes:
        """Return a new message. To send the same one again, send the same bytes."""
        envelope = Envelope(
            sender=self._site,
            receiver=receiver,
            operation=operation,
            run=run,
            epoch=epoch,
            nonce=self._token(),
            time=self._clock.wall(),
            body=body,
        )
        return codec.encoded(envelope).encode()

    async def answered(self, partner: str, operation: str, content: bytes, making: Making) -> bytes:
        """Return the reply to a message of ``partner``, and raise what ``making`` raised.

        It is made once: what comes again while it is made waits for the same, and afterwards gets the same
        answer. Raise Refused ``message.…`` for a message that is not of this partner, to this site, of now
        and new; Conflict ``message.version.newer`` for one of a newer Crossport.
        """
        envelope, of = self._read(partner, operation, content), hashlib.sha256(content).hexdigest()
        key = f"{partner}/{envelope.nonce}"
        kept = None if key in self._open else await self._claimed(key, of, envelope)
        if kept is None or (kept.answer is None and kept.failure is None):
            kept = await self._waited(key, of, envelope, making)
        if kept.failure is not None:
            raise kept.failure.error()
        return codec.encoded(Reply(answer=kept.answer)).encode()

    async def _waited(self, key: str, of: str, envelope: Envelope, making: Making) -> _Kept:
        """Return how the message is answered, which begins now if it is not being made; wait a while."""
        opened = self._open.get(key)
        if opened is None:
            kept = _Kept(of=of, until=envelope.time + 2 * WINDOW_S)
            opened = _Opened(envelope, kept, asyncio.create_task(self._make(key, kept, envelope, making)))
            self._open[key] = opened
            opened.task.add_done_callback(lambda _: self._open.pop(key, None))
        kept = _same(opened.kept, of)
        await asyncio.wait({opened.task}, timeout=WAIT_S)
        if not opened.task.done():
            return kept
        if opened.task.cancelled():
            raise _refused("message.epoch.old", f"What came later of run {envelope.run} ended it.")
        return opened.task.result()

    async def end(self, partner: str, run: str, epoch: int) -> None:
        """End what is being done for the run in an epoch below ``epoch``."""
        tasks = [
            opened.task
            for opened in self._open.values()
            if (opened.envelope.sender, opened.envelope.run) == (partner, run)
            and opened.envelope.epoch < epoch
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """End all that is being done."""
        tasks = [opened.task for opened in self._open.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _read(self, partner: str, operation: str, content: bytes) -> Envelope:
        try:
            envelope = codec.decoded(content, Envelope)
        except errors.Invalid as error:
            raise _refused("message.malformed", f"It has not the form of one: {error.field}.") from error
        if envelope.version > FORMAT:
            raise errors.Conflict(
                "message.version.newer",
                f"{partner} writes messages of version {envelope.version}, this site reads {FORMAT}.",
                remedy=errors.SAME_RELEASE,
            )
        if (envelope.sender, envelope.receiver, envelope.operation) != (partner, self._site, operation):
            raise _refused(
                "message.other",
                f"It is of {envelope.sender} to {envelope.receiver} for {envelope.operation}.",
            )
        return envelope

    async def _claimed(self, key: str, of: str, envelope: Envelope) -> _Kept:
        """Return what is kept of the message, and keep it if it is new."""
        await self._prune()
        new = _Kept(of=of, until=envelope.time + 2 * WINDOW_S)
        if not self._is_of_now(envelope):
            found = await self._found(key)
            if found is None or found.value.until < self._clock.wall():
                raise _refused(
                    "message.time.off",
                    f"It is of {envelope.time:.0f}, and here it is {self._clock.wall():.0f}.",
                    "Set the clocks of both sites right.",
                )
            return _same(found.value, of)
        try:
            return (await self._documents().put(KIND, key, new, generation=0)).value
        except errors.Conflict:
            found = await self._found(key)
            return _same(found.value if found else new, of)

    def _is_of_now(self, envelope: Envelope) -> bool:
        return abs(envelope.time - self._clock.wall()) <= WINDOW_S

    async def _found(self, key: str) -> Document[_Kept] | None:
        try:
            return await self._documents().fetch(KIND, key, _Kept)
        except errors.NotFound:
            return None

    async def _make(self, key: str, kept: _Kept, envelope: Envelope, making: Making) -> _Kept:
        """Make the answer, and keep it. What may be tried again is not kept."""
        try:
            done = replace(kept, answer=await making(envelope))
        except errors.Error as error:
            done = replace(kept, failure=Failure.of(error))
            if error.action is errors.Action.RETRY:
                return done
        done = replace(done, until=self._clock.wall() + 2 * WINDOW_S)
        await self._documents().put(KIND, key, done)
        return done

    async def _prune(self) -> None:
        """Forget, now and then, messages whose time is over."""
        self._came += 1
        if self._came % PRUNED_EVERY != 1:
            return
        now, after = self._clock.wall(), ""
        while page := await self._documents().list(KIND, _Kept, after=after):
            for document in page:
                if document.value.until < now and document.key not in self._open:
                    await self._documents().delete(KIND, document.key)
            after = page[-1].key


def _same(kept: _Kept, of: str) -> _Kept:
    if kept.of != of:
        raise _refused("message.replayed", "Another one with its nonce came before.")
    return kept


def _refused(code: str, text: str, remedy: str = "") -> errors.Refused:
    return errors.Refused(
        code,
        f"The message is not taken. {text}",
        remedy=remedy or "Nothing was done. Look at both sites' logs for who sent it.",
    )
