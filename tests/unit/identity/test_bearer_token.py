"""Bearer tokens: their form, their hash, and what is refused."""

import os

import pytest

from crossport import errors
from crossport.identity import token
from crossport.spi.secret import Secret


def test_a_token_matches_its_own_hash_only() -> None:
    first, second = token.generate(os.urandom), token.generate(os.urandom)
    assert token.matches(first, token.hashed(first))
    assert not token.matches(second, token.hashed(first))
    assert first.reveal() not in token.hashed(first)


def test_a_token_carries_256_bits_and_the_prefix() -> None:
    made = token.generate(lambda size: b"\xff" * size).reveal()
    assert made == "xp_" + "_" * 42 + "8"
    assert token.parse(made) == Secret(made)


def test_a_token_is_taken_from_the_header_in_any_case_of_the_scheme() -> None:
    made = token.generate(os.urandom)
    assert token.from_header(f"bearer {made.reveal()}") == made
    assert token.from_header(f"Bearer {made.reveal()}") == made


@pytest.mark.parametrize("value", ["", "Basic abc", "Bearer", "Bearer xp_short", "Bearer " + "a" * 46])
def test_what_is_no_token_is_refused_and_not_repeated(value: str) -> None:
    with pytest.raises(errors.Refused, match=r"token\.(form|scheme)") as caught:
        token.from_header(value)
    assert "short" not in str(caught.value)
