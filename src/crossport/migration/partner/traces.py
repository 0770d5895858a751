"""What a partner had a part in, for the case that its keys were in other hands: its runs and ours, and heads.

Each is a `crossport.spi.trust.Trace`. When something was is told by this site's own clock and log, never by
what the partner said of it.
"""

from crossport.engine import Engine
from crossport.engine.runs import RunFilter
from crossport.migration.heads import KeptHeads
from crossport.migration.partner.foreign import Foreign, ForeignRun
from crossport.migration.plans import MIGRATE
from crossport.model import codec
from crossport.model.audit import AuditRecord
from crossport.model.name import parted
from crossport.model.partner import Touched
from crossport.model.run import RunRecord
from crossport.spi.audit import AuditBook

__all__ = ["Traces"]


class Traces:
    """Looks them up. ``foreign`` are the runs of partners, ``engine`` has the site's own."""

    def __init__(self, foreign: Foreign, engine: Engine, heads: KeptHeads) -> None:
        self._foreign = foreign
        self._engine = engine
        self._heads = heads

    async def served(self, partner: str, since: float) -> tuple[Touched, ...]:
        """Return the partner's runs that began or made a call here since then."""
        found: list[Touched] = []
        for run in await self._foreign.runs(partner):
            times = (run.begun, *await _calls(self._engine.audit, run.id))
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


async def _calls(book: AuditBook, run: str) -> tuple[float, ...]:
    """Return when something was noted in the audit log for a run."""
    times: list[float] = []
    after = -1
    while page := await book.records(run=run, after=after):
        records = [codec.decoded(one.text, AuditRecord) for one in page]
        times += [one.time for one in records]
        after = records[-1].number
    return tuple(times)
