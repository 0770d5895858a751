"""What every Audit keeps. A test class derives from AuditConformance and gives ``audit`` and ``told``."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from crossport import errors
from crossport.audit.recorded import recorded
from crossport.model.audit import AuditEntry, AuditKind, AuditRecord, AuditResult, Result
from crossport.spi.audit import Audit

__all__ = ["AuditConformance", "Told"]

Told = Callable[[], Awaitable[list[AuditRecord]]]
"""Returns all records of the log, in order."""
CALLERS = 40
COMMIT = AuditEntry(
    action="run.commit",
    actor="token 12ab",
    tenant="acme",
    subject="POST /v1/runs/r1/commit",
    run="r1",
    facts={"request": "7"},
)


class AuditConformance:
    """The suite. A log may be shared by the tests of a class: each looks at what it added."""

    async def test_an_intent_is_in_the_log_before_its_outcome(self, audit: Audit, told: Told) -> None:
        """Both tell who does what to what; the outcome names its intent."""
        before = len(await told())
        id_ = await audit.intent(COMMIT)
        (intent,) = (await told())[before:]
        await audit.outcome(id_, AuditResult(result=Result.DONE, facts={"state": "done"}))
        (_, outcome) = (await told())[before:]
        assert (intent.kind, intent.result, intent.facts) == (AuditKind.INTENT, Result.NONE, COMMIT.facts)
        assert (outcome.kind, outcome.intent, outcome.result) == (
            AuditKind.OUTCOME,
            intent.number,
            Result.DONE,
        )
        assert outcome.facts == {"state": "done"}
        for one in (intent, outcome):
            assert (one.action, one.actor, one.tenant) == ("run.commit", "token 12ab", "acme")
            assert (one.subject, one.run) == (COMMIT.subject, "r1")

    async def test_a_note_is_one_record(self, audit: Audit, told: Told) -> None:
        """A refusal is over with its being told."""
        before = len(await told())
        why = AuditResult(result=Result.REFUSED, code="request.right.lacking", text="No.")
        await audit.note(COMMIT, why)
        (note,) = (await told())[before:]
        assert (note.kind, note.result, note.code, note.text) == (
            AuditKind.NOTE,
            Result.REFUSED,
            why.code,
            why.text,
        )

    async def test_many_at_once_have_one_sequence_without_gaps(self, audit: Audit, told: Told) -> None:
        """Each is there once, and every outcome names an intent before it."""

        async def act(number: int) -> None:
            async with recorded(audit, AuditEntry(action="test.act", actor=f"caller {number}")):
                await asyncio.sleep(0)

        before = len(await told())
        await asyncio.gather(*(act(number) for number in range(CALLERS)))
        every = await told()
        assert [one.number for one in every] == list(range(len(every)))
        fresh = every[before:]
        intents = {one.number: one for one in fresh if one.kind is AuditKind.INTENT}
        outcomes = [one for one in fresh if one.kind is AuditKind.OUTCOME]
        assert len(intents) == len(outcomes) == CALLERS
        for one in outcomes:
            assert one.intent is not None
            assert one.number > one.intent
            assert intents[one.intent].actor == one.actor

    async def test_an_error_and_what_nobody_foresaw_are_outcomes(self, audit: Audit, told: Told) -> None:
        """The log says how it ended, and the error goes on."""
        before = len(await told())
        for error in (errors.Refused("a.b", "No."), errors.Broken("c.d", "Oh."), KeyError("x")):
            with pytest.raises(type(error)):
                async with recorded(audit, COMMIT):
                    raise error
        outcomes = [one for one in (await told())[before:] if one.kind is AuditKind.OUTCOME]
        assert [one.result for one in outcomes] == [Result.REFUSED, Result.FAILED, Result.BROKEN_OFF]
        assert [one.code for one in outcomes] == ["a.b", "c.d", ""]
