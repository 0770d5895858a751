"""What either end may hear, and when: every state with every word."""

import pytest

from crossport import errors
from crossport.transfer.frame import SETTLING, Kind
from crossport.transfer.states import ANYTIME, RECEIVER, SENDER, ReceiverState, SenderState, heard

ALLOWED = {
    ReceiverState.NEW: {Kind.HELLO},
    ReceiverState.OPEN: {*SETTLING, Kind.ASK, Kind.OFFER, Kind.BLOCKS, Kind.SYNC, Kind.END},
    ReceiverState.ENDED: set[Kind](),
    SenderState.GREETED: {Kind.WELCOME},
    SenderState.OPEN: {
        Kind.MAP,
        Kind.HAVE,
        Kind.SHARE,
        Kind.WANT,
        Kind.PICK,
        Kind.DURABLE,
        Kind.AGAIN,
    },
    SenderState.ENDING: {Kind.DURABLE, Kind.SHARE, Kind.DONE},
    SenderState.DONE: set[Kind](),
}


@pytest.mark.parametrize("state", ALLOWED, ids=str)
def test_every_word_is_heard_where_it_belongs_and_nowhere_else(state: ReceiverState | SenderState) -> None:
    for kind in Kind:
        allowed = kind in ALLOWED[state] or kind in ANYTIME
        try:
            if isinstance(state, ReceiverState):
                heard(RECEIVER, state, kind)
            else:
                heard(SENDER, state, kind)
        except errors.Broken:
            assert not allowed, kind
        else:
            assert allowed, kind


def test_no_word_of_one_end_is_one_of_the_other() -> None:
    own = {kind for _, kind in RECEIVER}, {kind for _, kind in SENDER}
    assert not own[0] & own[1]
    assert own[0] | own[1] | ANYTIME == set(Kind)


def test_every_state_can_be_reached_and_ends() -> None:
    for table, first in ((RECEIVER, ReceiverState.NEW), (SENDER, SenderState.OPEN)):
        arrows = {(state, after) for (state, _), after in table.items()}
        states = {state for arrow in arrows for state in arrow}
        assert first in states
        assert any(after not in {start for start, _ in arrows} for after in states)
