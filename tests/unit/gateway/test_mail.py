"""Messages that are numbered, kept and repeated until they were heard."""

from typing import Any

import pytest

from crossport import errors
from crossport.gateway.mail import Inbox, Outbox


def numbers(messages: tuple[dict[str, Any], ...]) -> list[int]:
    return [message["number"] for message in messages]


def test_what_was_not_heard_is_said_again_in_order():
    outbox = Outbox()
    said = [outbox.add({"do": "give", "line": str(number)}) for number in range(4)]
    outbox.heard(2)
    assert list(outbox.rest()) == said[2:]


def test_a_progress_replaces_the_one_before_but_nothing_else():
    outbox = Outbox()
    outbox.add({"event": "started"})
    for _ in range(3):
        outbox.add({"event": "progress"}, instead=True)
    outbox.add({"event": "done"})
    outbox.add({"event": "progress"}, instead=True)
    assert numbers(outbox.rest()) == [1, 4, 5, 6]
    assert all("instead" not in message for message in outbox.rest())


def test_what_comes_twice_is_taken_once():
    inbox = Inbox()
    assert [inbox.take(number) for number in (1, 4, 4, 2, 5)] == [True, True, False, False, True]
    assert inbox.heard == 5


def test_an_end_that_hears_nothing_is_given_up_before_memory_is():
    outbox = Outbox()
    for _ in range(4096):
        outbox.add({"do": "give"})
    with pytest.raises(errors.Broken) as caught:
        outbox.add({"do": "give"})
    assert caught.value.code == "gateway.outbox.full"
