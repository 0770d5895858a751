"""What a receiver shares with other copies of the same tenant: what it got, and what it is about to get."""

import threading
from collections.abc import Callable
from typing import Protocol

from crossport.transfer.chunk import Cut
from crossport.transfer.meter import Meter
from crossport.transfer.names import Names
from crossport.transfer.offers import Found, Offers, Place, Room
from crossport.transfer.published import Published
from crossport.transfer.stock import Stock
from crossport.transfer.stocking import Stocking

__all__ = ["LOOK_S", "Sharing"]

_IN_PART = 32 << 20
NAMED_WITHIN_S = 3.0
"""How long a copy waits at most until blocks of older chunks can be found."""
LOOK_S = 0.1
"""How often it looks whether another copy has brought what this one waits for."""


class Sharer(Protocol):
    """A connection, as far as sharing concerns it."""

    def share(self) -> None:
        """Ask the sender to offer all chunks from now on."""
        ...

    def look_again(self, now: float) -> bool:
        """Look for what was not here before; return whether there was some, and may be more."""
        ...


class Sharing:
    """One receiver's part of a stock, for all its connections, in one attempt after the other.

    ``is_wanted`` says whether an attempt begins with offers: without content and company there is no use.
    """

    def __init__(
        self, stock: Stock, meter: Meter, now: Callable[[], float], published: Published | None = None
    ) -> None:
        """Share through ``stock``, and take what is in the images that are ``published``."""
        self.now = now
        self.is_wanted = False
        self._is_promising = False
        self._stock = stock
        self._published = published
        self._meter = meter
        self._stocking = Stocking(stock, now)
        self._sharers = list[Sharer]()
        self._failed: Callable[[BaseException], None] | None = None
        self._room = Room(_IN_PART)
        self._looking = threading.Lock()
        self._named_by = 0.0
        self._over = threading.Event()
        self.is_named = threading.Event()
        self._naming = threading.Thread(target=self._name_blocks, name="naming", daemon=True)
        self._thread = threading.Thread(target=self._look, name="sharing", daemon=True)
        self._thread.start()

    def begin(self, failed: Callable[[BaseException], None]) -> None:
        """Begin an attempt; tell ``failed`` what goes wrong in it."""
        with self._looking:
            self._sharers, self._failed, self._room = [], failed, Room(_IN_PART)
            self._stock.table.begin()
            self._is_promising = not self._stock.table.is_empty or self._stock.table.has_company
            self.is_wanted = self._is_promising or self._published is not None
            if self._is_promising and not self._naming.is_alive() and not self.is_named.is_set():
                self._named_by = self.now() + NAMED_WITHIN_S
                self._naming.start()
            self._stock.names_blocks |= self._stock.table.has_company

    def pause(self) -> None:
        """End an attempt: nothing more is looked for, nobody waits for what it was about to bring."""
        with self._looking:
            self._sharers, self._failed = [], None
            self._stock.table.end()

    def close(self) -> None:
        """End for good, when all that arrived is kept."""
        self._over.set()
        self._thread.join()
        if self._naming.is_alive():
            self._naming.join()
        self._stocking.end()

    def join(self, sharer: Sharer) -> None:
        """Look after a connection."""
        with self._looking:
            self._sharers.append(sharer)
            if self._stock.table.has_company:
                sharer.share()

    def offers(self, names: Names, cut: Cut, place: Place) -> Offers:
        """Return what will be offered on one connection."""
        found = Found(
            self._stock,
            self._room,
            self.await_blocks,
            self._found,
            lambda: self._is_promising,
            self._published,
        )
        return Offers(found, names, cut, place)

    def _found(self, size: int) -> None:
        # Until something is found nobody looks for blocks of what comes: they can be named by a later copy.
        self._stock.names_blocks = True
        self._meter.add(shared=size)

    def await_blocks(self) -> None:
        """Wait for a while until blocks can be found, once for all connections."""
        self.is_named.wait(max(0.0, self._named_by - self.now()))

    def keep(
        self, name: bytes, content: bytes | memoryview, packed: bytes | bytearray | memoryview | None
    ) -> None:
        """Keep a verified chunk, if there is time; it may not change any more."""
        self._stocking.add(name, content, packed)

    def _name_blocks(self) -> None:
        self._stock.name_blocks(lambda: not self._over.is_set())
        self.is_named.set()

    def _look(self) -> None:
        some = False
        while not self._over.wait(0.0 if some else LOOK_S):
            with self._looking:
                try:
                    some = self._look_once()
                except BaseException as error:  # noqa: BLE001 - a full disk, or a defect: raised by whoever waits for the lanes
                    if self._failed is not None:
                        self._failed(error)
                    self._sharers, some = [], False

    def _look_once(self) -> bool:
        self._stock.table.beat()
        company = bool(self._sharers) and self._stock.table.has_company
        self._stocking.is_awaited = company
        self._is_promising = self._is_promising or company
        some = False
        for sharer in self._sharers:
            if company:
                sharer.share()
            some = sharer.look_again(self.now()) or some
            self._stock.table.beat()
        return some
