"""The statements by which two sites agree that never both run and never both are lost.

A statement is what one side says it has done and will not undo alone. Between two operators it is signed.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from crossport.model.record import record

__all__ = ["Fence", "SignedStatement", "Stated", "Statement", "StatementKind"]


@record()
class Fence:
    """What the driver did so that a VM cannot start by accident, and what it could not do, in words."""

    done: tuple[str, ...] = ()
    not_done: tuple[str, ...] = ()


class StatementKind(StrEnum):
    """What is stated."""

    STOPPED_AND_FENCED = "stopped-and-fenced"
    """By the source: it is off and stays off. By the target: its copy is off and will not start again."""
    PREPARED = "prepared"
    """By the target: its verified copy stands in quarantine, and only the permit is missing."""
    START_PERMITTED = "start-permitted"
    """By the source: the decision to commit is recorded; the target may open its copy."""
    NO_PERMIT = "no-permit"
    """By the source: this run will never get a permit; the target may discard its copy."""
    NEVER_STARTED = "never-started"
    """By the target: its copy never ran in this run and never will."""
    RELEASED = "released"
    """By the source: it is free again."""
    OPENED = "opened"
    """By the target: the copy is open to its networks. It is the VM now."""


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


@record()
class Stated:
    """What a site signs when it states something to a partner, so that it holds for that partner alone.

    ``initiator`` is the site that executes the run, and ``statement.run`` is its word for it.
    """

    version: int = 1
    to: str
    initiator: str
    statement: Statement


@record()
class SignedStatement:
    """The JSON of a `Stated` and its signature, both base64, and the id of the key that signed."""

    payload: Annotated[str, Field(max_length=64 << 10)]
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    signature: Annotated[str, Field(max_length=1 << 10)]
