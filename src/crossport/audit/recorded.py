"""Do something with its intent in the audit log before, and its outcome after."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from crossport import errors
from crossport.model.audit import AuditEntry, AuditResult, Result
from crossport.spi.audit import Audit

__all__ = ["failed", "recorded"]


@asynccontextmanager
async def recorded(audit: Audit, entry: AuditEntry) -> AsyncGenerator[dict[str, str]]:
    """Write the intent, let the caller act, write the outcome with the facts that it put into the dict.

    Raise Unavailable ``audit.unwritten`` before anything is done when the log takes no intent. An error of
    the action is written down and goes on.
    """
    facts: dict[str, str] = {}
    intent = await audit.intent(entry)
    try:
        yield facts
    except errors.Error as error:
        await audit.outcome(intent, failed(error))
        raise
    except BaseException as error:
        text = f"It was broken off by {type(error).__name__}."
        await audit.outcome(intent, AuditResult(result=Result.BROKEN_OFF, text=text))
        raise
    await audit.outcome(intent, AuditResult(result=Result.DONE, facts=facts))


def failed(error: errors.Error) -> AuditResult:
    """Return what is told of an error."""
    result = Result.REFUSED if isinstance(error, errors.Refused) else Result.FAILED
    return AuditResult(result=result, code=error.code, text=error.text)
