"""What partners were refused, in the audit log before they are told: who asked for what, and why not.

A partner that is refused all the time does not fill the log: beyond a bound only the number is told.
"""

import re
from collections.abc import Callable

from crossport import errors
from crossport.audit.recorded import failed
from crossport.model.audit import AuditEntry
from crossport.spi.audit import Audit

__all__ = ["ACTION", "AT_ONCE", "Refusals"]

ACTION = "partner.ask"
AT_ONCE = 200
"""So many refusals of one partner are written at once, and one more each `EACH_S`."""
EACH_S = 10.0
_LONGEST = 80
_UNPRINTED = re.compile(r"[^!-~]")


class Refusals:
    """Writes them down. ``audit`` is asked at each use: the site opens it late."""

    def __init__(self, audit: Callable[[], Audit], monotonic: Callable[[], float]) -> None:
        self._audit = audit
        self._monotonic = monotonic
        self._left: dict[str, tuple[float, float]] = {}
        self._unwritten: dict[str, int] = {}

    async def note(self, who: str, operation: str, error: errors.Refused) -> None:
        """Write down what ``who`` was refused; raise Unavailable ``audit.unwritten``: then it is not told."""
        if not self._may_write(who):
            self._unwritten[who] = self._unwritten.get(who, 0) + 1
            return
        facts = {"more": str(more)} if (more := self._unwritten.pop(who, 0)) else {}
        asked = _UNPRINTED.sub("?", operation[:_LONGEST])
        entry = AuditEntry(action=ACTION, actor=who, subject=asked, facts=facts)
        await self._audit().note(entry, failed(error))

    def _may_write(self, who: str) -> bool:
        now = self._monotonic()
        left, at = self._left.get(who, (float(AT_ONCE), now))
        left = min(left + (now - at) / EACH_S, float(AT_ONCE))
        written = left >= 1
        self._left[who] = (left - written, now)
        return written
