"""Follow a VM that runs: copy its disks, then what changed, again and again, until it may be shut down.

Each copy is one sync: the moment of the guest's disks is opened with a mark, and the next sync asks what
changed since. When no sync follows at once the run waits for a person, which holds nobody up. A cloud that
cannot tell changes is read whole each time. One that can leaves what changes all the time to the last copy.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import count

from crossport import errors
from crossport.migration.convergence import Next, Outlook, changes_bps, copies_bps, outlook
from crossport.migration.copying import Copying, Pair, Rooms
from crossport.migration.leg import PATIENT, How, Leg
from crossport.migration.same_vm import check_same_vm, snapshot_findings
from crossport.migration.step import Exported, Proposed, Room, Timed, between
from crossport.migration.target_vm import rooms_for
from crossport.model.artifact import Artifact, Export, ExportPoint, Heat, Marks, Moved, Role
from crossport.model.finding import Finding, Severity
from crossport.model.run import Act, Event, EventKind, Sync, Verify
from crossport.spi.run import Retry
from crossport.spi.site import StopRule
from crossport.units import rate_text, seconds_text, size_text

__all__ = ["CUTOVER", "STUCK", "Following", "own_disks"]

CUTOVER = "cutover"
"""The topic by which a person says go, at any time, with the same word."""
DELTA = "delta"
"""A copy of what changed, which another one follows."""
STUCK = "warm.convergence"
LASTING = Retry(attempts=40, longest_pause_s=60.0)
"""A sync that fails harms nobody, and what was copied is kept: half an hour of a broken link passes."""
SYNCING = How(phase="image_upload", begins=False, ends=False, retry=LASTING, cancellable=True)

Opening = Callable[[Act], Awaitable[Exported]]


class Following:
    """The passes over the disks of one execution of one warm migration.

    ``syncs`` is what is reported of them, ``passes`` what each one moved. ``first`` and ``room`` are the
    steps that opened the source and the target for the first time.
    """

    def __init__(self, leg: Leg, proposed: Proposed) -> None:
        self._leg = leg
        self._proposed = proposed
        self._rooms: Rooms
        self._pairs: tuple[Pair, ...] = ()
        self._heat: dict[str, tuple[Heat, ...]] = {}
        self.syncs: tuple[Sync, ...] = ()
        self.passes: list[tuple[Moved, ...]] = []
        self.findings: tuple[Finding, ...] = ()
        self.first: Timed[Exported]
        self.room: Timed[Room]

    async def follow(self) -> None:
        """Return when the VM may be shut down. Raise RolledBack when nobody ever said so."""
        number, ordered = 0, False
        while True:
            await self._sync(number)
            number += 1
            if self._leg.request.test and number >= 2:
                return
            ordered = ordered or await self._ordered(0.0, 2 * number - 1)
            look = self._outlook(ordered=ordered)
            await self._tell(number - 1, look)
            if look.next is Next.GIVE_UP:
                raise errors.RolledBack(
                    "cutover.deadline",
                    "Nobody ordered the cutover before the deadline.",
                    remedy="Migrate again, and order it with: crossport run cutover RUN",
                )
            if look.wait_s:
                ordered = await self._ordered(look.wait_s, 2 * number) or ordered
            if look.next is Next.CUT_OVER:
                return

    async def copied(
        self, name: str, what: str, opening: Opening, opened: Timed[Exported], how: How = SYNCING
    ) -> Timed[Moved]:
        """Copy the disks that ``opened`` has opened, in steps of the pass ``name``; return the last copy.

        ``opening`` opens them once more where that is needed. Raise RolledBack for another VM than before.
        """
        export = opened.value.export
        await self._check_same(name, export)

        async def sources() -> tuple[Artifact, ...]:
            return (await opening(self._leg.context.act(f"{name}-open"))).export.artifacts

        copying = Copying(self._leg, sources, self._rooms.again)
        copies = [
            await copying.copy(f"{name}-{disk.name}", self._pair(disk, pair.target, what), how)
            for disk, pair in zip(own_disks(export), self._pairs, strict=True)
        ]
        moved = tuple(one.value for one in copies)
        self._heat = {one.artifact: one.heat for one in moved}
        self.passes.append(tuple(replace(one, heat=()) for one in moved))
        self.syncs = (*self.syncs, _sync(what, moved, opened, copies[-1]))
        return copies[-1]

    def _pair(self, disk: Artifact, target: Artifact, what: str) -> Pair:
        """Return what is copied, and where to: something may be left out where another copy follows."""
        defers = what == DELTA and self._proposed.tracks
        return Pair(disk, target, self._heat.get(disk.name, ()), defers=defers)

    def marks(self, number: int, *, last: bool = False) -> Marks | None:
        """Return the marks of sync ``number``; the ``last`` one sets none."""
        if not self._proposed.tracks:
            return None
        since = f"sync-{number - 1}" if number else ""
        return Marks(since=since, mark="" if last else f"sync-{number}")

    async def opened(self, act: Act, point: ExportPoint, marks: Marks | None) -> Exported:
        """Open the VM, stopped when ``point`` says so."""
        request, site = self._leg.request, await self._leg.source()
        export, statement = await site.export(
            act,
            request.source,
            self._proposed.vm.id,
            point=point,
            stop=StopRule(shutdown_s=request.shutdown_s, power_off=request.power_off),
            marks=marks,
        )
        return Exported(export=export, statement=statement)

    async def _sync(self, number: int) -> None:
        name, marks = f"sync-{number}", self.marks(number)

        async def opening(act: Act) -> Exported:
            return await self.opened(act, ExportPoint.SNAPSHOT, marks)

        how = How(phase="" if number else "image_creation", retry=LASTING, cancellable=True)
        opened = await self._leg.timed(f"{name}-open", opening, Exported, how)
        if not number:
            self.first = opened
            await self._leg.hooks("image_creation", after=True, vm=self._proposed.vm)
            await self._make_room(opened.value.export)
        await self.copied(name, DELTA if number else "first", opening, opened)
        if self._leg.request.warm.verify is not Verify.STREAM:
            await self._read_back(f"{name}-back")

    async def _read_back(self, step: str) -> None:
        """Read what arrived as it lies at the target, so that little is left for when the guest is off.

        Of volumes that cannot be told from one another nothing is remembered: they are read in the end.
        """
        leg, attempts = self._leg, count()
        known = tuple(pair.target for pair in self._pairs if pair.target.ref.identity)
        names = {one.name for one in known}
        moved = tuple(one for one in self.passes[-1] if one.artifact in names)
        if not moved:
            return

        async def read_back(act: Act) -> bool:
            targets = known if next(attempts) == 0 else await self._rooms.again()
            await (await leg.target()).read_back(act, leg.request.target, targets, moved)
            return True

        await leg.timed(step, read_back, bool, How(retry=LASTING, cancellable=True))

    async def _make_room(self, export: Export) -> None:
        disks = own_disks(export)
        rooms = rooms_for(export, self._proposed.mapping)
        self._rooms = Rooms(self._leg, "prepare-import", tuple(one for one in rooms if one.role is Role.DISK))
        await self._leg.hooks("image_upload", after=False, vm=export.vm)
        self.room = await self._rooms.make(How(phase="image_upload", retry=PATIENT, ends=False))
        self._pairs = tuple(Pair(*two) for two in zip(disks, self.room.value.artifacts, strict=True))

    async def _check_same(self, name: str, export: Export) -> None:
        """Raise RolledBack when it is another VM than was judged; tell of snapshots that were taken."""
        check_same_vm(self._proposed.vm, export.vm)
        found = snapshot_findings(self._proposed.vm, export.vm)
        fresh = tuple(one for one in found if one not in self.findings)
        if fresh:
            await self._tell_findings(f"snapshots-{name}", fresh)

    async def _ordered(self, timeout_s: float, asking: int) -> bool:
        return await self._leg.context.decision(CUTOVER, timeout_s, asking=asking) is not None

    def _outlook(self, *, ordered: bool) -> Outlook:
        request = self._leg.request
        return outlook(
            self.syncs,
            request.warm,
            self._proposed.estimate.outage_s,
            ordered=ordered,
            forced=STUCK in request.accept,
        )

    async def _tell(self, number: int, look: Outlook) -> None:
        sync = self.syncs[-1]
        text = f"Sync {number}: {size_text(sync.read)} in {seconds_text(sync.seconds)}."
        if sync.owed:
            text += f" {size_text(sync.owed)} change all the time, and are left to the cutover."
        if look.outage_s is not None:
            text += f" A cutover now would take about {seconds_text(look.outage_s)}."
        if look.next is Next.WAIT:
            text += f" Order it with: crossport run cutover {self._leg.context.run}"
        await self._leg.tell(f"sync-{number}", text)
        if look.stuck and not any(one.code == STUCK for one in self.findings):
            await self._tell_stuck(look)

    async def _tell_stuck(self, look: Outlook) -> None:
        rules, run = self._leg.request.warm, self._leg.context.run
        changes, copies = rate_text(changes_bps(self.syncs)), rate_text(copies_bps(self.syncs))
        finding = Finding(
            STUCK,
            Severity.DECISION,
            f"vm {self._proposed.vm.name}",
            f"The guest changes {changes} of its disks, and {copies} are copied: a cutover takes about "
            f"{seconds_text(look.outage_s or 0.0)}, and --max-outage allows "
            f"{seconds_text(rules.max_outage_s)}. What changes is copied every "
            f"{seconds_text(rules.interval_s)}.",
            f"Accept that outage with: crossport run cutover {run}. Or let the guest write less: when the "
            f"rest fits, it goes over by itself. Give up with: crossport run cancel {run}",
        )
        await self._tell_findings("tell-stuck", (finding,))

    async def _tell_findings(self, step: str, findings: tuple[Finding, ...]) -> None:
        """Tell each once, and keep them for the report."""
        self.findings = (*self.findings, *findings)

        async def tell(act: Act) -> bool:
            del act
            for one in findings:
                await self._leg.context.emit(Event(kind=EventKind.FINDING, text=one.text, finding=one))
            return True

        await self._leg.timed(step, tell, bool)


def own_disks(export: Export) -> tuple[Artifact, ...]:
    """Return the disks of an export, without firmware and TPM state."""
    return tuple(one for one in export.artifacts if one.role is Role.DISK)


def _sync(what: str, moved: tuple[Moved, ...], first: Timed[Exported], last: Timed[Moved]) -> Sync:
    return Sync(
        what=what,
        started=first.began.wall,
        seconds=between(first.began, last.ended),
        read=sum(one.counters.read for one in moved),
        sent=sum(one.counters.sent for one in moved),
        owed=sum(part.size for one in moved for part in one.heat if part.owed),
        consistency=first.value.export.consistency,
    )
