"""Predict time, outage and bytes of a migration.

    copy     the disks' bytes over the slower of the link, measured now, and the two ends' own pace
    verify   the same bytes, read once more at rest
    besides  what earlier migrations between the two clouds took for everything else

Of a warm migration the copy is no outage, nor is reading it back. The stopped source is read whole to compare
it, while the copy starts or before that.

The pace of the ends, how far disks shrink on the wire, and the rest are learned from each finished migration;
before the first one they are assumed. An estimate says in words which of all this it rests on.
"""

from crossport import errors
from crossport.migration.link import Links
from crossport.migration.passage import Passage
from crossport.model.artifact import Rate
from crossport.model.record import record
from crossport.model.run import Estimate, MigrationReport, MigrationRequest, Mode, RunState, Verify
from crossport.model.vm import VM
from crossport.spi.document import Documents
from crossport.units import rate_text

__all__ = ["Experience", "HistoryEstimator", "learned", "predicted"]

FIRST_LINK_BPS = 400e6
FIRST_ENDS_BPS = 1.2e9
FIRST_VERIFY_BPS = 2e9
FIRST_FIXED_S = 15.0  # 10 to 17 s for small guests under software emulation
WEIGHT = 0.5  # of the newest migration against all that came before
LINK_BOUND = 0.8  # of the measured rate: a copy that reached so much was held up by the link, not by its ends
KIND = "experience"
VERSION = 2


@record()
class Experience:
    """What migrations between two clouds have shown. Rates count bytes of disks that hold data.

    ``ends_bps`` is what reading, packing and writing allow when the link is fast enough, ``packed`` the bytes
    on the wire for one of the disk.
    """

    ends_bps: float = FIRST_ENDS_BPS
    verify_bps: float = FIRST_VERIFY_BPS
    packed: float = 1.0
    fixed_s: float = FIRST_FIXED_S
    outage_fixed_s: float = FIRST_FIXED_S
    count: int = 0


def predicted(
    vm: VM, request: MigrationRequest, known: Experience | None, passage: Passage | None = None
) -> Estimate:
    """Return the estimate for ``vm``: the source is off from the export to the opening of the network."""
    own = [disk for disk in vm.disks if not disk.seed]
    size = sum(disk.size if disk.allocated is None else disk.allocated for disk in own)
    size += vm.memory if request.mode is Mode.SUSPEND else 0
    passage = passage or Passage()
    used = known or Experience()
    copy_s, read_s = size * 8 / _pace(known, passage.rate), size * 8 / used.verify_bps
    basis = _basis(known, passage)
    seconds, outage_s = copy_s + read_s + used.fixed_s, copy_s + read_s + used.outage_fixed_s
    if request.mode is Mode.WARM:
        verify = request.warm.verify
        outage_s = _warm_outage_s(verify, read_s, used.outage_fixed_s)
        back_s = 0.0 if verify is Verify.STREAM else read_s
        seconds = copy_s + back_s + outage_s - used.outage_fixed_s + used.fixed_s
        basis += "; what the guest changes meanwhile comes on top"
    return Estimate(
        seconds=seconds,
        outage_s=0.0 if request.test else outage_s,
        size=round(size * used.packed),
        basis=basis,
    )


def _warm_outage_s(verify: Verify, read_s: float, fixed_s: float) -> float:
    """Return how long the VM is off: ``fixed_s`` is what it takes to stop here and to start there."""
    if verify is Verify.STREAM:
        return fixed_s
    return fixed_s + read_s if verify is Verify.REPAIR else max(fixed_s, read_s)


def _pace(known: Experience | None, rate: Rate | None) -> float:
    """Return how many bits of the disk are copied in a second."""
    used = known or Experience()
    if rate is not None:
        return min(rate.bps / max(used.packed, 0.01), used.ends_bps)
    return known.ends_bps if known else FIRST_LINK_BPS


def _basis(known: Experience | None, passage: Passage) -> str:
    if known is None:
        assumed = "" if passage.rate else f"{rate_text(FIRST_LINK_BPS)} and "
        past = (
            f"no earlier migration between these clouds: {assumed}"
            f"{FIRST_FIXED_S:.0f} s besides the copy are assumed"
        )
    else:
        number = "1 earlier migration" if known.count == 1 else f"{known.count} earlier migrations"
        past = f"{number} between these clouds, whose disks allow {rate_text(known.ends_bps)}"
    return "; ".join(filter(None, (passage.words, past)))


def learned(known: Experience | None, report: MigrationReport, link: Rate | None = None) -> Experience | None:
    """Return what is known after ``report``; unchanged when it shows nothing. ``link`` is what held then."""
    if report.request.mode is Mode.WARM:
        return _learned_warm(known, report)
    copied = sum(moved.counters.read for moved in report.moved)
    seconds = sum(moved.seconds for moved in report.moved)
    if report.outcome is not RunState.DONE or report.request.test or not copied or seconds <= 0:
        return known
    sent = sum(moved.counters.sent for moved in report.moved)
    verifying = sum(phase.seconds for phase in report.phases if phase.name == "security_setup")
    besides = seconds + verifying
    ends_bps, before = copied * 8 / seconds, known.ends_bps if known else 0.0
    if link is not None and sent * 8 / seconds >= LINK_BOUND * link.bps:
        # The link was the limit: the ends can do that much at least, and what they did before.
        ends_bps = max(before, ends_bps)
    fresh = Experience(
        ends_bps=ends_bps,
        verify_bps=copied * 8 / verifying if verifying > 0 else FIRST_VERIFY_BPS,
        packed=sent / copied,
        fixed_s=max(0.0, report.total_seconds - besides),
        outage_fixed_s=max(0.0, (report.outage_s or report.total_seconds) - besides),
        count=1,
    )
    return fresh if known is None else _mixed(known, fresh)


def _learned_warm(known: Experience | None, report: MigrationReport) -> Experience | None:
    """Learn from the first sync, and from the outage without data; the rest depends on the guest."""
    first = report.syncs[0] if report.syncs else None
    if report.outcome is not RunState.DONE or report.request.test or first is None or not first.read:
        return known
    verifying = sum(phase.seconds for phase in report.phases if phase.name == "security_setup")
    last_s = sum(sync.seconds for sync in report.syncs if sync.what == "last")
    compared = next((sync for sync in report.syncs if sync.what == "comparison"), None)
    alone_s = compared.seconds if compared else 0.0
    if report.request.warm.verify is Verify.REST and report.health:
        alone_s = max(0.0, alone_s - report.health.seconds)  # the copy started meanwhile
    besides = max(0.0, (report.outage_s or 0.0) - last_s - alone_s - verifying)
    read_bps = compared.read * 8 / compared.seconds if compared and compared.seconds > 0 else 0.0
    fresh = Experience(
        ends_bps=first.read * 8 / first.seconds if first.seconds > 0 else FIRST_ENDS_BPS,
        verify_bps=read_bps or (known.verify_bps if known else FIRST_VERIFY_BPS),
        packed=first.sent / first.read,
        fixed_s=besides,
        outage_fixed_s=besides,
        count=1,
    )
    return fresh if known is None else _mixed(known, fresh)


def _mixed(known: Experience, fresh: Experience) -> Experience:
    def mean(name: str) -> float:
        return WEIGHT * getattr(fresh, name) + (1 - WEIGHT) * getattr(known, name)

    return Experience(
        ends_bps=mean("ends_bps"),
        verify_bps=mean("verify_bps"),
        packed=mean("packed"),
        fixed_s=mean("fixed_s"),
        outage_fixed_s=mean("outage_fixed_s"),
        count=known.count + 1,
    )


class HistoryEstimator:
    """Estimates for one tenant from its links and the experience that is kept in the site's documents."""

    def __init__(self, documents: Documents, tenant: str, links: Links | None = None) -> None:
        self._documents = documents
        self._tenant = tenant
        self._links = links

    async def estimate(self, vm: VM, request: MigrationRequest) -> Estimate:
        """Predict from what is known between the two clouds, and measured now where somebody can."""
        passage = Passage()
        if self._links is not None:
            passage = await self._links.passage(self._tenant, request.source, request.target)
        return predicted(vm, request, await self._known(request), passage)

    async def learn(self, report: MigrationReport) -> None:
        """Keep what a finished migration has shown. The last writer wins; nothing depends on more."""
        request = report.request
        link = self._links.latest(self._tenant, request.source, request.target) if self._links else None
        before = await self._known(request)
        after = learned(before, report, link)
        if after is not None and after != before:
            await self._documents.put(KIND, self._key(request), after)

    async def _known(self, request: MigrationRequest) -> Experience | None:
        try:
            return (await self._documents.fetch(KIND, self._key(request), Experience)).value
        except errors.NotFound:
            return None

    def _key(self, request: MigrationRequest) -> str:
        return f"{VERSION}/{self._tenant}/{request.source}/{request.target}"
