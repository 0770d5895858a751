"""What goes wrong in one simulated schedule, drawn from its seed: lost calls, kills, hangs, cancels."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from crossport import errors
from crossport.clouds.memory import MemoryCloud
from crossport.clouds.memory.store import Store
from crossport.testing.run import DirectRun, KillPoint

__all__ = ["Fate", "UnsteadyCloud"]

T = TypeVar("T")

STEPS = (
    *("describe-source", "describe-target", "propose", "reserve", "export", "prepare-import", "copy-disk-0"),
    *("seal", "admit", "verify", "inspect", "instantiate", "check", "tell-ask", "tell-answered"),
    *("prepare-commit", "commit-source", "commit-target"),
    *("clean-target", "clean-source", "end-reading", "tell-finish"),
    *("sync-0-open", "sync-0-disk-0", "sync-1-open", "sync-1-disk-0", "cutover-open", "cutover-disk-0"),
    *("compare-open", "compare-disk-0"),
    *("tell-undo", "withdraw", "roll-back-target", "roll-back-source"),
)
QUERIES = ("check", "constructs", "vms", "vm", "tagged", "probe", "place")
CHANGES = (
    *("start", "shut_down", "power_off", "fence", "unfence", "suspend", "export", "end_export"),
    *(
        "export_changes",
        "end_tracking",
        "prepare_import",
        "seal_import",
        "instantiate",
        "open_network",
        "remove",
    ),
)


class Fate:
    """The faults of one schedule. ``watch`` is awaited after every change of a cloud."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - schedules, not secrets
        self.lost = self.random.choice((0.0, 0.0, 0.02, 0.1, 0.25))
        self.kill_rate = self.random.choice((0.0, 0.05, 0.2))
        self.hang_rate = self.random.choice((0.0, 0.0, 0.03))
        self.cancel_rate = self.random.choice((0.0, 0.0, 0.02))
        self.healed = True
        self.story: list[str] = []
        self.contexts: dict[str, DirectRun] = {}
        self.hanging: dict[str, asyncio.Event] = {}
        self.hung: dict[str, asyncio.Event] = {}
        self.words: dict[str, str] = {}
        """By which words the clouds know a run, other than its own."""
        self.watch: Callable[[], Awaitable[None]] | None = None

    def happens(self, rate: float) -> bool:
        """Say whether something that happens at ``rate`` happens now."""
        return not self.healed and self.random.random() < rate

    def arm(self, context: DirectRun) -> None:
        """Choose where the process that executes ``context`` dies, if it does."""
        self.contexts[context.run] = context
        self.hung[context.run] = asyncio.Event()
        for step in STEPS:
            if self.happens(self.kill_rate):
                point = self.random.choice(list(KillPoint))
                context.kill(step, point)

    async def before(self, call: str, arguments: tuple[Any, ...]) -> None:
        """Do what befalls a call before it does anything."""
        run = getattr(arguments[0], "run", "") if arguments else ""
        run = self.words.get(run, run)
        if self.happens(self.cancel_rate) and self.contexts:
            victim = self.random.choice(sorted(self.contexts))
            self.story.append(f"cancel {victim}")
            self.contexts[victim].cancel()
        if run in self.contexts and run not in self.hanging and self.happens(self.hang_rate):
            await self._hang(run, call)
        if self.happens(self.lost / 2):
            self.story.append(f"lost before {call}")
            raise errors.Unavailable("cloud.unreachable", "The call never arrived.")

    async def _hang(self, run: str, call: str) -> None:
        """Let this execution stand still until it is released; another one takes over meanwhile."""
        self.story.append(f"{run} hangs in {call}")
        self.hanging[run] = asyncio.Event()
        self.hung[run].set()
        await self.hanging[run].wait()
        self.story.append(f"{run} wakes up in {call}")

    async def after(self, call: str) -> None:
        """Do what befalls a call when it is done."""
        if self.watch and call in CHANGES:
            await self.watch()
        for run, released in list(self.hanging.items()):
            if not released.is_set() and self.random.random() < 0.1:
                self.story.append(f"release {run}")
                released.set()
        if self.happens(self.lost / 2):
            self.story.append(f"lost after {call}")
            raise errors.Unavailable("cloud.unreachable", "The answer never arrived.")


class QuickStore(Store):
    """A cloud's state, but for its disks, in this process: thousands of schedules go through it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._things: dict[str, dict[str, object]] = {}
        (root / "disks").mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Generator[None]:
        """Nobody else is there, and nothing is awaited inside."""
        yield

    def put(self, kind: str, name: str, value: object) -> None:
        """Keep ``value``."""
        self._things.setdefault(kind, {})[name] = value

    def find(self, kind: str, name: str, model: type[T]) -> T | None:
        """Return the thing."""
        found = self._things.get(kind, {}).get(name)
        return found if isinstance(found, model) else None

    def every(self, kind: str, model: type[T]) -> tuple[T, ...]:
        """Return all of a kind, by id."""
        known = self._things.get(kind, {})
        return tuple(thing for _, thing in sorted(known.items()) if isinstance(thing, model))

    def drop(self, kind: str, name: str) -> None:
        """Remove the thing."""
        self._things.get(kind, {}).pop(name, None)


class UnsteadyCloud(MemoryCloud):
    """A simulated cloud whose every call may be lost on the way there or back."""

    fate: Fate

    def __init__(self, name: str, root: Path) -> None:
        super().__init__(name, root)
        self.things = self._store = QuickStore(root)


def _unsteady(name: str) -> Callable[..., Awaitable[Any]]:
    whole: Callable[..., Awaitable[Any]] = getattr(MemoryCloud, name)

    async def call(self: UnsteadyCloud, *arguments: Any) -> Any:
        await self.fate.before(name, arguments)
        answer = await whole(self, *arguments)
        await self.fate.after(name)
        return answer

    return call


for _name in (*QUERIES, *CHANGES):
    setattr(UnsteadyCloud, _name, _unsteady(_name))
