"""How the engine is set up: where its state lies, under which name it runs, how much it does at once."""

from collections.abc import Awaitable, Callable
from dataclasses import field
from pathlib import Path
from typing import Any

from crossport.model.record import record
from crossport.model.run import RunRecord
from crossport.spi.run import RunContext

__all__ = ["NO_LIMITS", "EngineSettings", "Kind", "Limits"]


@record()
class EngineSettings:
    """Where and how an engine runs.

    ``state_dir`` belongs to one process. ``database_url`` is empty for SQLite inside it, or
    ``postgresql://…`` for several nodes on one database; take it from a file or the environment, never
    from an argument list. ``node`` names this process among the others
    of the ``site``. A node that did not say for
    ``lease_s`` that it lives loses its runs to another.
    """

    state_dir: Path
    node: str = "node"
    site: str = "local"
    database_url: str = field(default="", repr=False)
    lease_s: float = 10.0
    at_once: int = 64
    """How many runs this node executes at once, of all kinds."""
    poll_s: float = 1.0
    """How soon a run that another node queued is found. One's own are started at once."""
    keep_days: float = 90.0
    """How long ended runs are kept; 0 is for ever."""
    keep_count: int = 10_000
    """How many ended runs are kept, the newest; 0 is all."""


@record()
class Limits:
    """How many runs of a kind go on at once, on all nodes: in all, and per partition. 0 is no limit."""

    at_once: int = 0
    per_partition: int = 0


NO_LIMITS = Limits()


@record()
class Kind:
    """A kind of run: its workflow, the types of its request and report, and its limits.

    ``partition`` names the partition of a request, for instance its target cloud. ``forget`` is called
    before an ended run is forgotten: it returns False to keep it, or forgets what the kind knows of it.
    ``let_go`` is called after a run that needed attention was cancelled; without it none can be.
    """

    name: str
    workflow: Callable[[RunContext, Any], Awaitable[Any]]
    request: type[Any]
    report: type[Any]
    limits: Limits = NO_LIMITS
    partition: Callable[[Any], str] | None = None
    forget: Callable[[RunRecord], Awaitable[bool]] | None = None
    let_go: Callable[[RunRecord], Awaitable[bool]] | None = None
