"""An audit log in this process's memory, for fast tests of whatever acts."""

from dataclasses import replace

from crossport import errors
from crossport.model.audit import AuditEntry, AuditKind, AuditRecord, AuditResult

__all__ = ["MemoryAudit"]


class MemoryAudit:
    """An audit log as `crossport.spi.audit.Audit` promises, lost with the process.

    ``records`` are what was told. While ``full`` it takes nothing more.
    """

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []
        self.full = False

    async def intent(self, entry: AuditEntry) -> str:
        """Note what is about to be done."""
        return str(self._add(_record(AuditKind.INTENT, entry)))

    async def outcome(self, id_: str, result: AuditResult) -> None:
        """Note what came of it."""
        intent = self.records[int(id_)]
        told = replace(intent, kind=AuditKind.OUTCOME, intent=intent.number, facts={})
        self._add(_with(told, result))

    async def note(self, entry: AuditEntry, result: AuditResult) -> None:
        """Note something that is over."""
        self._add(_with(_record(AuditKind.NOTE, entry), result))

    def _add(self, told: AuditRecord) -> int:
        if self.full:
            raise errors.Unavailable("audit.unwritten", "The audit log is full.", remedy="Empty it.")
        self.records.append(replace(told, number=len(self.records)))
        return len(self.records) - 1


def _record(kind: AuditKind, entry: AuditEntry) -> AuditRecord:
    return AuditRecord(
        site="memory",
        number=0,
        time=0.0,
        node="memory",
        kind=kind,
        action=entry.action,
        actor=entry.actor,
        tenant=entry.tenant,
        subject=entry.subject,
        run=entry.run,
        facts=entry.facts,
    )


def _with(told: AuditRecord, result: AuditResult) -> AuditRecord:
    facts = {**told.facts, **result.facts}
    return replace(told, result=result.result, code=result.code, text=result.text, facts=facts)
