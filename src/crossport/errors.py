"""Every deliberate error: what happened, what the engine does about it, and what a person can do.

The tree, by what the caller does with it::

    Error
    ├── Invalid        the input is wrong; nothing was touched            exit 2
    ├── NotFound       the named thing does not exist                     exit 2
    ├── Conflict       the thing is in another state than the call needs  exit 2
    ├── Blocked        findings stand in the way                          exit 3
    ├── RolledBack     it failed, and the source is as it was             exit 4
    ├── NeedsAttention a person has to decide                             exit 5
    ├── Cancelled      somebody asked for it                              exit 6
    ├── Refused        not allowed, or not trusted                        exit 7
    ├── Unavailable    the other end does not answer; may be tried again  exit 8
    └── Broken         data or state that should hold does not            exit 5

Codes are stable: documented, never reused, never re-worded. They read ``area.thing.what``.
"""

from enum import StrEnum

__all__ = [
    "REPORT",
    "SAME_RELEASE",
    "TRIED_AGAIN",
    "Action",
    "Blocked",
    "Broken",
    "Cancelled",
    "Conflict",
    "Error",
    "Invalid",
    "NeedsAttention",
    "NotFound",
    "Refused",
    "RolledBack",
    "Unavailable",
]

REPORT = "This is a mistake in Crossport: report it with what the site's log says at that time."
SAME_RELEASE = "Run one release at both ends; if they do already, report it with the logs of both."
TRIED_AGAIN = "Nothing at first: it is tried again. If it lasts, look at the network and the other end."
"""What a person does about errors of which there are many."""


class Action(StrEnum):
    """What the engine does when a step raises."""

    RETRY = "retry"
    ABORT = "abort"
    ASK = "ask"


class Error(Exception):
    """Something that was foreseen. ``code`` is stable, ``text`` says what, ``remedy`` what to do now.

    ``field`` names the input at fault, as a person wrote it (``vms[2].flavor``), when there is one.
    """

    action = Action.ABORT
    exit_code = 5
    status = 500  # HTTP

    def __init__(self, code: str, text: str, *, remedy: str = "", field: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.remedy = remedy
        self.field = field

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"{where}{self.text}{remedy} [{self.code}]"

    def __reduce__(self) -> tuple[object, ...]:
        return (_restored, (type(self), self.code, self.text, self.remedy, self.field))


def _restored(kind: type[Error], code: str, text: str, remedy: str, field: str) -> Error:
    return kind(code, text, remedy=remedy, field=field)


class Invalid(Error):
    """The input is wrong. Nothing was touched."""

    exit_code = 2
    status = 422


class NotFound(Error):
    """The named thing does not exist, or is not visible to the caller."""

    exit_code = 2
    status = 404


class Conflict(Error):
    """The thing exists, but in a state that does not allow the call."""

    exit_code = 2
    status = 409


class Blocked(Error):
    """Findings stand in the way; the source was not touched."""

    exit_code = 3
    status = 409


class RolledBack(Error):
    """The run failed before commit; the source is as it was before."""

    exit_code = 4
    status = 409


class NeedsAttention(Error):
    """Neither going on nor going back is safe without a person."""

    action = Action.ASK
    exit_code = 5
    status = 409


class Cancelled(Error):
    """Somebody asked to stop; the source is as it was before."""

    exit_code = 6
    status = 409


class Refused(Error):
    """Not allowed, or not trusted: a wrong token, a hostile image, a digest that does not match."""

    exit_code = 7
    status = 403


class Unavailable(Error):
    """The other end does not answer, or not now. The same call may be made again."""

    action = Action.RETRY
    exit_code = 8
    status = 503


class Broken(Error):
    """Something that must hold does not: lost data, a state that cannot be. Never retried."""

    exit_code = 5
    status = 500
