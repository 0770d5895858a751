"""What each end of a connection may hear, and when: two pure tables.

Everything that a table does not list breaks the protocol. ALIVE and FAILED are heard in every state.
"""

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from crossport.transfer import frame
from crossport.transfer.frame import SETTLING, Kind

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
_SAID_BY_SENDER = (*SETTLING, Kind.ASK, Kind.OFFER, Kind.BLOCKS, Kind.SYNC)
_SAID_BY_RECEIVER = (Kind.MAP, Kind.HAVE, Kind.SHARE, Kind.WANT, Kind.PICK, Kind.DURABLE, Kind.AGAIN)

RECEIVER: dict[tuple[ReceiverState, Kind], ReceiverState] = {
    (ReceiverState.NEW, Kind.HELLO): ReceiverState.OPEN,
    **{(ReceiverState.OPEN, kind): ReceiverState.OPEN for kind in _SAID_BY_SENDER},
    (ReceiverState.OPEN, Kind.END): ReceiverState.ENDED,
}
SENDER: dict[tuple[SenderState, Kind], SenderState] = {
    (SenderState.GREETED, Kind.WELCOME): SenderState.OPEN,
    **{(SenderState.OPEN, kind): SenderState.OPEN for kind in _SAID_BY_RECEIVER},
    **{(SenderState.ENDING, kind): SenderState.ENDING for kind in (Kind.DURABLE, Kind.SHARE)},
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
