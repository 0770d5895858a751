"""What a check found: a stable code, how grave it is, what it means and what to do about it."""

from enum import StrEnum

from crossport.model.record import record

__all__ = ["Finding", "Severity"]


class Severity(StrEnum):
    """How far a finding stands in the way, gravest first."""

    BLOCKER = "blocker"
    DECISION = "decision"
    WARNING = "warning"
    INFO = "info"


@record(kw_only=False)
class Finding:
    """One result of a pre-flight check.

    A blocker stops the migration. A decision stops it until somebody answers it with
    ``--accept CODE`` or in the plan. ``subject`` names the thing concerned: ``vm web``, ``disk vda``.
    """

    code: str
    severity: Severity
    subject: str
    text: str
    remedy: str = ""
