"""A record of the audit log: what was about to be done by whom, and what came of it."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from crossport.model.record import record

__all__ = ["VERSION", "AuditEntry", "AuditKind", "AuditRecord", "AuditResult", "KeptRecord", "Result"]

VERSION = 1
"""Of the form of a record."""


class AuditKind(StrEnum):
    """What a record tells."""

    INTENT = "intent"
    """Something is about to be done. It is done only when this is durable."""
    OUTCOME = "outcome"
    """What came of the intent that it names."""
    NOTE = "note"
    """Something that is over with its being told: a refusal, a read."""


class Result(StrEnum):
    """How what was intended ended."""

    NONE = ""
    """It has not, or nobody knows."""
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    BROKEN_OFF = "broken-off"
    """It was cancelled, or met what nobody foresaw: look at both ends."""


@record()
class AuditEntry:
    """What a caller tells of what is done: never anything secret.

    ``action`` reads ``thing.verb``; ``actor`` is ``token ID``, ``run ID``, ``partner NAME`` or ``address``;
    ``subject`` is what it is done to. ``facts`` are words about it.
    """

    action: str
    actor: str
    tenant: str = ""
    subject: str = ""
    run: str = ""
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


@record()
class AuditResult:
    """What came of it. ``code`` and ``text`` are those of the error."""

    result: Result
    code: str = ""
    text: str = ""
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


@record()
class AuditRecord:
    """One leaf of the log: number ``number`` from 0, written at ``time`` (Unix seconds) by ``node``.

    ``intent`` is the number of the intent whose outcome this is. The leaf is the JSON of this record as it is
    kept, to the byte.
    """

    version: int = VERSION
    site: str
    number: int
    time: float
    node: str
    kind: AuditKind
    intent: int | None = None
    action: str
    actor: str
    tenant: str = ""
    subject: str = ""
    run: str = ""
    result: Result = Result.NONE
    code: str = ""
    text: str = ""
    facts: Mapping[str, str] = field(default_factory=dict[str, str])


@record()
class KeptRecord:
    """A record as it is kept: its JSON, and the hash that the tree has for it (hex)."""

    leaf: str
    text: str
