"""The audit log of a site, in the engine's database: many callers at once share one transaction.

Who is to wait for a disk waits together: while one group of records is being made durable, the next
gathers, as in a database's own log.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy.exc import SQLAlchemyError

from crossport import errors
from crossport.engine import audit_rows
from crossport.engine.database import Database
from crossport.engine.settings import EngineSettings
from crossport.model.audit import AuditEntry, AuditKind, AuditRecord, AuditResult, KeptRecord
from crossport.model.head import AuditProof, Head
from crossport.spi.clock import Clock

__all__ = ["AuditLog"]

GROUP = 500
"""Records of one transaction, at most."""
TEXT = 1000
FACTS = 40
"""Letters of a text and number of facts that are kept: nobody can fill the log with one request."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    draft: AuditRecord
    written: asyncio.Future[int]


class AuditLog:
    """Implements `crossport.spi.audit.Audit` and `AuditBook`. `close` before the database is closed."""

    def __init__(self, database: Database, settings: EngineSettings, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._blank = AuditRecord(
            site=settings.site,
            node=settings.node,
            number=0,
            time=0.0,
            kind=AuditKind.NOTE,
            action="",
            actor="",
        )
        self._open: dict[str, AuditRecord] = {}
        self._waiting: list[_Waiting] = []
        self._writer: asyncio.Task[None] | None = None

    async def intent(self, entry: AuditEntry) -> str:
        """Write down what is about to be done."""
        draft = self._drafted(AuditKind.INTENT, entry)
        number = await self._append(draft)
        self._open[str(number)] = replace(draft, number=number)
        return str(number)

    async def outcome(self, id_: str, result: AuditResult) -> None:
        """Write down what came of an intent."""
        intent = self._open.pop(id_)
        draft = replace(intent, kind=AuditKind.OUTCOME, intent=intent.number, time=self._now(), facts={})
        await self._append(_with(draft, result))

    async def note(self, entry: AuditEntry, result: AuditResult) -> None:
        """Write down something that is over."""
        draft = self._drafted(AuditKind.NOTE, entry)
        await self._append(_with(draft, result))

    async def records(
        self, *, after: int = -1, limit: int = 1000, run: str = "", action: str = ""
    ) -> tuple[KeptRecord, ...]:
        """Return records behind number ``after``: all, or those of one run or action."""
        return await self._database.run(lambda it: audit_rows.records(it, after, limit, run, action))

    async def proof(self, number: int) -> AuditProof:
        """Return a record, and that it is in the log as it is now."""
        found = await self._database.run(lambda it: audit_rows.proof(it, number))
        if found is None:
            raise errors.NotFound(
                "audit.record.unknown",
                f"The audit log has no record {number}.",
                field="number",
                remedy="List them with: crossport audit list",
            )
        return found

    async def tip(self) -> Head:
        """Return the head of the log as it is now."""
        edge = await self._database.run(audit_rows.frontier)
        return Head(site=self._blank.site, size=edge.size, root=edge.root().hex(), time=self._now())

    async def consistency(self, first: int, second: int) -> tuple[str, ...]:
        """Return the proof that the first ``first`` records are the beginning of ``second``."""
        return await self._database.run(lambda it: audit_rows.consistency(it, first, second))

    async def close(self) -> None:
        """Return when nothing is being written any more."""
        if self._writer:
            await asyncio.wait((self._writer,))

    def _drafted(self, kind: AuditKind, entry: AuditEntry) -> AuditRecord:
        return replace(
            self._blank,
            kind=kind,
            time=self._now(),
            action=_short(entry.action),
            actor=_short(entry.actor),
            tenant=_short(entry.tenant),
            subject=_short(entry.subject),
            run=_short(entry.run),
            facts=_few(entry.facts),
        )

    def _now(self) -> float:
        return round(self._clock.wall(), 3)

    async def _append(self, draft: AuditRecord) -> int:
        """Return the number of ``draft`` when it is durable; raise Unavailable ``audit.unwritten``."""
        waiting = _Waiting(draft, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        try:
            return await waiting.written
        except (errors.Error, SQLAlchemyError) as error:
            raise errors.Unavailable(
                "audit.unwritten",
                f"The audit log cannot be written: {_reason(error)}",
                remedy="Nothing is done without it. Repair the database, then try again.",
            ) from error

    async def _write(self) -> None:
        """Write group after group until nobody waits."""
        while self._waiting:
            group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
            drafts = [each.draft for each in group]
            try:
                first = await self._database.run(lambda it, drafts=drafts: audit_rows.append(it, drafts))
            except Exception as error:  # noqa: BLE001 - raised again at each of those who wait
                _settle(group, error)
            else:
                _settle(group, first)


def _settle(group: list[_Waiting], written: int | Exception) -> None:
    for at, each in enumerate(group):
        if each.written.done():
            continue  # who waited was cancelled
        if isinstance(written, int):
            each.written.set_result(written + at)
        else:
            each.written.set_exception(written)


def _with(draft: AuditRecord, result: AuditResult) -> AuditRecord:
    facts = _few({**draft.facts, **result.facts})
    return replace(draft, result=result.result, code=result.code, text=_short(result.text), facts=facts)


def _few(facts: Mapping[str, str]) -> dict[str, str]:
    return {_short(name): _short(facts[name]) for name in sorted(facts)[:FACTS]}


def _short(text: str) -> str:
    return text if len(text) <= TEXT else text[: TEXT - 1] + "…"


def _reason(error: Exception) -> str:
    return error.text if isinstance(error, errors.Error) else f"{type(error).__name__}."
