"""Look into the guest at its source, beside its copy: decided beforehand, and no reason to wait for long.

Where the seal has to tell of the guest, because either end's operator wants it to, the run waits for the look
to end. Where it only may, the look has until the copy is done, and a short while more.
"""

import asyncio
from collections.abc import Coroutine
from itertools import count
from typing import Any, TypeVar

from crossport import errors
from crossport.certify.policy import checks_required
from crossport.migration.comparison import unless
from crossport.migration.copying import Open
from crossport.migration.leg import PATIENT, How, Leg
from crossport.migration.step import SurveyRule
from crossport.model.artifact import Artifact
from crossport.model.finding import Finding, Severity
from crossport.model.import_policy import ImportPolicy, OwnCheck
from crossport.model.inspection import LookMode, Surveyed
from crossport.model.run import Act, Event, EventKind, MigrationRequest, Mode
from crossport.model.vm import VM
from crossport.spi.site import Description

__all__ = ["LONGER_S", "Beside", "memory_findings", "survey_findings", "survey_rule"]

T = TypeVar("T")
LONGER_S = 20.0
"""How long the copy, once it is done, is held up by a look that nobody has to have."""
BESIDE = How(retry=PATIENT, cancellable=True)


def survey_rule(
    request: MigrationRequest, source: Description, policy: ImportPolicy | None, site: str
) -> SurveyRule:
    """Return whether the source's site looks into the guest, and whether the run waits for it.

    ``policy`` is the target's, which judges what ``site`` seals. The disks of a guest that runs are not
    looked into: what a seal tells is what it seals, and they go on changing until the last copy. So the look
    of a warm migration is a part of the outage, and made only where somebody has to have it.
    """
    if source.look is LookMode.NEVER or OwnCheck.PACKAGES not in source.checks:
        return SurveyRule()
    wanted = policy is not None and (policy.sbom_required or bool(_asked(policy, site)))
    required = wanted or source.look is LookMode.REQUIRED
    if request.mode is Mode.WARM and not required and not request.test:
        return SurveyRule()
    return SurveyRule(made=True, required=required, checks=source.checks)


def _asked(policy: ImportPolicy, site: str) -> set[str]:
    return set(checks_required(policy, site)) & {check.value for check in OwnCheck}


def survey_findings(request: MigrationRequest, source: Description, rule: SurveyRule) -> tuple[Finding, ...]:
    """Return what is known beforehand of what the seal will tell of the guest."""
    if source.look is LookMode.NEVER:
        return ()
    cloud = f"cloud {request.source}"
    if OwnCheck.PACKAGES not in source.checks:
        text = "No guest leaves here whose packages its site has not read, and it cannot look into guests."
        remedy = "Let its operator make the appliance (crossport inspector build), or set look to auto."
        required = source.look is LookMode.REQUIRED
        return (Finding("source.look.unable", Severity.BLOCKER, cloud, text, remedy),) if required else ()
    if not rule.made:
        text = "The seal will not tell which packages the guest holds: the look would make the outage longer."
        return (Finding("source.look.omitted", Severity.INFO, cloud, text, ""),)
    told = f"The source's site looks into the guest. The seal tells what it found: {', '.join(rule.checks)}."
    stopped = request.mode is Mode.WARM and not request.test
    longer = " The guest is off meanwhile, some ten seconds or more." if stopped else ""
    return (Finding("source.look.planned", Severity.INFO, cloud, told + longer, ""),)


def memory_findings(vm: VM, rule: SurveyRule, policy: ImportPolicy | None) -> tuple[Finding, ...]:
    """Return what nobody looks into of a suspended guest, whose memory moves with it.

    What runs in it need not lie in any of its files. So a site that lets no guest in which was not scanned
    lets none in that goes on where it stopped.
    """
    if policy is not None and OwnCheck.MALWARE in policy.own_checks:
        return (
            Finding(
                "vm.memory.unscanned",
                Severity.BLOCKER,
                f"vm {vm.name}",
                f"{policy.site} lets no guest in that is not checked for malware, and nobody can scan the "
                "memory of a suspended one.",
                "Use --mode cold or --mode warm: then the guest begins anew from disks that are scanned.",
            ),
        )
    if not rule.made and not (policy and policy.own_checks):
        return ()
    return (
        Finding(
            "vm.memory.unscanned",
            Severity.WARNING,
            f"vm {vm.name}",
            "What is found in the guest is found on its disks: nobody looks into its memory, which moves.",
            "Use --mode cold or --mode warm where that matters.",
        ),
    )


class Beside:
    """The look of one execution. ``artifacts`` are open at the source, ``again`` opens them once more."""

    def __init__(self, leg: Leg, rule: SurveyRule, artifacts: tuple[Artifact, ...], again: Open) -> None:
        self._leg = leg
        self._rule = rule
        self._artifacts = artifacts
        self._again = again

    async def of(self, copy: Coroutine[Any, Any, T]) -> tuple[T, Surveyed | None]:
        """Look while ``copy`` goes on; return what both left behind, and None where nothing is looked at.

        Raise what the copy raises, and first of all that; what the look raises only where somebody has to
        have it.
        """
        if not self._rule.made:
            return await copy, None
        over = asyncio.Event()
        look = asyncio.ensure_future(self._looked(over))  # first: steps are kept in the order they begin in
        work = asyncio.ensure_future(copy)
        try:
            await asyncio.wait({work})
            done = not work.cancelled() and work.exception() is None
            if done and not self._rule.required:
                await self._wait(look)
            if not done or not self._rule.required:
                over.set()
            await asyncio.wait({look})
            return work.result(), look.result()
        finally:
            for task in (work, look):
                task.cancel()
            await asyncio.gather(work, look, return_exceptions=True)

    async def _wait(self, look: asyncio.Future[Surveyed]) -> None:
        """Give the look a short while."""
        pause = asyncio.ensure_future(self._leg.parts.clock.sleep(LONGER_S))
        try:
            await asyncio.wait({look, pause}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            await asyncio.gather(pause, return_exceptions=True)

    async def _looked(self, over: asyncio.Event) -> Surveyed:
        try:
            return await self._step(over)
        except errors.Cancelled:
            raise
        except errors.Error as error:
            if self._rule.required:
                raise
            return Surveyed(why=error.text)

    async def _step(self, over: asyncio.Event) -> Surveyed:
        leg, attempts = self._leg, count()

        async def survey(act: Act) -> Surveyed:
            artifacts = self._artifacts if next(attempts) == 0 else await self._again()
            site = await leg.source()
            found = await unless(over, site.survey(act, leg.request.source, artifacts))
            told = found or Surveyed(why=f"it had not ended {LONGER_S:.0f} s behind the copy")
            await leg.context.emit(Event(kind=EventKind.LOG, text=f"Guest at the source: {told.words()}"))
            return told

        return (await leg.timed("survey", survey, Surveyed, BESIDE)).value
