"""From root to root: who pinned an early one finds the newest, and nothing that both did not sign counts."""

import dataclasses
from collections.abc import Callable

import pytest
from tests.unit.identity.test_role_document import FIRST, NOW, ROOT

from crossport import errors
from crossport.identity import role_document as roles
from crossport.identity import root_step
from crossport.identity.key_signer import KeySigner
from crossport.model.keyring import Algorithm, key_id
from crossport.model.role import ROOTS_MAX, RoleDocument, RootStep

SECOND, THIRD, STRANGER = (KeySigner.made(Algorithm.ED25519) for _ in range(3))


def step(before: KeySigner, after: KeySigner, number: int, site: str = "north") -> RootStep:
    return RootStep(
        site=site, number=number, before=roles.public(before), after=roles.public(after), made=NOW
    )


ONE = root_step.stepped(step(ROOT, SECOND, 1), ROOT, SECOND)
TWO = root_step.stepped(step(SECOND, THIRD, 2), SECOND, THIRD)


def signed_by(root: KeySigner, *steps: str, version: int = 5) -> bytes:
    document = dataclasses.replace(FIRST, root=roles.public(root), roots=steps, version=version)
    return roles.signed(document, root)


def believed(envelope: bytes, pinned: KeySigner) -> RoleDocument:
    return roles.believed(envelope, "north", pinned.public_key(), NOW, None)


def refusal(envelope: bytes, pinned: KeySigner) -> str:
    with pytest.raises(errors.Refused) as caught:
        believed(envelope, pinned)
    assert caught.value.remedy
    return caught.value.code


@pytest.mark.parametrize("pinned", [ROOT, SECOND, THIRD])
def test_whoever_pinned_one_of_the_roots_finds_the_newest(pinned: KeySigner):
    assert believed(signed_by(THIRD, ONE, TWO), pinned).root == roles.public(THIRD)


def test_who_pinned_the_newest_believes_none_before_it():
    assert refusal(signed_by(ROOT, version=9), SECOND) == "roles.signature.wrong"
    assert refusal(signed_by(SECOND, ONE, version=9), THIRD) == "roles.signature.wrong"


FORGED: list[tuple[Callable[[], bytes], str]] = [
    (
        lambda: signed_by(STRANGER, root_step.stepped(step(ROOT, STRANGER, 1), STRANGER, STRANGER)),
        "roles.root.forged",
    ),
    (
        lambda: signed_by(STRANGER, root_step.stepped(step(ROOT, STRANGER, 1), ROOT, ROOT)),
        "roles.root.forged",
    ),
    (
        lambda: signed_by(SECOND, root_step.stepped(step(ROOT, SECOND, 1, site="south"), ROOT, SECOND)),
        "roles.root.forged",
    ),
    (
        lambda: signed_by(THIRD, ONE, root_step.stepped(step(SECOND, THIRD, 4), SECOND, THIRD)),
        "roles.root.forged",
    ),
    (
        lambda: signed_by(STRANGER, ONE, root_step.stepped(step(THIRD, STRANGER, 2), THIRD, STRANGER)),
        "roles.root.forged",
    ),
    (lambda: signed_by(SECOND, "bm8gc3RlcA=="), "roles.root.forged"),
    (lambda: signed_by(THIRD, TWO), "roles.signature.wrong"),
    (lambda: signed_by(STRANGER, ONE), "roles.signature.wrong"),
    (lambda: signed_by(STRANGER), "roles.signature.wrong"),
]


@pytest.mark.parametrize(("forged", "code"), FORGED)
def test_a_root_that_was_not_let_follow_is_refused(forged: Callable[[], bytes], code: str):
    assert refusal(forged(), ROOT) == code


def test_the_oldest_steps_are_dropped_and_the_numbers_go_on():
    steps, before = (), ROOT
    for number in range(1, ROOTS_MAX + 3):
        after = KeySigner.made(Algorithm.ED25519)
        signed = root_step.stepped(step(before, after, root_step.last_number(steps) + 1), before, after)
        steps, before = root_step.with_step(steps, signed), after
        assert root_step.last_number(steps) == number
    assert len(steps) == ROOTS_MAX
    assert refusal(signed_by(before, *steps), ROOT) == "roles.signature.wrong"


def test_a_root_is_found_by_its_id():
    envelope = signed_by(THIRD, ONE, TWO)
    for one in (ROOT, SECOND, THIRD):
        assert roles.root_known_as(envelope, key_id(one.public_key())) == one.public_key()
    assert roles.root_known_as(envelope, STRANGER.key_id) is None
