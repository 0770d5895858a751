"""What each end of a connection may hear, and when: two pure tables.

Everything that a table does not list breaks the protocol. ALIVE and FAILED are heard in every state.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from crossport.transfer import frame
from crossport.transfer.frame import Kind

__all__ = ["ANYTIME", "RECEIVER", "SENDER", "ReceiverState", "SenderState", "heard"]


class ReceiverState(Enum):
    """How far a connection is, from the receiver's side."""

    NEW = "new"
    OPEN = "open"
    ENDED = "ended"


class SenderState(Enum):
    """How far a connection is, from the sender's side."""

    GREETED = "greeted"
    OPEN = "open"
    ENDING = "ending"
    DONE = "done"


State = TypeVar("State", ReceiverState, SenderState)

ANYTIME = frozenset({Kind.ALIVE, Kind.FAILED})
_SETTLING = (Kind.DATA, Kind.ZEROS, Kind.SAME, Kind.KEEP, Kind.ASK, Kind.SYNC)

RECEIVER: dict[tuple[ReceiverState, Kind], ReceiverState] = {
    (ReceiverState.NEW, Kind.HELLO): ReceiverState.OPEN,
    **{(ReceiverState.OPEN, kind): ReceiverState.OPEN for kind in _SETTLING},
    (ReceiverState.OPEN, Kind.END): ReceiverState.ENDED,
}
SENDER: dict[tuple[SenderState, Kind], SenderState] = {
    (SenderState.GREETED, Kind.WELCOME): SenderState.OPEN,
    **{
        (SenderState.OPEN, kind): SenderState.OPEN for kind in (Kind.MAP, Kind.HAVE, Kind.DURABLE, Kind.AGAIN)
    },
    (SenderState.ENDING, Kind.DURABLE): SenderState.ENDING,
    (SenderState.ENDING, Kind.DONE): SenderState.DONE,
}


def heard(table: Mapping[tuple[State, Kind], State], state: State, kind: Kind) -> State:
    """Return the state after ``kind`` was heard in ``state``; raise Broken when it must not be."""
    if kind in ANYTIME:
        return state
    after = table.get((state, kind))
    if after is None:
        raise frame.malformed(f"{kind.name} came in state {state.value}")
    return after
