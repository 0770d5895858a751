"""What a partner had a part in, for the case that its keys were in other hands: runs, what it signed, heads.

Each is a `crossport.spi.trust.Trace`. When something was is told by this site's own clock and log, never by
what the partner said of it.
"""

from crossport.engine import Engine
from crossport.engine.runs import RunFilter
from crossport.migration.end import Ends
from crossport.migration.heads import KeptHeads
from crossport.migration.partner.foreign import Foreign, ForeignRun
from crossport.migration.partner.notary import Evidence, Notary
from crossport.migration.plans import MIGRATE
from crossport.model import codec
from crossport.model.audit import AuditRecord
from crossport.model.name import parted
from crossport.model.partner import Touched
from crossport.model.run import RunRecord
from crossport.spi.audit import AuditBook

__all__ = ["Traces"]

ADMIT = "site.admit"


class Traces:
    """Looks them up. ``foreign`` are the runs of partners, ``engine`` has the site's own."""

    def __init__(self, foreign: Foreign, notary: Notary, engine: Engine, heads: KeptHeads) -> None:
        self._foreign = foreign
        self._notary = notary
        self._engine = engine
        self._heads = heads

    async def served(self, partner: str, since: float) -> tuple[Touched, ...]:
        """Return the partner's runs that began or made a call here since then."""
        found: list[Touched] = []
        for run in await self._foreign.runs(partner):
            times = (run.begun, *[one.time for one in await _calls(self._engine.audit, run.id)])
            if late := [time for time in times if time >= since]:
                found.append(Touched(kind="run", id=run.id, at=min(late), about=_words(run)))
        return tuple(found)

    async def own(self, partner: str, since: float) -> tuple[Touched, ...]:
        """Return this site's runs that had an end at the partner and were not over by then."""
        found: list[Touched] = []
        cursor = ""
        while True:
            page = await self._engine.runs.list(RunFilter(kind=MIGRATE), cursor=cursor)
            found += [
                Touched(kind="run", id=run.id, at=max(run.created, since), about=_own_words(run))
                for run in page.runs
                if partner in {parted(cloud)[1] for cloud in _ends(run)}
                and (not run.ended or run.ended >= since)
            ]
            cursor = page.cursor
            if not cursor:
                return tuple(found)

    async def statements(self, partner: str, since: float) -> tuple[Touched, ...]:
        """Return what the partner signed for runs of both sides since then."""
        return tuple(
            Touched(kind="statement", id=f"{run}/{one.statement.kind}", at=at, about=_stated(one))
            for run, one in await self._notary.stated_by(partner)
            if (at := one.kept or one.statement.made) >= since
        )

    async def seals(self, partner: str, since: float) -> tuple[Touched, ...]:
        """Return the images that the partner sealed and this site admitted since then."""
        found: list[Touched] = []
        for run, image in await Ends(self._engine.documents).sealed_by(partner):
            calls = await _calls(self._engine.audit, run)
            at = max((one.time for one in calls if one.action == ADMIT), default=image.admission.made)
            if at >= since:
                about = f"sealed with key {image.admission.key[:16]}, admitted in run {run}"
                found.append(Touched(kind="seal", id=image.envelope, at=at, about=about))
        return tuple(found)

    async def heads(self, partner: str, since: float) -> tuple[Touched, ...]:
        """Return the heads of the partner's audit log that this site countersigned since then."""
        return tuple(
            Touched(
                kind="head",
                id=f"{partner}/{seen.head.size}",
                at=seen.time,
                about=f"of its audit log, countersigned by {seen.witness}",
            )
            for seen in await self._heads.witnessed(partner)
            if seen.time >= since
        )


def _ends(run: RunRecord) -> tuple[str, str]:
    return run.labels.get("source", ""), run.labels.get("target", "")


def _own_words(run: RunRecord) -> str:
    source, target = _ends(run)
    return f"{run.subject} from {source} to {target}"


def _words(run: ForeignRun) -> str:
    return f"its run {run.run}, by tenant {run.theirs} as {run.tenant}, at {run.cloud}"


def _stated(one: Evidence) -> str:
    said = one.statement
    return f"of VM {said.vm or '(none)'}, epoch {said.epoch}, signed with key {one.signed.key[:16]}"


async def _calls(book: AuditBook, run: str) -> tuple[AuditRecord, ...]:
    """Return what was noted in the audit log for a run."""
    found: list[AuditRecord] = []
    after = -1
    while page := await book.records(run=run, after=after):
        records = [codec.decoded(one.text, AuditRecord) for one in page]
        found += records
        after = records[-1].number
    return tuple(found)
