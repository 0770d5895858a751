"""Two sites of two owners with somebody in the middle of the link, in both directions, who records it."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from tests.lab.serve.recorded_link import Middle, Said, requests_in
from tests.lab.serve.two_sites import Owner, TwoOwners
from tests.stories.test_trouble import FAKETIME

__all__ = ["RecordedOwners"]

HOST = "127.0.0.2"
PASSING = {
    *("message", "audit-head", "audit-newest", "partner", "partner-invited"),
    *("gateway-node", "node-roles", "roles"),
}
"""Kinds of documents that tell what was heard and who is there, and nothing that was done."""


class RecordedOwners(TwoOwners):
    """Each site is reached by way of a `Middle`."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, HOST)
        both = (self.north, self.south)
        self.before = {
            owner.name: Middle([_end(owner), _end(other)], HOST, owner.port)
            for owner, other in zip(both, reversed(both), strict=True)
        }

    def __enter__(self) -> Self:
        for middle in self.before.values():
            middle.__enter__()
        super().__enter__()
        for middle in self.before.values():
            middle.listen_in()
        return self

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        for middle in self.before.values():
            middle.__exit__()

    def said(self) -> list[tuple[str, Said]]:
        """Return to whom what was said so far: each request, and each stream."""
        return [(name, one) for name, middle in self.before.items() for one in _parts(middle)]

    def state(self) -> dict[str, Any]:
        """Return all that a message could have changed."""
        clouds = {cloud.name: asyncio.run(cloud.vms()) for cloud in (self.alpha, self.beta)}
        return clouds | {owner.name: _kept(owner) for owner in (self.north, self.south)}

    def begin_later(self, by_s: int) -> None:
        """Let both servers end as by a power cut, and begin again with clocks that are ahead."""
        clock = {"LD_PRELOAD": FAKETIME, "FAKETIME": f"+{by_s}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        for owner in (self.north, self.south):
            owner.kill()
            (owner.machine.control / "socket").unlink()
            owner.serve(**clock)


def _parts(middle: Middle) -> Iterator[Said]:
    for said in tuple(middle.said):
        yield from requests_in(said)


def _end(owner: Owner) -> tuple[str, Path]:
    return owner.name, owner.machine.control / "identity"


def _kept(owner: Owner) -> dict[str, list[Any]]:
    """Return what is in a site's database of runs, of what they created, and of their ends."""
    file = owner.machine.control / "engine.sqlite"
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        runs = database.execute("SELECT * FROM runs").fetchall()
        ledger = database.execute("SELECT * FROM ledger").fetchall()
        documents = database.execute("SELECT kind, key, json FROM documents").fetchall()
    done = sorted(row for row in documents if row[0] not in PASSING)
    return {"runs": runs, "ledger": ledger, "documents": done}
