"""Build the stage of the demonstration, and clear it away: a home of its own with two embedded clouds.

Everything lies below one directory, so that nothing of a person's own site is touched, and whatever a
demonstration that was killed has left is found by that directory.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from crossport import errors
from crossport.cli.demo.scene import ALPHA, BETA, IMAGE, Side, spec
from crossport.cli.demo.voice import Voice
from crossport.client.state_dir import StateDir
from crossport.clouds.local import LocalCloud, create, destroy
from crossport.clouds.local.network import remove_leftovers
from crossport.spi.secret import Secret
from crossport.testing.guest import Recipe, build_guest
from crossport.units import MIB

__all__ = ["Stage", "closing", "stage_home"]

T = TypeVar("T")

MARK = "demonstration"
"""The file by which the directory of a demonstration is known."""
DISK_SIZE = 192 * MIB
END_S = 20.0
POLL_S = 0.05


def stage_home(home: Path) -> Path:
    """Return where the demonstration of a person lies whose own state is in ``home``.

    A person who has taken the demonstration's site for theirs, as it proposes at its end, means that one.
    """
    return home if (home / MARK).exists() else home / "demo"


@dataclass(frozen=True, slots=True)
class Stage:
    """``home`` is the demonstration's own; ``cache`` keeps the guest's image for the next time."""

    home: Path
    cache: Path

    def folder(self, side: Side) -> Path:
        """Return where a cloud lies."""
        return self.home / "clouds" / side.cloud

    @property
    def site(self) -> StateDir:
        """The site of the demonstration."""
        return StateDir(self.home)

    @property
    def settings(self) -> Path:
        """The file in which the operator of this site registers hooks."""
        return self.home / "settings.toml"

    def cloud(self, side: Side) -> LocalCloud:
        """Return the cloud as one who has an account there sees it."""
        folder = self.folder(side)
        return LocalCloud(side.cloud, folder, Secret((folder / "token").read_text().strip()))

    @contextlib.contextmanager
    def alone(self) -> Generator[None]:
        """Keep other demonstrations of this home away. Raise Conflict ``demo.busy`` when one is there."""
        lock = self.home.with_name("demo.lock")
        lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise errors.Conflict(
                    "demo.busy",
                    f"Another demonstration works in {self.home} now.",
                    remedy="Wait until it has ended, or choose another place with --home.",
                ) from error
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)

    async def build(self, voice: Voice, new_key: Callable[[], str]) -> None:
        """Make the clouds and give each the guest's image."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        image = self.home / "small-guest.raw"
        (self.home / MARK).write_text("Made by `crossport demo`; `crossport demo --clean` removes it.\n")
        self.settings.write_text("# The demonstration's own settings, so that yours do not matter.\n")
        with voice.working("A small real guest: Debian's kernel and busybox, from Debian packages"):
            built = await asyncio.to_thread(build_guest, image, Recipe(DISK_SIZE), cache=self.cache)
        for side in (ALPHA, BETA):
            with voice.working(f"Making cloud {side.cloud}"):
                memory = str(self.home / "accelerator")
                create(self.folder(side), spec(side, accelerator_memory=memory), Secret(new_key()))
                cloud = self.cloud(side)
                await closing(cloud, cloud.register_image(IMAGE, built.path))
        image.unlink()

    async def clear(self) -> tuple[str, ...]:
        """Remove everything that demonstrations made; return in words what that was."""
        removed = list(await self._end_site())
        for side in (ALPHA, BETA):
            removed += await destroy(self.folder(side))
        if os.geteuid() == 0:
            # Of clouds whose directory somebody else has deleted, nothing but this is left.
            for name in await remove_leftovers(str((self.home / "clouds").resolve())):
                removed.append(f"network namespace {name}")
        if self.home.exists():
            shutil.rmtree(self.home)
            removed.append(f"directory {self.home}")
        return tuple(removed)

    async def _end_site(self) -> tuple[str, ...]:
        """Ask the site's server to end, and kill it when it does not."""
        pid = self.server()
        if pid is None:
            return ()
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            for _ in range(round(END_S / POLL_S)):
                # It lets go of the lock before it has ended.
                if not _alive(pid):
                    return (f"server process {pid}",)
                await asyncio.sleep(POLL_S)
        raise errors.Unavailable(
            "demo.server.stuck",
            f"The demonstration's server, process {pid}, does not end.",
            remedy=f"End it, then try again: kill -9 {pid}",
        )

    def server(self) -> int | None:
        """Return the process that owns the site's state now."""
        site = self.site
        if not site.path.is_dir():
            return None
        try:
            with site.owned():
                return None
        except errors.Conflict:
            return site.owner()


def _alive(pid: int) -> bool:
    """Say whether the process runs; one that has ended and that nobody asked for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in "ZX"


async def closing(cloud: LocalCloud, call: Awaitable[T]) -> T:
    """Return what ``call`` of ``cloud`` returns, and let go of the connection."""
    try:
        return await call
    finally:
        await cloud.close()
