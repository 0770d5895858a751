"""The connections of one attempt, each with a thread of its own; when one fails, all end."""

import contextlib
import threading
from collections.abc import Callable, Generator
from typing import Protocol

from crossport import errors
from crossport.transfer.channel import BEAT_S, Channel, is_of_the_link

__all__ = ["Lanes", "Link"]


class Link(Protocol):
    """The way to the other end: dialling it or being dialled makes no difference."""

    def open(self, check: Callable[[], None]) -> Channel:
        """Return a new connection to the other end; call ``check`` meanwhile, which raises when to give up.

        Raise Unavailable (``transfer.peer.unreachable``, ``transfer.peer.absent``) when it does not come
        about, Refused when somebody else is there.
        """
        ...


class Lanes:
    """Channels and their threads. Used by one thread, but for what the threads themselves do."""

    def __init__(self) -> None:
        self.channels: list[Channel] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._over = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="beat", daemon=True)
        self._beating.start()

    def add(self, channel: Channel) -> None:
        """Look after a channel: show that this end is there, end it with the others."""
        self.channels.append(channel)
        if self._failures:
            channel.abort()

    def start(self, work: Callable[[], None], channel: Channel) -> None:
        """Begin a thread that works with ``channel``."""

        def guarded() -> None:
            with self.guard(channel):
                work()

        self.begin(guarded)

    def begin(self, work: Callable[[], None]) -> None:
        """Begin a thread that opens a channel itself, and guards what it does with it."""
        thread = threading.Thread(target=self._run, args=(work,), name="lane", daemon=True)
        self._threads.append(thread)
        thread.start()

    def failed(self, error: BaseException) -> None:
        """End everything because of ``error``."""
        self._failures.append(error)
        for channel in list(self.channels):
            channel.abort()

    def cause(self, error: errors.Error) -> errors.Error:
        """End everything; return why ``error`` came about, if a thread knows. Raise a defect of a thread."""
        self.end()
        found = min([*self._failures, error], key=_is_consequence)
        if isinstance(found, errors.Error):
            return found
        raise found

    def check(self) -> None:
        """Raise what has failed so far: rather a cause than the broken connection that it led to."""
        if self._failures:
            raise min(self._failures, key=_is_consequence)

    def join(self) -> None:
        """Wait for all threads; raise what failed."""
        for thread in self._threads:
            thread.join()
        self.check()

    def end(self) -> None:
        """End what is left."""
        for channel in self.channels:
            channel.abort()
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """End what is left, and let go."""
        self._over.set()
        self.end()
        self._beating.join()
        for channel in self.channels:
            channel.close()

    @contextlib.contextmanager
    def guard(self, channel: Channel) -> Generator[None]:
        """End everything when what is done with ``channel`` within fails; raise the cause, if known."""
        try:
            yield
        except errors.Error as error:
            explained = _explained(error, channel)
            self.failed(explained)
            raise explained from error

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - a defect, too: raised where the threads are waited for
            self.failed(error)

    def _beat(self) -> None:
        while not self._over.wait(BEAT_S / 2):
            for channel in list(self.channels):
                # Whoever works with this channel meets the same error, and tells it.
                with contextlib.suppress(errors.Error):
                    channel.beat()


def _explained(error: errors.Error, channel: Channel) -> errors.Error:
    """Return the peer's own words where the connection broke because it stopped; else tell it ours."""
    if is_of_the_link(error):
        return channel.last_words() or error
    if error.code != "transfer.peer.failed":
        channel.farewell(error)
    return error


def _is_consequence(failure: BaseException) -> bool:
    return isinstance(failure, errors.Error) and is_of_the_link(failure)
