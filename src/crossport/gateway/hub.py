"""The site's end: who is connected, and starting workers at the gateway that sits where the disk is.

Where no gateway was enrolled for a seat, workers start on this machine. Where one was and is away, nothing
takes its place: bytes never pass through the control plane.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import structlog

from crossport import errors
from crossport.gateway.desk import Desk, away
from crossport.gateway.office import Entry, Office, shown
from crossport.gateway.wire import Line, agreed, table, text, texts, word
from crossport.model.artifact import DiskRef, Place
from crossport.model.gateway import EnrollRequest, Enrolment, Gateway, Presence, Seated
from crossport.spi.clock import Clock
from crossport.transfer.host import Journal, Way, Worker, WorkerHost

__all__ = ["PING_S", "Hub"]

PATIENCE_S = 20.0
"""How long a copy waits for a gateway that is just reconnecting."""
PING_S = 10.0
"""How often a gateway is asked whether it is there, and the book whether it is still trusted."""
SILENCE_S = 3 * PING_S
GATEWAY_LINE = 32 << 10
"""Bytes that a gateway may say at once, but for its greeting: what a worker tells is far less."""


class Hub:
    """Implements `crossport.transfer.host.WorkerHost`, and Gateways and Seats of `crossport.spi.gateway`."""

    def __init__(self, office: Office, clock: Clock, local: WorkerHost, *, boot: str) -> None:
        self.office = office
        self.boot = boot
        self.node = ""
        self._clock = clock
        self._local = local
        self.desks: dict[str, Desk] = {}
        self._came = asyncio.Condition()
        self._apart: dict[str, str] = {}
        self._born = clock.monotonic()
        self._log: Any = structlog.get_logger("crossport.gateway")

    @contextlib.asynccontextmanager
    async def started(
        self,
        way: Way,
        ref: DiskRef,
        place: Place,
        journal: Journal | None = None,
        stock: str = "",
        published: tuple[DiskRef, ...] = (),
    ) -> AsyncGenerator[Worker]:
        """Start a worker as the Protocol says; Unavailable (``gateway.away``) without its gateway."""
        if way == "inspect":
            await self.require_own(place)
        desk = await self._desk(place)
        if desk is None:
            async with self._local.started(way, ref, place, journal, stock, published) as worker:
                yield worker
            return
        journal = await self.office.keeping.journal(desk.gateway, way, journal)
        pipe = await desk.open(way, ref, place, journal, stock, published)
        try:
            await pipe.begun()
            yield Worker(pipe)
        finally:
            await asyncio.shield(asyncio.ensure_future(desk.end(pipe)))

    async def forget(self, run: str) -> None:
        """Remove the journals of ``run`` here and at the gateways; one that is away is told when it comes."""
        await self._local.forget(run)
        await self.office.keeping.forget(run)
        for desk in tuple(self.desks.values()):
            await self._tell_unwanted(desk)

    async def enroll(self, tenant: str, request: EnrollRequest) -> Enrolment:
        """Let one new gateway join."""
        return await self.office.invite(tenant, request)

    async def gateways(self, tenant: str) -> tuple[Gateway, ...]:
        """Return those that joined, by id."""
        return tuple(self._shown(entry) for entry in await self.office.entries(tenant))

    async def gateway(self, tenant: str, id: str) -> Gateway:  # noqa: A002 - the record's own word
        """Return one, with what it says now."""
        entry = await self.office.entry(tenant, id)
        await self._counted(entry)
        return self._shown(entry)

    async def drain(self, tenant: str, id: str) -> Gateway:  # noqa: A002
        """Let it begin no new copy, from whichever node: it is told itself. The jobs are those after that."""
        entry = await self.office.drain(tenant, id)
        desk = self.desks.get(id)
        if desk is not None:
            await desk.send({"do": "drain"})
        await self._counted(entry)
        return self._shown(entry)

    async def _counted(self, entry: Entry) -> None:
        desk = self.desks.get(entry.id)
        if desk is not None:
            await desk.count(await self.office.nodes())

    async def remove(self, tenant: str, id: str) -> None:  # noqa: A002
        """Trust it no longer and end its connection, here at once and at other nodes within `PING_S`."""
        await self.office.remove(tenant, id)
        desk = self.desks.get(id)
        if desk is not None:
            await desk.send({"do": "removed"})
            await desk.cut()

    async def seated(self, place: Place) -> Seated:
        """Return who would work at ``place``; waits for one that was here, or could be, a moment ago."""
        seated = await self._seated(place)
        if not seated:
            return Seated()
        able = [entry for entry in seated if not entry.draining]
        if not able:
            return Seated(gateway=seated[0].id, presence=Presence.DRAINING, release=seated[0].release)
        apart = next((entry for entry in able if entry.id in self._apart), None)
        seen = max(self.desks[one.id].seen if one.id in self.desks else self._born for one in able)
        left_s = PATIENCE_S - (self._clock.monotonic() - seen)
        if found := await self._there(able, 0.0 if apart else max(left_s, 0.0)):
            worst = min(found, key=lambda desk: desk.claims)  # whichever has least to do is taken
            presence = Presence.HERE if worst.claims else Presence.MUTE
            return Seated(gateway=worst.gateway, presence=presence, release=worst.release)
        if apart:
            return Seated(gateway=apart.id, presence=Presence.APART, release=self._apart[apart.id])
        return Seated(gateway=able[0].id, presence=Presence.AWAY, release=able[0].release)

    async def require_own(self, place: Place) -> None:
        """Raise Refused where a gateway sits: into guests only this machine looks, and not in its place."""
        for entry in await self._seated(place):
            raise errors.Refused(
                "inspect.gateway.unable",
                f"{place.subnet} of {place.cloud} has gateway {entry.id}, and gateways look into no guests.",
                remedy="Where the site's own machine can open the cloud's disks, remove that gateway: "
                "then it copies and looks itself.",
            )

    async def serve(self, line: Line, hello: dict[str, Any], entry: Entry, fingerprint: str) -> None:
        """Serve one connection of a gateway that was admitted, until it ends."""
        version, boot = self._agreed(entry.id, hello), word(hello, "boot", most=64)
        heard = table(table(hello, "jobs"), self.boot)
        desk = self.desks.setdefault(entry.id, self._new_desk(entry.id))
        desk.release, desk.claims = word(hello, "release", most=64), hello.get("claims") is True
        await desk.attach(line, boot, heard)
        try:
            await line.send(await self._welcome(entry, desk, version))
            await desk.replay()
            await self._tell_unwanted(desk, texts(hello, "shelves"))
            async with self._came:
                self._came.notify_all()
            self._log.info("gateway connected", gateway=entry.id, release=desk.release, version=version)
            await self._until_it_ends(line, desk, fingerprint)
        finally:
            desk.detach(line)
            self._log.info("gateway gone", gateway=entry.id)

    def _new_desk(self, gateway: str) -> Desk:
        return Desk(gateway, self._clock, partial(self.office.lists, gateway))

    def _agreed(self, gateway: str, hello: dict[str, Any]) -> int:
        """Return the version to speak; raise Refused, and remember it for who asks after this gateway."""
        try:
            version = agreed(hello.get("versions"))
        except errors.Refused:
            self._apart[gateway] = word(hello, "release", most=64)
            raise
        self._apart.pop(gateway, None)
        return version

    async def _welcome(self, entry: Entry, desk: Desk, version: int) -> dict[str, Any]:
        return {
            "do": "welcome",
            "version": version,
            "node": self.node,
            "boot": self.boot,
            "nodes": await self.office.nodes(),
            "seat": {"tenant": entry.tenant, "cloud": entry.cloud, "subnet": entry.subnet},
            "jobs": {job: pipe.inbox.heard for job, pipe in desk.pipes.items()},
            "draining": entry.draining,
        }

    async def _until_it_ends(self, line: Line, desk: Desk, fingerprint: str) -> None:
        pinging = asyncio.create_task(self._ping(line, desk, fingerprint))
        try:
            while True:
                async with asyncio.timeout(SILENCE_S):
                    message = await line.receive(GATEWAY_LINE)
                await self._take(line, desk, message)
        except TimeoutError as error:
            raise errors.Unavailable(
                "gateway.line.silent", f"Gateway {desk.gateway} is silent.", remedy=errors.TRIED_AGAIN
            ) from error
        finally:
            pinging.cancel()
            with contextlib.suppress(asyncio.CancelledError, errors.Error):
                await pinging

    async def _take(self, line: Line, desk: Desk, message: dict[str, Any]) -> None:
        match message.get("do"):
            case "pong":
                await desk.answered(message)
            case "renew" if desk.may_renew():
                signed = await self.office.renewed(
                    desk.gateway, text(message, "request", most=1 << 14), desk.release
                )
                await line.send({"do": "certificate", "certificate": signed.certificate_pem})
            case "forgot":
                await self.office.keeping.forgot(desk.gateway, text(message, "run", most=256))
            case "told" | "heard":
                await desk.take(message)
            case _:
                return  # of a newer release

    async def _ping(self, line: Line, desk: Desk, fingerprint: str) -> None:
        while True:
            await self._clock.sleep(PING_S)
            try:
                await self.office.admitted(desk.gateway, fingerprint)
                await desk.ask(await self.office.nodes())
                await self._tell_unwanted(desk)  # another node may have ended a run
            except errors.Refused:
                await line.send({"do": "removed"})
                await line.close()
                return
            except errors.Unavailable as error:
                self._log.warning("gateway not asked", gateway=desk.gateway, code=error.code)

    async def _tell_unwanted(self, desk: Desk, shelves: tuple[str, ...] = ()) -> None:
        unwanted = await self.office.keeping.unwanted(desk.gateway, shelves)
        for run in unwanted.runs:
            await desk.send({"do": "forget", "run": run})
        if unwanted.shelves:
            await desk.send({"do": "forget", "shelves": unwanted.shelves})

    async def _desk(self, place: Place) -> Desk | None:
        """Return the desk of a gateway that can take a job at this seat, None where none was enrolled."""
        seated = await self._seated(place)
        if not seated:
            return None
        able = [entry for entry in seated if not entry.draining]
        if not able:
            raise errors.Unavailable(
                "gateway.draining",
                f"Gateway {seated[0].id} in {place.subnet} of {place.cloud} begins nothing new.",
                remedy="Enroll another one for this subnet, or remove this one.",
            )
        if found := await self._there(able, PATIENCE_S):
            return min(found, key=lambda desk: len(desk.pipes))
        raise away(able[0].id)

    async def _there(self, entries: list[Entry], patience_s: float) -> list[Desk]:
        """Return those that are connected, as soon as there are any."""

        def there() -> list[Desk]:
            desks = (self.desks.get(one.id) for one in entries)
            return [desk for desk in desks if desk is not None and desk.connected]

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s), self._came:
                await self._came.wait_for(lambda: bool(there()))
        return there()

    async def _seated(self, place: Place) -> list[Entry]:
        entries = await self.office.entries(place.tenant)
        return [entry for entry in entries if entry.sits(place.tenant, place.cloud, place.subnet)]

    def _shown(self, entry: Entry) -> Gateway:
        desk = self.desks.get(entry.id)
        here = desk is not None and desk.connected
        return shown(entry, connected=here, jobs=desk.reported if here and desk else 0)
