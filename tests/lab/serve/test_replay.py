"""All that two servers said to each other in two migrations is played back to both: nothing changes.

It is recorded between them where TLS ends, with copies of both sites' keys, so that nothing but the messages
themselves keeps them from being done twice.
"""

import json
import random
from collections.abc import Generator, Sequence

import pytest
from tests.lab.serve.recorded_link import Said
from tests.lab.serve.recorded_owners import RecordedOwners

from crossport.partner.handshake import HTTP, LINES
from crossport.partner.refusals import ACTION

HEADS = "audit.head"
SERVED = {
    "north": {"describe", "reserve", "export", "ticket", "seal", "permit", "clean"},
    "south": {"describe", "prepare-import", "ticket", "admit", "verify", "instantiate", "check"}
    | {"prepare-commit", "open", "clean"},
}
LONG_AFTER_S = 900
"""A message is taken within five minutes, and its answer is known for ten."""


@pytest.fixture
def two(tmp_path_factory: pytest.TempPathFactory) -> Generator[RecordedOwners]:
    with RecordedOwners(tmp_path_factory.mktemp("recorded")) as both:
        yield both


def operation(said: Said) -> str:
    return bytes(said.words).split()[1].decode().rpartition("/")[2]


def played(two: RecordedOwners, said: Sequence[tuple[str, Said]]) -> set[str]:
    """Say it all again; return what is answered to requests: a status and a code.

    Heads of audit logs are no messages of a run: each is judged by what is known already.
    """
    answers = [(one, two.before[name].play(one)) for name, one in said]
    return {_told(answer) for one, answer in answers if one.speaks == HTTP and operation(one) != HEADS}


def _told(answer: bytes) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    return f"{head.split()[1].decode()} {json.loads(body).get('code', '')}".strip()


def test_what_was_recorded_changes_nothing_when_it_is_played_back(two: RecordedOwners) -> None:
    for name in ("web", "db"):
        two.make(name)
    two.north.watch(
        two.north.answered("migrate", "web", "--from", "alpha", "--to", "beta@south", "--detach")["id"]
    )
    two.south.watch(
        two.south.answered("migrate", "db", "--from", "alpha@north", "--to", "beta", "--detach")["id"]
    )
    two.check("web")
    two.check("db")
    said, state = two.said(), two.state()
    for name, operations in SERVED.items():
        asked = {operation(one) for to, one in said if to == name and one.speaks == HTTP}
        assert {f"site.{one}" for one in operations} <= asked
        assert name in {to for to, one in said if one.speaks == LINES}

    # At once, in order and shuffled: each message gets the answer that it got.
    assert played(two, said) == {"200"}
    assert two.state() == state
    mix = random.Random(1)  # noqa: S311 - an order, no secret
    mix.shuffle(said)
    assert played(two, said) == {"200"}
    assert two.state() == state

    two.begin_later(LONG_AFTER_S)
    for _ in ("in order", "shuffled"):
        assert played(two, said) == {"403 message.time.off"}
        assert two.state() == state
        mix.shuffle(said)
    for owner, other in ((two.north, "south"), (two.south, "north")):
        refused = owner.answered("audit", "list", "--action", ACTION)
        assert {one["actor"] for one in refused} == {f"partner {other}"}
        codes = [one["code"] for one in refused]
        assert codes.count("message.time.off") == 2 * sum(
            one.speaks == HTTP and operation(one) != HEADS for to, one in said if to == owner.name
        )
