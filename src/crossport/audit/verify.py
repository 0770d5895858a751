"""Check an exported log against heads that its site signed: is it whole, and if not, from where on.

The export may come from whoever is suspected. What it is held against are heads: its own site's, and the
copies that partners kept. Heads are believed by the signatures on them alone.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crossport import errors, merkle
from crossport.audit.head import CLOCKS_S, believed
from crossport.audit.tree import EMPTY, Frontier
from crossport.model.audit import VERSION, AuditKind, KeptRecord
from crossport.model.head import Head, SignedHead
from crossport.model.keyring import Keyring
from crossport.model.record import record

__all__ = ["Flaw", "Verdict", "line", "verified"]

BEFORE = b'{"leaf":"'
BETWEEN = b'","record":'
AFTER = b"}"
LEAF = merkle.leaf(b"").__len__() * 2
MOST = 20
"""Flaws that are told one by one."""


@record()
class Flaw:
    """What is wrong, by a code, and from which record on; None where that cannot be said."""

    code: str
    text: str
    record: int | None = None


@record()
class Verdict:
    """What was found in a log of ``size`` records: sound up to ``proven``, as believed heads show.

    ``open`` counts intents without an outcome: what was broken off, or is under way.
    """

    site: str
    size: int
    root: str
    proven: int
    heads: int
    open: int
    flaws: tuple[Flaw, ...] = ()


def line(kept: KeptRecord) -> bytes:
    """Return a record as a line of an export, without its end."""
    return BEFORE + kept.leaf.encode() + BETWEEN + kept.text.encode() + AFTER


def verified(lines: Iterable[bytes], holders: Mapping[str, Sequence[SignedHead]], keys: Keyring) -> Verdict:
    """Return what the lines of an export are worth, held against the heads that each holder has kept."""
    flaws: list[Flaw] = []
    heads = {name: _believed(name, kept, keys, flaws) for name, kept in holders.items()}
    every = [head for kept in heads.values() for head in kept]
    reading = _Reading({head.size for head in every})
    for text in lines:
        reading.read(text.rstrip(b"\r\n"))
    flaws = [*reading.flaws, *flaws]
    for head in every:
        if head.site != reading.site and reading.site:
            flaws.append(Flaw(code="audit.log.other", text=f"A head is of site {head.site}."))
    good = {head.size for head in every if reading.roots.get(head.size) == head.root}
    for name, kept in heads.items():
        flaws += _compared(name, sorted(kept, key=lambda head: head.size), reading, max(good, default=0))
    flaws += _clocks(sorted(every, key=lambda head: head.size), reading)
    return Verdict(
        site=reading.site,
        size=reading.edge.size,
        root=reading.edge.root().hex(),
        proven=max(good, default=0),
        heads=len(every),
        open=len(reading.intents),
        flaws=tuple(flaws),
    )


def _believed(holder: str, kept: Sequence[SignedHead], keys: Keyring, flaws: list[Flaw]) -> list[Head]:
    found: list[Head] = []
    for each in kept:
        try:
            found.append(believed(each, keys))
        except errors.Refused as error:
            flaws.append(Flaw(code=error.code, text=f"{holder}: {error.text}"))
    return found


@dataclass(slots=True)
class _Reading:
    """One pass over an export. ``roots`` are those at the sizes that are asked for."""

    sizes: set[int]
    edge: Frontier = field(default_factory=Frontier)
    roots: dict[int, str] = field(default_factory=lambda: {0: EMPTY.hex()})
    times: list[float] = field(default_factory=list[float])
    intents: set[int] = field(default_factory=set[int])
    flaws: list[Flaw] = field(default_factory=list[Flaw])
    site: str = ""
    latest: float = 0.0

    def read(self, text: bytes) -> None:
        """Take the next line."""
        number = self.edge.size
        said, content = text[len(BEFORE) : len(BEFORE) + LEAF], text[len(BEFORE + BETWEEN) + LEAF : -1]
        leaf = merkle.leaf(content)
        if leaf.hex().encode() != said:
            self._tell("audit.record.changed", f"Record {number} is not the one that was written.", number)
        self.edge.add(leaf)
        if self.edge.size in self.sizes:
            self.roots[self.edge.size] = self.edge.root().hex()
        try:
            told: Any = json.loads(content)
            self._judge(number, told)
        except (ValueError, KeyError, TypeError):
            self._tell("audit.record.malformed", f"Line {number + 1} holds no record.", number)
            self.times.append(self.latest)

    def _judge(self, number: int, told: dict[str, Any]) -> None:
        time: float = told["time"] + 0.0
        self.times.append(time)
        if told["version"] > VERSION:
            self._tell("audit.record.newer", f"Record {number} was written by a newer Crossport.", number)
        if told["number"] != number:
            text = f"Where record {number} has to be is record {told['number']}."
            self._tell("audit.record.gap", text, number)
        self.site = self.site or told["site"]
        if told["site"] != self.site:
            self._tell("audit.log.other", f"Record {number} is of site {told['site']}.", number)
        if time < self.latest - CLOCKS_S:
            text = f"Record {number} is from {self.latest - time:.0f} s before the one ahead of it."
            self._tell("audit.clock.back", text, number)
        self.latest = time
        self._pair(number, told["kind"], told["intent"])

    def _pair(self, number: int, kind: str, intent: int | None) -> None:
        if kind == AuditKind.INTENT:
            self.intents.add(number)
        elif kind == AuditKind.OUTCOME:
            if intent not in self.intents:
                text = f"Record {number} is the outcome of an intent that is not there."
                self._tell("audit.outcome.alone", text, number)
            self.intents.discard(intent if intent is not None else -1)

    def _tell(self, code: str, text: str, number: int) -> None:
        if len(self.flaws) < MOST:
            self.flaws.append(Flaw(code=code, text=text, record=number))


def _compared(holder: str, heads: Sequence[Head], reading: _Reading, proven: int) -> list[Flaw]:
    """Hold the log against the heads, by size, that one holder kept."""
    size = reading.edge.size
    here = [head for head in heads if head.size <= size]
    bad = [head for head in here if reading.roots.get(head.size) != head.root]
    fit = max((head.size for head in here if head not in bad and head.size < _first(bad)), default=0)
    flaws: list[Flaw] = []
    if bad:
        first = bad[0].size
        span = f"Between records {fit} and {first - 1} it is not the log of which {holder} has kept the head."
        if proven >= first:
            code, text = "audit.log.forked", f"{span} The site has signed two logs."
        elif fit == 0 and len(bad) == len(here):
            code, text = "audit.log.rewritten", f"{span} No head that {holder} has kept fits."
        else:
            code, text = "audit.log.changed", span
        flaws.append(Flaw(code=code, text=text, record=fit))
    if heads and heads[-1].size > size:
        text = f"{holder} has kept a head of {heads[-1].size} records; the log ends behind {size}."
        flaws.append(Flaw(code="audit.log.cut", text=text, record=size))
    return flaws


def _first(bad: Sequence[Head]) -> float:
    return bad[0].size if bad else float("inf")


def _clocks(heads: Sequence[Head], reading: _Reading) -> list[Flaw]:
    """Compare times: a record is not younger than the head that has it, nor older than a head before it."""
    for head in heads:
        if not 0 < head.size <= len(reading.times):
            continue
        last = reading.times[head.size - 1]
        if last > head.time + CLOCKS_S:
            text = f"Record {head.size - 1} is from {last - head.time:.0f} s after it was signed."
            return [Flaw(code="audit.clock.ahead", text=text, record=head.size - 1)]
        after = reading.times[head.size] if head.size < len(reading.times) else head.time
        if after < head.time - CLOCKS_S:
            text = f"Record {head.size} is from {head.time - after:.0f} s before what was signed ahead of it."
            return [Flaw(code="audit.clock.back", text=text, record=head.size)]
    return []
