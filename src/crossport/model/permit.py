"""The statements by which two sites agree that never both run and never both are lost.

A statement is what one side says it has done and will not undo alone. Between two operators it is signed.
"""

from enum import StrEnum

from crossport.model.record import record

__all__ = ["Fence", "Statement", "StatementKind"]


@record()
class Fence:
    """What the driver did so that a VM cannot start by accident, and what it could not do, in words."""

    done: tuple[str, ...] = ()
    not_done: tuple[str, ...] = ()


class StatementKind(StrEnum):
    """What is stated."""

    STOPPED_AND_FENCED = "stopped-and-fenced"
    START_PERMITTED = "start-permitted"
    NEVER_STARTED = "never-started"
    RELEASED = "released"
    OPENED = "opened"


@record()
class Statement:
    """One statement about one VM in one run. ``made`` is Unix seconds, for people only."""

    kind: StatementKind
    site: str
    run: str
    vm: str
    epoch: int
    made: float
    fence: Fence = Fence()
