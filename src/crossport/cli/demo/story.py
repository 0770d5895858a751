"""The acts of the demonstration: bring a VM up, migrate it before the person's eyes, prove what arrived.

It acts as the customer of the product and of the clouds: everything is done by ``crossport`` commands, by the
clouds' own API (an image, the way in to a guest), and by asking guests from outside.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from crossport import errors
from crossport.cli.demo import proof
from crossport.cli.demo.commands import Commands
from crossport.cli.demo.scene import ALPHA, BETA, IMAGE, MAPPING, PAGE, VM_NAME, Side
from crossport.cli.demo.stage import Stage
from crossport.cli.demo.visitor import Sightings, Visitor, Watcher
from crossport.cli.demo.voice import Voice
from crossport.clouds.local import LocalCloud
from crossport.model.run import MigrationReport, RunRecord
from crossport.model.vm import VM
from crossport.units import seconds_text

__all__ = ["Outage", "Story"]

BOOT_S = 90.0
POLL_S = 0.1
CHECK = "http:80:/"


@dataclass(slots=True)
class Story:
    """The parts that all acts share. ``namespace`` is where the clouds meet, empty without such a place."""

    stage: Stage
    commands: Commands
    voice: Voice
    clouds: dict[str, LocalCloud]
    namespace: str = ""

    @property
    def enforced(self) -> bool:
        """Whether networks and security groups are enforced."""
        return bool(self.namespace)

    async def connect(self) -> None:
        """Connect both clouds to the demonstration's site."""
        for side in (ALPHA, BETA):
            path = f"path={self.stage.folder(side)}"
            await self.commands.need("cloud", "add", side.cloud, "local", "--set", path)

    async def boot(self) -> str:
        """Make ``web`` at alpha and return where it answers."""
        wishes = ("--image", IMAGE, "--flavor", ALPHA.flavor, "--network", ALPHA.network)
        more = ("--group", ALPHA.group, "--key", ALPHA.key)
        await self.commands.need("vm", "create", ALPHA.cloud, VM_NAME, *wishes, *more)
        door = await self.clouds[ALPHA.cloud].door(VM_NAME, 80)
        if door is None:
            raise errors.Broken(
                "demo.guest.hidden",
                f"{VM_NAME} at alpha cannot be reached from outside.",
                remedy="Run the demo anew: make demo-clean, then make demo.",
            )
        self.namespace = door.namespace
        self.voice.say(await self._speed())
        return f"http://{door.host}:{door.port}"

    async def _speed(self) -> str:
        about = await self.clouds[ALPHA.cloud].about()
        if about.accelerator == "kvm":
            return "Guests run under KVM."
        why = about.accelerator_reason.partition("\n")[0]
        return f"Guests run by software emulation, which is slow, because a trial of KVM failed: {why}"

    async def furnish(self, visitor: Visitor, url: str, mib: int) -> proof.Kept:
        """Wait for the guest and put data on its disk, through the guest."""
        with self.voice.working(f"Booting {VM_NAME}: a real guest, until it answers at {url}"):
            await visitor.answering(url, BOOT_S)
        with self.voice.working(f"Storing an order and {mib} MiB of random data on its disk, over HTTP"):
            data = {
                "order": await visitor.store(url, "order", PAGE.decode()),
                "random": await visitor.fill(url, "random", mib),
            }
        for name, digest in data.items():
            self.voice.say(f"{name}: SHA-256 {digest}")
        return proof.Kept(await visitor.state(url), data)

    def words(self, source: Side, target: Side, *more: str) -> tuple[str, ...]:
        """Return the command that migrates ``web``."""
        check = () if "--check" in more else ("--check", CHECK)
        ends = ("--from", source.cloud, "--to", target.cloud)
        return ("migrate", VM_NAME, *ends, *MAPPING[source.cloud], *check, *more)

    async def latest(self) -> str:
        """Return the newest run."""
        runs = await self.commands.ask(tuple[RunRecord, ...], "run", "list")
        if not runs:
            raise errors.Broken("demo.run.none", "No run was begun.", remedy="The command said why.")
        return runs[0].id

    async def report(self, run: str) -> MigrationReport:
        """Return the report of a finished run."""
        return await self.commands.ask(MigrationReport, "run", "report", run)

    async def vm(self, side: Side) -> VM:
        """Return ``web`` as the site sees it at ``side``."""
        return await self.commands.ask(VM, "vm", "show", side.cloud, VM_NAME)

    async def url(self, side: Side) -> str:
        """Return where ``web`` of ``side`` answers others, empty when the cloud lets nobody in."""
        with contextlib.suppress(errors.NotFound):
            door = await self.clouds[side.cloud].door(VM_NAME, 80)
            return f"http://{door.host}:{door.port}" if door else ""
        return ""

    @contextlib.asynccontextmanager
    async def watched(self, url: str, target: Side) -> AsyncGenerator["Outage"]:
        """Watch both ends from outside while the block runs."""
        async with Watcher.posted(self.namespace) as one, Watcher.posted(self.namespace) as other:
            await one.watch(url)
            outage = Outage(one, other)
            arrival = asyncio.create_task(self._arrival(other, target))
            try:
                yield outage
                await outage.close(arrival)
            finally:
                arrival.cancel()
                await asyncio.gather(arrival, return_exceptions=True)

    async def _arrival(self, watcher: Watcher, target: Side) -> None:
        """Let the watcher begin as soon as the target's address is known, before it is open if possible."""
        cloud = self.clouds[target.cloud]
        while True:
            with contextlib.suppress(errors.Error):
                if url := await self._expected(cloud):
                    await watcher.watch(url)
                    return
            await asyncio.sleep(POLL_S)

    async def _expected(self, cloud: LocalCloud) -> str:
        """Return where the copy will answer, empty as long as nobody can know."""
        if not self.enforced:
            door = await cloud.door(VM_NAME, 80)
            return f"http://{door.host}:{door.port}" if door else ""
        vm = await cloud.vm(VM_NAME)
        addresses = [address.partition("/")[0] for nic in vm.nics for address in nic.addresses]
        return f"http://{addresses[0]}:80" if addresses and not vm.fenced else ""

    async def proven(
        self, visitor: Visitor, kept: proof.Kept, source: Side, target: Side, old: str
    ) -> proof.Proof:
        """Look at both ends from outside, tell the person, and return what was found."""
        url = await self.url(target)
        seen = await proof.looked(visitor, url, enforced=self.enforced)
        vm, before = await self.vm(target), await self.vm(source)
        answer = await visitor.accepts(old, int(old.rpartition(":")[2]))
        claims = (*proof.arrived(seen, vm, target, kept), proof.retained(before, source, answer))
        for claim in claims:
            self.voice.claim(claim.good, claim.text)
        return proof.Proof(claims, url)


class Outage:
    """What the two watchers saw."""

    def __init__(self, source: Watcher, target: Watcher) -> None:
        self._watchers = source, target
        self.source = Sightings()
        self.target = Sightings()

    async def close(self, arrival: asyncio.Task[None]) -> None:
        """Call both watchers off; the target's may have seen nothing."""
        source, target = self._watchers
        # One answer of the target is needed, and comes within a moment when it was let in.
        if arrival.done():
            await asyncio.sleep(5 * POLL_S)
            self.target = await target.relieved()
        self.source = await source.relieved()

    @property
    def seconds(self) -> float | None:
        """From the last answer of the source to the first of the target; None when one never came."""
        if not (self.source.last and self.target.first):
            return None
        return self.target.first - self.source.last

    def told(self) -> str:
        """Return it in words."""
        if self.seconds is None:
            return "Outage: not seen from outside."
        counts = f"{self.source.count} answers before, {self.target.count} after"
        return f"Outage seen from outside: {seconds_text(self.seconds)} ({counts})."
