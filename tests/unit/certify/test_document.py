"""The page that explains the verification, and the code that carries it out, have the same steps."""

import re
from pathlib import Path

from tests.unit.certify.world import World

from crossport.certify.refusal import REFUSALS, STEPS

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/certified-image.md").read_text()


def test_the_page_has_the_steps_of_the_code_in_their_order():
    rows = re.findall(r"^\| (\d+) \| (.+?) \|$", PAGE, re.MULTILINE)
    assert {int(number): text for number, text in rows} == STEPS
    assert [int(number) for number, _ in rows] == list(range(1, len(STEPS) + 1))


def test_every_step_can_refuse_but_the_last_which_repeats_the_ninth():
    assert {row.step for row in REFUSALS.values()} == set(STEPS) - {17}


def test_a_verification_goes_through_every_step_in_order():
    world = World()
    verification = world.verification()
    verified = world.verify_by(verification)
    verification.accepted(verified, world.seen)
    steps = [reason.step for reason in verification.reasons]
    assert steps == sorted(steps)
    assert set(steps) == set(range(1, 18))  # those behind it are of a conversion
