"""Predict time, outage and bytes of a migration from what earlier ones between the same clouds took.

The prediction is a straight line, bytes over rate plus a constant, because that is what the copy is: the
rate is the last measured one between the two clouds, the constant what everything but the copy took. The
first migration between two clouds has nothing to go by and says so.
"""

from crossport import errors
from crossport.model.record import record
from crossport.model.run import Estimate, MigrationReport, MigrationRequest, Mode, RunState
from crossport.model.vm import VM
from crossport.spi.document import Documents
from crossport.units import rate_text

__all__ = ["Experience", "HistoryEstimator", "learned", "predicted"]

FIRST_GUESS_BPS = 400e6
FIRST_GUESS_FIXED_S = 25.0
WEIGHT = 0.5  # of the newest migration against all that came before


@record()
class Experience:
    """What migrations between two clouds have shown: ``rate_bps`` of disk bytes, and seconds besides."""

    rate_bps: float
    fixed_s: float
    outage_fixed_s: float
    count: int


def predicted(vm: VM, request: MigrationRequest, known: Experience | None) -> Estimate:
    """Return the estimate for ``vm``: the source is off from the export to the opening of the network."""
    size = sum(disk.allocated or disk.size for disk in vm.disks if not disk.seed)
    size += vm.memory if request.mode is Mode.SUSPEND else 0
    used = known or Experience(
        rate_bps=FIRST_GUESS_BPS, fixed_s=FIRST_GUESS_FIXED_S, outage_fixed_s=FIRST_GUESS_FIXED_S, count=0
    )
    copying = size * 8 / used.rate_bps
    basis = (
        f"{known.count} earlier migrations between these clouds, {rate_text(known.rate_bps)}"
        if known
        else f"no earlier migration between these clouds; assumed {rate_text(FIRST_GUESS_BPS)}"
    )
    return Estimate(
        seconds=copying + used.fixed_s,
        outage_s=0.0 if request.test else copying + used.outage_fixed_s,
        size=size,
        basis=basis,
    )


def learned(known: Experience | None, report: MigrationReport) -> Experience | None:
    """Return what is known after ``report``; unchanged when it shows nothing."""
    copied = sum(moved.bytes_read for moved in report.moved)
    seconds = sum(moved.seconds for moved in report.moved)
    if report.outcome is not RunState.DONE or report.request.test or not copied or seconds <= 0:
        return known
    fresh = Experience(
        rate_bps=copied * 8 / seconds,
        fixed_s=max(0.0, report.total_seconds - seconds),
        outage_fixed_s=max(0.0, (report.outage_s or report.total_seconds) - seconds),
        count=1,
    )
    if known is None:
        return fresh
    return Experience(
        rate_bps=WEIGHT * fresh.rate_bps + (1 - WEIGHT) * known.rate_bps,
        fixed_s=WEIGHT * fresh.fixed_s + (1 - WEIGHT) * known.fixed_s,
        outage_fixed_s=WEIGHT * fresh.outage_fixed_s + (1 - WEIGHT) * known.outage_fixed_s,
        count=known.count + 1,
    )


class HistoryEstimator:
    """Estimates for one tenant from the experience that is kept in the site's documents."""

    def __init__(self, documents: Documents, tenant: str) -> None:
        self._documents = documents
        self._tenant = tenant

    async def estimate(self, vm: VM, request: MigrationRequest) -> Estimate:
        """Predict from what is known between the two clouds."""
        return predicted(vm, request, await self._known(request))

    async def learn(self, report: MigrationReport) -> None:
        """Keep what a finished migration has shown. The last writer wins; nothing depends on more."""
        after = learned(await self._known(report.request), report)
        if after is not None:
            await self._documents.put("experience", self._key(report.request), after)

    async def _known(self, request: MigrationRequest) -> Experience | None:
        try:
            return (await self._documents.fetch("experience", self._key(request), Experience)).value
        except errors.NotFound:
            return None

    def _key(self, request: MigrationRequest) -> str:
        return f"{self._tenant}/{request.source}/{request.target}"
