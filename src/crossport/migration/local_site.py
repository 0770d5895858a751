"""This site's own end of a migration: drivers, start permit, ledger and reservations behind `Site`.

Every call may come again: what was done is found in the site's documents and in the cloud, and a decision
is written down before it is acted on.
"""

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from crossport import errors
from crossport.migration.ability import able
from crossport.migration.admission import Admitting, require_admitted, require_verified
from crossport.migration.at_rest import AtRest, named
from crossport.migration.belongings import Belongings
from crossport.migration.converting import require_startable
from crossport.migration.cutover import Cutover, expect
from crossport.migration.descriptor import require_started
from crossport.migration.end import Ends, Hold, Landing
from crossport.migration.gateway_finding import seat_findings
from crossport.migration.import_policy import Trust
from crossport.migration.inspecting import GuestInspection, made_of
from crossport.migration.permit import SourceEvent, SourceState, TargetEvent, after
from crossport.migration.published import IMAGES, Opened, PublishedImages
from crossport.migration.quarantine import Quarantine, require_whole
from crossport.migration.reservation import Reservations
from crossport.migration.sealing import Origin, Sealing
from crossport.migration.survey import Surveying
from crossport.model.artifact import Artifact, Export, ExportPoint, Marks, Moved, Place, Ticket, Way
from crossport.model.finding import Finding
from crossport.model.health import Health, HealthChecks, ProbeResult
from crossport.model.inspection import Inspected, LookMode, Surveyed
from crossport.model.permit import Statement, StatementKind
from crossport.model.run import Act, Created, LedgerState
from crossport.model.sealing import Admission, SealedImage
from crossport.model.vm import VM, PowerState
from crossport.spi.clock import Clock
from crossport.spi.cloud import (
    ChangeTracker,
    Cloud,
    Console,
    Exporter,
    Fencer,
    GatewayHost,
    Importer,
    Inventory,
    NewVM,
    Power,
    Prober,
    Provisioner,
    Publisher,
    RoomFor,
)
from crossport.spi.document import Documents
from crossport.spi.gateway import Seats
from crossport.spi.inspect import Inspector
from crossport.spi.mover import Mover
from crossport.spi.partner import Partners
from crossport.spi.run import Ledger
from crossport.spi.sealing import Sealer
from crossport.spi.site import Cleaned, Compared, Description, StopRule

__all__ = ["LocalSite", "SiteParts", "able", "seat"]

ABILITIES = (
    *(Inventory, Power, Fencer, Exporter, ChangeTracker, Importer),
    *(Prober, GatewayHost, Console, Provisioner, Publisher),
)
TICKET_LIFETIME_S = 6 * 3600.0
TICKET_SLACK = 64 << 20  # bytes beyond the artifact's size that may cross: framing and chunks sent again


async def seat(driver: Cloud, tenant: str, cloud: str, way: Way) -> Place:
    """Return the gateway's seat at the tenant's cloud, by the cloud's own name here."""
    place = await able(driver, GatewayHost).place(way)
    return replace(place, tenant=tenant, cloud=cloud)


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteParts:
    """What a site works with. ``connect`` returns the connection to a cloud; ``token`` fresh random text.

    ``images_most`` published images are looked into for each disk that is written. ``look``: whether it
    looks into guests that leave. Without ``seats`` each gateway is the site's own machine.
    """

    tenant: str
    connect: Callable[[str], Awaitable[Cloud]]
    documents: Documents
    ledger: Ledger
    mover: Mover
    sealer: Sealer
    clock: Clock
    token: Callable[[], str]
    partners: Partners | None = None
    images_most: int = IMAGES
    inspector: Inspector | None = None
    look: LookMode = LookMode.NEVER
    seats: Seats | None = None


class LocalSite:
    """The site ``name``, which connects to its clouds itself. ``trust`` is whose images it takes in."""

    def __init__(self, name: str, parts: SiteParts) -> None:
        self.name = name
        self._tenant = parts.tenant
        self._connect = parts.connect
        self._reservations = Reservations(parts.tenant, parts.documents)
        self._ledger = parts.ledger
        self._mover = parts.mover
        self._clock = parts.clock
        self._token = parts.token
        self._seats = parts.seats
        self._ends = Ends(parts.documents)
        self._belongings = Belongings(parts.ledger)
        self._sealer = parts.sealer
        self._sealing = Sealing(name, parts.documents, parts.sealer, parts.clock, parts.token)
        self.trust = Trust(name, parts.documents, parts.sealer, parts.clock, parts.partners)
        self._admitting = Admitting(name, parts.documents, parts.sealer, parts.clock, self.trust)
        self._inspection = GuestInspection(self.trust, parts.inspector)
        self._quarantine = Quarantine(self._ends, parts.ledger, self._inspection)
        self._surveying = Surveying(parts.documents, parts.inspector, parts.look)
        self._cutover = Cutover(
            site=name,
            connect=parts.connect,
            ends=self._ends,
            ledger=parts.ledger,
            belongings=self._belongings,
            quarantine=self._quarantine,
            clock=parts.clock,
        )
        self._images = PublishedImages(parts.ledger, parts.images_most)

    async def describe(self, cloud: str, vm: str = "") -> Description:
        """Ask the cloud what it offers, and about one VM."""
        driver = await self._connect(cloud)
        inventory = able(driver, Inventory)
        await driver.check()
        policy = None if vm else await self.trust.policy()
        wanted = policy.own_checks if policy else self._surveying.checks
        way = Way.READ if vm else Way.WRITE
        unable = await self._inspection.unable(wanted, lambda: seat(driver, self._tenant, cloud, way))
        return Description(
            constructs=await inventory.constructs(),
            abilities=tuple(kind.__name__ for kind in ABILITIES if isinstance(driver, kind)),
            points=tuple(sorted(driver.points())) if isinstance(driver, Exporter) else (),
            names=tuple(one.name for one in await inventory.vms()),
            vm=await inventory.vm(vm) if vm else None,
            findings=await self._seated(driver, cloud, way),
            policy=policy,
            checks=made_of(wanted, unable),
            unable=() if vm else unable,
            seal_keys=await self._sealing.keys() if vm else (),
            look=self._surveying.mode,
        )

    async def _seated(self, driver: Cloud, cloud: str, way: Way) -> tuple[Finding, ...]:
        """Return what of this end's gateway stands in the way; a cloud without a seat says so by itself."""
        if self._seats is None or not isinstance(driver, GatewayHost):
            return ()
        place = await seat(driver, self._tenant, cloud, way)
        return seat_findings(place, await self._seats.seated(place))

    async def reserve(self, act: Act, cloud: str, *, vm: str = "", rooms: tuple[RoomFor, ...] = ()) -> None:
        """Take the source's VM for this run alone."""
        del rooms  # the target's room is taken by prepare_import, which makes the volumes
        await self._sealer.keyring()  # now, and not in the outage: who signs is started by the first question
        if vm:
            await self._reservations.take(cloud, vm, act.run)

    async def holder(self, cloud: str, vm: str) -> str:
        """Return the run that has reserved the VM, empty when nobody has."""
        return await self._reservations.holder(cloud, vm)

    async def export(
        self,
        act: Act,
        cloud: str,
        vm: str,
        *,
        point: ExportPoint,
        stop: StopRule,
        marks: Marks | None = None,
    ) -> tuple[Export, Statement | None]:
        """Stop, fence and open the VM for reading."""
        driver = await self._connect(cloud)
        found = await able(driver, Inventory).vm(vm)
        await self._ledger.intend(Created(run=act.run, cloud=cloud, kind="export", name=found.id))
        if marks is not None:
            await self._ledger.intend(Created(run=act.run, cloud=cloud, kind="tracking", name=found.id))
        if point is ExportPoint.SNAPSHOT:
            return await _opened(act, driver, found, point, marks), None
        hold = await self._ends.begin_hold(act.run, Hold(cloud=cloud, vm=found.id, was=found.power))
        after(hold.state, SourceEvent.HOLD)  # a VM that was let go is not fenced by a call that comes late
        if hold.state is SourceState.FREE:
            await self._stop(act, driver, found, point, stop)
        fence = await able(driver, Fencer).fence(act, found.id)
        kind = await self._ends.source(act.run, SourceEvent.HOLD, fence=fence)
        exported = await _opened(act, driver, found, point, marks)
        return exported, self._cutover.statement(act, kind, found.id, fence)

    async def _stop(self, act: Act, driver: Cloud, vm: VM, point: ExportPoint, stop: StopRule) -> None:
        if point is ExportPoint.SUSPENDED:
            await able(driver, Exporter).suspend(act, vm.id)
            return
        power = able(driver, Power)
        if await power.shut_down(act, vm.id, stop.shutdown_s):
            return
        if not stop.power_off:
            raise errors.RolledBack(
                "vm.shutdown.refused",
                f"{vm.name} did not shut down within {stop.shutdown_s:.0f} s.",
                field="shutdown_s",
                remedy="Give it more time with --shutdown-timeout, or pull the plug with --power-off.",
            )
        await power.power_off(act, vm.id)

    async def prepare_import(self, act: Act, cloud: str, rooms: tuple[RoomFor, ...]) -> tuple[Artifact, ...]:
        """Make room at the target, in the ledger first."""
        driver = able(await self._connect(cloud), Importer)
        if any(thing.kind == "vm" for thing in await self._ledger.entries(act.run, cloud)):
            raise errors.Conflict(  # its disks may be those that would be made anew
                "import.sealed",
                f"What run {act.run} writes here is sealed.",
                remedy="Begin a new run to write again.",
            )
        await self._sealer.keyring()  # now, not in the outage behind the copy: this starts the signer
        await self._ends.begin_landing(act.run, Landing(cloud=cloud))
        for room in rooms:
            await self._ledger.intend(Created(run=act.run, cloud=cloud, kind="volume", name=room.name))
        artifacts = await driver.prepare_import(act, rooms)
        made = {thing.name: thing for thing in await driver.tagged(act.run) if thing.kind == "volume"}
        for room in rooms:
            volume = next((thing for name, thing in made.items() if name.endswith(room.name)), None)
            await self._belongings.settle(act, cloud, "volume", room.name, LedgerState.CREATED, volume)
        return artifacts

    async def ticket(self, act: Act, cloud: str, artifact: Artifact, way: Way) -> Ticket:
        """Give the right to read or write one artifact."""
        driver = await self._connect(cloud)
        place = await seat(driver, self._tenant, cloud, way)
        images = await self._images.opened(act, cloud, driver, artifact) if way is Way.WRITE else Opened()
        return Ticket(
            id=self._token(),
            tenant=self._tenant,
            run=act.run,
            epoch=act.epoch,
            artifact=artifact.name,
            way=way,
            ref=artifact.ref,
            place=place,
            byte_budget=artifact.ref.size + TICKET_SLACK,
            expires=self._clock.wall() + TICKET_LIFETIME_S,
            nonce=self._token(),
            published=images.refs,
            unopened=images.fault,
        )

    async def read_back(
        self, act: Act, cloud: str, artifacts: tuple[Artifact, ...], moved: tuple[Moved, ...]
    ) -> None:
        """Read what was written, while more may come."""
        await (await self._at_rest(cloud, Way.WRITE)).check(act.run, artifacts, moved)

    async def compare(
        self, act: Act, cloud: str, artifacts: tuple[Artifact, ...], moved: tuple[Moved, ...]
    ) -> Compared:
        """Read the stopped source whole, and compare it with what arrived."""
        del act
        return await (await self._at_rest(cloud, Way.READ)).compare(artifacts, moved)

    async def _at_rest(self, cloud: str, way: Way) -> AtRest:
        return AtRest(self._mover, await seat(await self._connect(cloud), self._tenant, cloud, way))

    async def survey(self, act: Act, cloud: str, artifacts: tuple[Artifact, ...]) -> Surveyed:
        """Look into the guest that leaves, and keep what was found for the seal."""
        place = await seat(await self._connect(cloud), self._tenant, cloud, Way.READ)
        return await self._surveying.survey(act.run, artifacts, place)

    async def seal(
        self, act: Act, cloud: str, vm: VM, moved: tuple[Moved, ...], importer: str, *, run: str = ""
    ) -> SealedImage:
        """Have what was read sealed by this site's signer."""
        constructs = await able(await self._connect(cloud), Inventory).constructs()
        hold = await self._ends.hold(act.run)
        held = hold is not None and hold.state is SourceState.HELD
        origin = Origin(cloud, constructs, await self._surveying.kept(act.run, held=held))
        return await self._sealing.seal(act, origin, vm, moved, importer, run or act.run)

    async def admit(
        self, act: Act, cloud: str, image: SealedImage, moved: tuple[Moved, ...], *, run: str = ""
    ) -> Admission:
        """Verify the seal, and that it is over what this site's gateways wrote."""
        return await self._admitting.admit(act, cloud, image, moved, run or act.run)

    async def verify(
        self, act: Act, cloud: str, moved: tuple[Moved, ...], *, at_rest: bool = True
    ) -> tuple[Artifact, ...]:
        """Read at rest what was written, compare every root with the source's, and look into the guest."""
        image = require_admitted(act.run, (await self._ends.landing(act.run)).image, moved)
        await self._quarantine.require_unstarted(act, cloud)
        driver = await self._connect(cloud)
        sealed = await able(driver, Importer).seal_import(act)
        await self._images.closed(act, cloud, driver)
        by_name = named(sealed, moved, cloud)
        arrived = tuple(by_name[one.artifact] for one in moved)
        place = await seat(driver, self._tenant, cloud, Way.WRITE)
        reading = AtRest(self._mover, place).check(act.run, sealed, moved if at_rest else ())
        await self._quarantine.arrived(act, image, arrived, place, reading)
        return arrived

    async def inspect(self, act: Act, cloud: str, moved: tuple[Moved, ...]) -> Inspected:
        """Return what was found in the guest; look now if the policy asks for it only by now."""
        landing = await self._ends.landing(act.run)
        image = require_admitted(act.run, landing.image, moved)
        require_verified(act.run, landing)
        if landing.inspected is not None and landing.inspected.made:
            return landing.inspected
        await self._quarantine.require_unstarted(act, cloud)
        driver = await self._connect(cloud)
        sealed = named(await able(driver, Importer).seal_import(act), moved, cloud)
        place = await seat(driver, self._tenant, cloud, Way.WRITE)
        arrived = tuple(sealed[one.artifact] for one in moved)
        return await self._quarantine.look(act, image, arrived, place)

    async def instantiate(self, act: Act, cloud: str, new: NewVM, *, stopped: Statement | None) -> VM:
        """Start the verified copy in quarantine."""
        landing = await self._ends.landing(act.run)
        image = require_startable(act.run, landing)
        if stopped is None and not new.isolated:
            raise errors.Refused(
                "permit.statement.missing",
                "Only an isolated copy may start beside its source.",
                remedy=f"See how far it is with: crossport run show {act.run}",
            )
        require_started(base64.b64decode(image.descriptor), new)
        require_whole(act.run, image, new)
        await self._quarantine.require_checked(landing, new.vm.name)
        if stopped is not None:
            expect(stopped, act, (StatementKind.STOPPED_AND_FENCED,))
            await self._ends.target(act.run, TargetEvent.SOURCE_STOPPED)
        await self._ledger.intend(Created(run=act.run, cloud=cloud, kind="vm", name=new.vm.name))
        vm = await able(await self._connect(cloud), Importer).instantiate(act, new)
        created = Created(run=act.run, cloud=cloud, kind="vm", name=new.vm.name, id=vm.id)
        await self._belongings.settle(act, cloud, "vm", new.vm.name, LedgerState.CREATED, created)
        return vm

    async def check(self, cloud: str, vm_id: str, checks: HealthChecks) -> Health:
        """Probe until everything answers several times in a row, or time is over."""
        driver = await self._connect(cloud)
        began = self._clock.monotonic()
        if not checks.probes:
            vm = await able(driver, Inventory).vm(vm_id)
            return Health(good=vm.power is PowerState.RUNNING and not vm.halted, results=(), seconds=0.0)
        prober, in_a_row = able(driver, Prober), 0
        while True:
            results: list[ProbeResult] = [await prober.probe(vm_id, probe) for probe in checks.probes]
            in_a_row = in_a_row + 1 if all(result.good for result in results) else 0
            seconds = self._clock.monotonic() - began
            if in_a_row >= checks.successes or seconds >= checks.timeout_s:
                good = in_a_row >= checks.successes
                return Health(good=good, results=tuple(results), seconds=seconds)
            await self._clock.sleep(checks.interval_s)

    async def prepare_commit(self, act: Act, cloud: str, vm_id: str) -> Statement:
        """State that the verified copy stands here."""
        return await self._cutover.prepare_commit(act, cloud, vm_id)

    async def commit(self, act: Act, cloud: str, vm_id: str, *, other: Statement) -> Statement:
        """Source end: record the decision. Target end: open the network on the permit."""
        return await self._cutover.commit(act, cloud, vm_id, other=other)

    async def withdraw(self, act: Act, cloud: str, vm_id: str, *, sure: bool = False) -> Statement:
        """Record that this run will never get a permit, as long as the source has its VM."""
        return await self._cutover.withdraw(act, cloud, vm_id, sure=sure)

    async def give_up(self, act: Act, cloud: str, vm_id: str, *, sure: bool = False) -> Statement:
        """State that the copy will never run because it is lost."""
        return await self._cutover.give_up(act, cloud, vm_id, sure=sure)

    async def roll_back(self, act: Act, cloud: str, vm_id: str, *, other: Statement) -> Statement:
        """Target end: discard. Source end: bring the VM back as it was."""
        return await self._cutover.roll_back(act, cloud, vm_id, other=other)

    async def clean(self, act: Act, cloud: str, *, keep_vm: bool) -> Cleaned:
        """Remove what the run made here and does not keep. Its reservations end also when that fails."""
        await self._reservations.end(cloud, act.run)
        # A source whose target is at this site, too, leaves what is known of that to its end.
        if (await self._ends.landing(act.run)).cloud in {cloud, ""}:
            await self._mover.forget(act.run)
        driver = await self._connect(cloud)
        return await self._belongings.remove(act, cloud, driver, must=False, keep_vm=keep_vm)


async def _opened(act: Act, driver: Cloud, vm: VM, point: ExportPoint, marks: Marks | None) -> Export:
    if marks is None:
        return await able(driver, Exporter).export(act, vm.id, point)
    return await able(driver, ChangeTracker).export_changes(act, vm.id, point, marks)
