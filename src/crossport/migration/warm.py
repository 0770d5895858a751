"""Move one VM while it runs: it is off only for its last changes.

    describe both ends → map → find what stands in the way → reserve        as in cold
      → copy a moment of the running VM, then what changed, until the rest fits   (following)
      → shut down, fence, copy the last changes
      → seal, admit                                as in cold
      → verify at rest: what is there was read back after each copy, but for the last changes
      → start in quarantine → health check, and meanwhile read the stopped source whole and compare it,
        chunk by chunk, with what was read at the target → commit           as in cold

What the tracking of changes missed is found by the comparison, and brings the source back; or it is compared
before the start, and what was missed is copied and told. Where nothing is tracked the last copy reads the
source whole, and is the comparison. The way back is that of a cold migration; before the cutover the source
was not touched at all.
"""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeAlias

from crossport.migration.cold import AT_REST, STREAM_ONLY, ColdMigration, told
from crossport.migration.comparison import Comparison, differs
from crossport.migration.copying import Copying, Pair, Rooms
from crossport.migration.following import Following, own_disks
from crossport.migration.leg import PATIENT, How
from crossport.migration.parts import Parts
from crossport.migration.step import Exported, Proposed, Timed, between
from crossport.migration.surveying import Beside
from crossport.migration.target_vm import rooms_for
from crossport.model.artifact import Artifact, Consistency, Counters, ExportPoint, Moved, Role
from crossport.model.finding import Finding, Severity
from crossport.model.run import Act, Event, EventKind, MigrationRequest, Mode, Sync, Verify
from crossport.model.vm import VM
from crossport.spi.run import RunContext
from crossport.spi.site import Compared
from crossport.units import size_text

__all__ = ["WarmMigration", "migration_of"]

Pass: TypeAlias = tuple[Timed[Exported], Timed[Moved]]
QUICKLY = How(phase="image_upload", begins=False, ends=False, retry=PATIENT, cancellable=True)
"""The guest is off meanwhile: what fails for a minute brings it back."""


def migration_of(context: RunContext, request: MigrationRequest, parts: Parts) -> ColdMigration:
    """Return the migration that moves a VM in the mode of ``request``."""
    kind = WarmMigration if request.mode is Mode.WARM else ColdMigration
    return kind(context, request, parts)


class WarmMigration(ColdMigration):
    """One execution of one warm migration."""

    _comparison: Comparison | None = None

    async def _bring(self, proposed: Proposed) -> tuple[Exported, tuple[Moved, ...]]:
        following = Following(self._leg, proposed)
        await self._leg.hooks("image_creation", after=False, vm=proposed.vm)
        try:
            await following.follow()
            self._phase(following.first.phase("image_creation"))
            opened, last = await self._cut_over(proposed, following)
            missed = self._missed(proposed, following)
        finally:
            findings = (*self._report.findings, *following.findings)
            self._set(syncs=following.syncs, findings=findings)
        await self._tell_missed(missed)
        states, ended = await self._states(proposed, opened.value, last)
        self._uploaded(following.room, ended)
        await self._leg.hooks("image_upload", after=True, vm=opened.value.export.vm)
        moved = (*following.passes[-1], *states)
        self._set(moved=told((*_summed(following.passes), *states)))
        if self._compares_beside(proposed):
            self._comparison = self._comparison_of(following, opened.value)
        return opened.value, moved

    async def _cut_over(self, proposed: Proposed, following: Following) -> Pass:
        """Shut the source down and copy its last changes, then compare; a test compares with one moment."""
        point = ExportPoint.SNAPSHOT if self._request.test else ExportPoint.STOPPED
        marks = following.marks(len(following.passes), last=True)

        async def stop(act: Act) -> Exported:
            return await following.opened(act, point, marks)

        async def whole(act: Act) -> Exported:
            return await following.opened(act, point, None)

        if not self._request.test:
            opened = await self._leg.timed("cutover-open", stop, Exported, How(retry=PATIENT))
            self._stopped = opened.began
            last = await self._looked(
                proposed, opened, stop, following.copied("cutover", "last", stop, opened, QUICKLY)
            )
            if not self._repairs(proposed):
                return opened, last
        opened = await self._leg.timed("compare-open", whole, Exported, How(retry=PATIENT))
        copy = following.copied("compare", "comparison", whole, opened, QUICKLY)
        return opened, await (self._looked(proposed, opened, whole, copy) if self._request.test else copy)

    async def _looked(
        self,
        proposed: Proposed,
        opened: Timed[Exported],
        opening: Callable[[Act], Awaitable[Exported]],
        copy: Coroutine[Any, Any, Timed[Moved]],
    ) -> Timed[Moved]:
        """Look into the guest beside its last copy, whose disks ``opening`` opens once more."""

        async def again() -> tuple[Artifact, ...]:
            return (await opening(self._context.act("survey"))).export.artifacts

        looking = Beside(self._leg, proposed.survey, opened.value.export.artifacts, again)
        last, surveyed = await looking.of(copy)
        self._set(surveyed=surveyed)
        return last

    def _missed(self, proposed: Proposed, following: Following) -> tuple[Finding, ...]:
        """Return what the comparison found and repaired, where a copy is gone on with and not made anew."""
        later = following.passes[1:]
        goes_on = any(one.counters.present or one.counters.unchanged for moved in later for one in moved)
        if self._request.test or not self._repairs(proposed) or not goes_on:
            return ()
        return tuple(
            Finding(
                "warm.changes.missed",
                Severity.WARNING,
                f"disk {one.artifact}",
                f"{size_text(one.counters.written)} of {one.artifact} had changed, and were not told as "
                "changed. The comparison found them, and they were copied.",
                "The copy is right. Do not use --verify stream with this cloud until that is repaired.",
            )
            for one in later[-1]
            if one.counters.written
        )

    async def _tell_missed(self, missed: tuple[Finding, ...]) -> None:
        async def tell(act: Act) -> bool:
            del act
            for finding in missed:
                await self._context.emit(Event(kind=EventKind.FINDING, text=finding.text, finding=finding))
            return True

        if missed:
            await self._leg.timed("tell-missed", tell, bool)
            self._set(findings=(*self._report.findings, *missed))

    def _repairs(self, proposed: Proposed) -> bool:
        """Say whether the source is compared before the copy starts."""
        return proposed.tracks and self._request.warm.verify is Verify.REPAIR

    def _compares_beside(self, proposed: Proposed) -> bool:
        return proposed.tracks and not self._request.test and self._request.warm.verify is Verify.REST

    def _comparison_of(self, following: Following, opened: Exported) -> Comparison:
        marks = following.marks(len(following.passes), last=True)

        async def again() -> tuple[Artifact, ...]:
            act = self._context.act("cutover-open")
            return own_disks((await following.opened(act, ExportPoint.STOPPED, marks)).export)

        return Comparison(self._leg, own_disks(opened.export), again, following.passes[-1])

    async def _verify(self, moved: tuple[Moved, ...], *, at_rest: bool = True) -> tuple[Artifact, ...]:
        reads = self._request.test or self._request.warm.verify is not Verify.STREAM
        artifacts = await super()._verify(moved, at_rest=at_rest and reads)
        if self._comparison is not None:
            self._set(verified=STREAM_ONLY)
        return artifacts

    async def _check(self, vm: VM) -> None:
        comparison = self._comparison
        if comparison is None:
            await super()._check(vm)
            return
        health, compared = await comparison.beside(lambda: self._health(vm))
        found = compared.value
        if found.whole:
            self._set(syncs=(*self._report.syncs, _compared(compared)))
        if found.differing:
            raise differs(found, self._request.source)
        self._judge(health.value)
        self._set(verified=AT_REST)

    async def _states(
        self, proposed: Proposed, exported: Exported, last: Timed[Moved]
    ) -> tuple[tuple[Moved, ...], Timed[Moved]]:
        """Copy what is not a disk, which is small and of the end alone; return it, and the last copy."""
        export = exported.export
        wanted = tuple(one for one in export.artifacts if one.role is not Role.DISK)
        if not wanted:
            return (), last
        rooms = rooms_for(replace(export, artifacts=wanted), proposed.mapping)
        volumes = Rooms(self._leg, "prepare-state", rooms)
        made = await volumes.make(How(retry=PATIENT))

        async def sources() -> tuple[Artifact, ...]:
            act = self._context.act("compare-open")
            following = Following(self._leg, proposed)
            return (await following.opened(act, export.point, None)).export.artifacts

        copying = Copying(self._leg, sources, volumes.again)
        copies = [
            await copying.copy(f"copy-{source.name}", Pair(source, target), QUICKLY)
            for source, target in zip(wanted, made.value.artifacts, strict=True)
        ]
        return tuple(one.value for one in copies), copies[-1]


def _compared(timed: Timed[Compared]) -> Sync:
    """Return the comparison as the report lists it."""
    return Sync(
        what="comparison",
        started=timed.began.wall,
        seconds=between(timed.began, timed.ended),
        read=timed.value.read,
        sent=0,
        consistency=Consistency.OFF,
    )


def _summed(passes: list[tuple[Moved, ...]]) -> tuple[Moved, ...]:
    """Return what each disk's passes moved together; the last one tells what it is now."""
    return tuple(
        replace(
            disk[-1],
            counters=sum((one.counters for one in disk), Counters()),
            seconds=sum(one.seconds for one in disk),
        )
        for disk in zip(*passes, strict=True)
    )
