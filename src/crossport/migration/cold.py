"""Move one VM while it is off: cold, or suspended with its memory, or an isolated copy as a test.

    describe both ends → map → find what stands in the way → reserve
      → export (stop, fence, open)         image_creation
      → copy every artifact, verified      image_download and image_upload, one stream
      → seal, admit                        security_setup
      → verify at rest, and meanwhile look into the guest, if asked
      → start in quarantine                instantiation
      → health check → commit              network_setup

Before the commit every failure, and every wish to cancel, ends with the source as it was. Nothing happens
to the world but in a step, so that a crash anywhere repeats at most the step in flight.
"""

from dataclasses import replace

from crossport import errors
from crossport.migration.copying import Copying, Pair, Rooms
from crossport.migration.finding import standing
from crossport.migration.judge import judged
from crossport.migration.leg import PATIENT, How, Leg
from crossport.migration.outcome import attention, blocked, ended
from crossport.migration.parts import Parts
from crossport.migration.step import Exported, Moment, Proposed, Room, Timed, between
from crossport.migration.surveying import Beside
from crossport.migration.target_vm import landed, rooms_for, target_vm
from crossport.migration.way_back import bring_back, clean_up, end_reading
from crossport.migration.way_on import open_up, permitted
from crossport.model.artifact import Artifact, ExportPoint, Moved, Role
from crossport.model.finding import Finding, Severity
from crossport.model.health import Health
from crossport.model.inspection import Inspected
from crossport.model.run import (
    Act,
    CommitRule,
    Event,
    EventKind,
    MigrationReport,
    MigrationRequest,
    Phase,
    RunState,
)
from crossport.model.sealing import Admission, SealedImage
from crossport.model.vm import VM, PowerState
from crossport.spi.cloud import NewVM
from crossport.spi.run import RunContext
from crossport.spi.site import Description, StopRule

__all__ = ["AT_REST", "STREAM_ONLY", "ColdMigration", "told"]

AT_REST, STREAM_ONLY = "at rest", "stream only"


class ColdMigration:
    """One execution of one migration."""

    def __init__(self, context: RunContext, request: MigrationRequest, parts: Parts) -> None:
        self._context = context
        self._request = request
        self._parts = parts
        self._leg = Leg(context, request, parts)
        self._report = MigrationReport(run=context.run, request=request, outcome=RunState.RUNNING)
        self._committed = False
        self._stopped: Moment | None = None
        self._security: Moment | None = None

    async def run(self) -> MigrationReport:
        """Migrate; return what happened, whether it was committed, rolled back or cancelled.

        Raise Blocked when findings stand in the way and nothing was touched, NeedsAttention when neither
        way could be finished.
        """
        first, proposed = await self._propose()
        try:
            last = await self._move(proposed)
        except errors.Error as error:
            last = await self._undo(proposed, error)
        self._set(total_seconds=between(first.began, last.ended))
        return self._report

    def _set(self, **changes: object) -> None:
        self._report = replace(self._report, **changes)

    def _phase(self, *phases: Phase) -> None:
        self._set(phases=(*self._report.phases, *phases))

    # Before anything is touched.
    async def _propose(self) -> tuple[Timed[Description], Proposed]:
        request, leg = self._request, self._leg

        async def describe_source(act: Act) -> Description:
            del act
            return await (await leg.source()).describe(request.source, request.vm)

        async def describe_target(act: Act) -> Description:
            del act
            return await (await leg.target()).describe(request.target)

        first = await leg.timed(
            "describe-source",
            describe_source,
            Description,
            How(phase="source_authentication", retry=PATIENT, cancellable=True),
        )
        second = await leg.timed(
            "describe-target",
            describe_target,
            Description,
            How(phase="target_authentication", retry=PATIENT, cancellable=True),
        )
        self._phase(first.phase("source_authentication"))

        async def judge(act: Act) -> Proposed:
            del act
            found = await judged(request, first.value, second.value, self._parts)
            for finding in found.findings:
                await self._context.emit(Event(kind=EventKind.FINDING, text=finding.text, finding=finding))
            return found

        proposed = (await leg.timed("propose", judge, Proposed)).value
        self._set(
            findings=proposed.findings,
            mapping=proposed.mapping,
            estimate=proposed.estimate,
            source_id=proposed.vm.id,
        )
        stop = standing(proposed.findings, request.accept)
        if stop:
            raise blocked(stop)
        self._target_authentication = second.phase("target_authentication")
        return first, proposed

    # The move.
    async def _move(self, proposed: Proposed) -> Timed[bool]:
        request = self._request
        await self._reserve(proposed.vm)
        exported, moved = await self._bring(proposed)
        await self._certify(exported, moved)
        artifacts = await self._verify(moved)
        vm = await self._instantiate(proposed, exported, artifacts)
        self._set(consistency=exported.export.consistency)
        await self._check(vm)
        if request.test:
            return await self._finish_test(proposed.vm)
        if request.commit is CommitRule.MANUAL:
            await self._ask()
        return await self._commit(proposed.vm, vm)

    async def _reserve(self, vm: VM) -> None:
        async def reserve(act: Act) -> bool:
            source, target = await self._leg.source(), await self._leg.target()
            await source.reserve(act, self._request.source, vm=vm.id)
            if target.name != source.name:  # before the outage: it has to start who verifies and signs there
                await target.reserve(act, self._request.target)
            return True

        await self._leg.timed("reserve", reserve, bool, How(retry=PATIENT))

    async def _bring(self, proposed: Proposed) -> tuple[Exported, tuple[Moved, ...]]:
        """Bring everything to the target; return the source as it is then, and what arrived, in its order."""
        exported = (await self._export(proposed)).value
        return exported, await self._copy(proposed, exported)

    async def _export(self, proposed: Proposed) -> Timed[Exported]:
        await self._leg.hooks("image_creation", after=False, vm=proposed.vm)
        found = await self._leg.timed(
            "export",
            lambda act: self._opened(act, proposed),
            Exported,
            How(phase="image_creation", retry=PATIENT),
        )
        self._phase(found.phase("image_creation"))
        if proposed.point is not ExportPoint.SNAPSHOT and proposed.vm.power is PowerState.RUNNING:
            self._stopped = found.began
        await self._leg.hooks("image_creation", after=True, vm=proposed.vm)
        return found

    async def _opened(self, act: Act, proposed: Proposed) -> Exported:
        """Stop the VM as needed and open it for reading; made again, open it again."""
        request, site = self._request, await self._leg.source()
        stop = StopRule(shutdown_s=request.shutdown_s, power_off=request.power_off)
        export, statement = await site.export(
            act, request.source, proposed.vm.id, point=proposed.point, stop=stop
        )
        return Exported(export=export, statement=statement)

    async def _copy(self, proposed: Proposed, exported: Exported) -> tuple[Moved, ...]:
        rooms = Rooms(self._leg, "prepare-import", rooms_for(exported.export, proposed.mapping))
        await self._leg.hooks("image_upload", after=False, vm=exported.export.vm)
        first = await rooms.make(How(phase="image_upload", retry=PATIENT, ends=False))
        copying = Copying(self._leg, lambda: self._artifacts_again(proposed), rooms.again)
        pairs = [Pair(*two) for two in zip(exported.export.artifacts, first.value.artifacts, strict=True)]
        looking = Beside(
            self._leg, proposed.survey, exported.export.artifacts, lambda: self._artifacts_again(proposed)
        )
        copies, surveyed = await looking.of(_copied(copying, pairs))
        self._uploaded(first, copies[-1])
        await self._leg.hooks("image_upload", after=True, vm=exported.export.vm)
        moved = tuple(one.value for one in copies)
        self._set(moved=told(moved), surveyed=surveyed)
        return moved

    async def _artifacts_again(self, proposed: Proposed) -> tuple[Artifact, ...]:
        return (await self._opened(self._context.act("export"), proposed)).export.artifacts

    def _uploaded(self, first: Timed[Room], last: Timed[Moved]) -> None:
        """Tell the phases of the copy, which are one stream."""
        upload = replace(first.phase("image_upload"), seconds=between(first.began, last.ended))
        self._phase(
            replace(upload, name="image_download", merged_into="image_upload"),
            self._target_authentication,
            upload,
        )

    async def _certify(self, exported: Exported, moved: tuple[Moved, ...]) -> None:
        """Have the source's site seal what was read, and the target's site admit it."""
        request, leg = self._request, self._leg

        async def seal(act: Act) -> SealedImage:
            importer = (await leg.target()).name
            source = await leg.source()
            return await source.seal(act, request.source, exported.export.vm, moved, importer)

        async def admit(act: Act) -> Admission:
            return await (await leg.target()).admit(act, request.target, image, moved)

        first = How(phase="security_setup", retry=PATIENT, ends=False)
        sealed = await leg.timed("seal", seal, SealedImage, first)
        image = sealed.value
        admitted = await leg.timed("admit", admit, Admission, How(retry=PATIENT))
        self._security = sealed.began
        self._set(sealed=admitted.value)

    async def _verify(self, moved: tuple[Moved, ...], *, at_rest: bool = True) -> tuple[Artifact, ...]:
        async def verify(act: Act) -> Room:
            site = await self._leg.target()
            return Room(artifacts=await site.verify(act, self._request.target, moved, at_rest=at_rest))

        found = await self._leg.timed(
            "verify",
            verify,
            Room,
            How(phase="security_setup", begins=False, ends=False, retry=PATIENT, cancellable=True),
        )
        looked = await self._look(moved)
        self._phase(replace(looked, began=self._security or found.began).phase("security_setup"))
        self._set(verified=AT_REST if at_rest else STREAM_ONLY, inspected=looked.value)
        return found.value.artifacts

    async def _look(self, moved: tuple[Moved, ...]) -> Timed[Inspected]:
        """Ask what the target's site found in the guest, which it looked into while it verified."""

        async def inspect(act: Act) -> Inspected:
            return await (await self._leg.target()).inspect(act, self._request.target, moved)

        how = How(phase="security_setup", begins=False, retry=PATIENT, cancellable=True)
        return await self._leg.timed("inspect", inspect, Inspected, how)

    async def _instantiate(
        self, proposed: Proposed, exported: Exported, artifacts: tuple[Artifact, ...]
    ) -> VM:
        request = self._request
        new = NewVM(
            # The fence has turned the source's autostart off.
            vm=target_vm(
                replace(exported.export.vm, autostart=proposed.vm.autostart and not request.test),
                proposed.mapping,
                request,
                self._context.run,
            ),
            artifacts=artifacts,
            isolated=request.test,
            resume=any(artifact.role is Role.MEMORY for artifact in artifacts),
        )

        async def instantiate(act: Act) -> VM:
            site = await self._leg.target()
            return await site.instantiate(act, request.target, new, stopped=exported.statement)

        await self._leg.hooks("instantiation", after=False, vm=proposed.vm)
        found = await self._leg.timed(
            "instantiate", instantiate, VM, How(phase="instantiation", retry=PATIENT)
        )
        self._phase(found.phase("instantiation"))
        self._set(vm_id=found.value.id, mapping=landed(proposed.mapping, exported.export.vm, found.value))
        await self._leg.hooks("instantiation", after=True, vm=proposed.vm)
        return found.value

    async def _check(self, vm: VM) -> None:
        async def check(act: Act) -> Health:
            del act
            return await self._health(vm)

        self._judge(
            (await self._leg.timed("check", check, Health, How(retry=PATIENT, cancellable=True))).value
        )

    async def _health(self, vm: VM) -> Health:
        site = await self._leg.target()
        return await site.check(self._request.target, vm.id, self._request.checks)

    def _judge(self, health: Health) -> None:
        """Keep how the guest is; raise RolledBack unless it is well."""
        self._set(health=health)
        if not health.good:
            bad = "; ".join(
                f"{one.probe.kind} {one.probe.port or one.probe.expect}: {one.text.rstrip('.')}"
                for one in health.results
                if not one.good
            )
            raise errors.RolledBack(
                "check.failed",
                f"The guest is not well at {self._request.target}: {bad or 'off, or it stands still'}.",
                remedy="Correct the check or the guest, then migrate again.",
            )

    async def _ask(self) -> None:
        await self._leg.tell("ask", "Waiting for commit or rollback.")
        answer = await self._context.decision("commit", self._request.commit_deadline_s)
        if answer != "commit":
            why = "A person asked for rollback." if answer else "Nobody committed before the deadline."
            raise errors.RolledBack(
                "commit.declined" if answer else "commit.deadline",
                why,
                remedy="Begin a new run when the VM may go over.",
            )
        await self._leg.tell("answered", "A person asked for commit.")

    async def _commit(self, source_vm: VM, vm: VM) -> Timed[bool]:
        await self._leg.hooks("network_setup", after=False, vm=source_vm)
        permit = await permitted(self._leg, source_vm.id, vm.id)
        self._committed = True
        self._context.protect()
        opened = await open_up(self._leg, vm.id, permit)
        self._phase(opened.phase("network_setup"))
        self._set(outage_s=between(self._stopped, opened.ended) if self._stopped else 0.0)
        self._set(left_behind=await clean_up(self._leg, keep_vm=True))
        await self._announce(source_vm)
        return await self._finish(RunState.DONE, "Committed. The source is off, fenced and kept.")

    async def _announce(self, vm: VM) -> None:
        """Run the hooks behind the commit; one that fails cannot undo it any more, and is told."""
        try:
            await self._leg.hooks("network_setup", after=True, vm=vm)
        except errors.Error as error:
            text = f"A hook behind the commit failed: {error.text}"
            told = Finding(error.code, Severity.WARNING, f"vm {vm.name}", text, error.remedy)
            self._set(findings=(*self._report.findings, told))

    async def _finish_test(self, vm: VM) -> Timed[bool]:
        self._context.protect()  # the copy is well: from here on it is finished, or test finish removes it
        await end_reading(self._leg)
        run = self._context.run
        text = f"The isolated copy of {vm.name} is well. Remove it with: crossport test finish {run}"
        return await self._finish(RunState.DONE, text)

    async def _finish(self, outcome: RunState, text: str) -> Timed[bool]:
        self._set(outcome=outcome, text=text)
        return await self._leg.tell("finish", text)

    # The way back.
    async def _undo(self, proposed: Proposed, error: errors.Error) -> Timed[bool]:
        if self._committed:
            raise attention(error, self._context.run, committed=True) from error
        self._context.protect()
        await self._leg.tell("undo", f"{error.text} The source is being brought back.")
        try:
            if not self._request.test:
                # A verified copy may be the last one: it is discarded only when the source shows its VM.
                released = await bring_back(self._leg, proposed.vm.id, sure=not self._report.verified)
                self._set(outage_s=between(self._stopped, released.ended) if self._stopped else 0.0)
            left = await clean_up(self._leg, keep_vm=False)
        except errors.Error as second:
            raise attention(second, self._context.run, committed=False) from second
        outcome, text = ended(error)
        self._set(vm_id="", code=error.code, left_behind=left)
        return await self._finish(outcome, text)


async def _copied(copying: Copying, pairs: list[Pair]) -> list[Timed[Moved]]:
    """Copy one artifact after the other, which together are a phase."""
    how = How(phase="image_upload", begins=False, ends=False, retry=PATIENT, cancellable=True)
    return [
        await copying.copy(f"copy-{pair.source.name}", pair, replace(how, ends=pair is pairs[-1]))
        for pair in pairs
    ]


def told(moved: tuple[Moved, ...]) -> tuple[Moved, ...]:
    """Return what moved as the report tells it: without the gateways' words, of which the seal is made."""
    return tuple(replace(one, claim=None, arrival=None) for one in moved)
