"""Keys outside this process: what is said of a place that is wrong, away, or holds another kind of key."""

from pathlib import Path

import pytest
from tests.unit.identity.key_places import LIBRARY, KeyService, Tokens, kms, tokens

from crossport import errors
from crossport.identity import key_service
from crossport.identity.key_signer import KeySigner
from crossport.identity.outside_signer import OutsideSigner
from crossport.identity.signers import open_signer
from crossport.model.keyring import Algorithm

__all__ = ["kms", "tokens"]

ARN = "arn:aws:kms:eu-central-1:123456789012:key/378697a7-8bc3-48b3-8078-a376877e7030"


def refused(place: str) -> errors.Error:
    with pytest.raises(errors.Error) as caught:
        open_signer(place)
    assert (caught.value.field, bool(caught.value.remedy)) == ("key", True)
    return caught.value


@pytest.mark.parametrize(
    "place",
    [
        "pkcs11:token=site;object=seal",
        f"pkcs11:object=seal?module-path={LIBRARY}&pin-source=pin",
        f"pkcs11:token=site;object=seal?module-path={LIBRARY}&pin-value=4711",
        f"pkcs11:token=site;object=seal;serial=7?module-path={LIBRARY}&pin-source=pin",
        "awskms:378697a7-8bc3-48b3-8078-a376877e7030",
        f"awskms:{ARN}?region=elsewhere",
    ],
)
def test_a_place_that_is_not_understood_whole_is_refused(place: str) -> None:
    assert refused(place).code == "signer.place.malformed"


def test_a_token_without_the_key_and_no_token_are_told_apart(tokens: Tokens) -> None:
    for place in (tokens.place("none"), tokens.place(Algorithm.ED25519, token="elsewhere")):
        told = refused(place)
        assert told.code == "signer.token.away"
    assert "none" in refused(tokens.place("none")).text
    assert "elsewhere" in refused(tokens.place("seal", token="elsewhere")).text


def test_a_key_of_another_curve_in_a_token_is_refused(tokens: Tokens) -> None:
    assert refused(tokens.place("p384")).code == "signer.key.kind"


def test_a_pin_that_others_may_read_is_refused(tokens: Tokens, tmp_path: Path) -> None:
    pin = tmp_path / "pin"
    assert refused(tokens.place(Algorithm.ED25519, pin=pin)).code == "signer.pin.absent"
    pin.write_text("4711")
    pin.chmod(0o644)
    with pytest.raises(errors.Refused) as caught:
        open_signer(tokens.place(Algorithm.ED25519, pin=pin))
    assert caught.value.code == "identity.file.open"


def test_the_service_says_why_a_key_cannot_be_used(kms: KeyService) -> None:
    unknown = refused(kms.place(ARN))
    assert (unknown.code, ARN in unknown.text) == ("signer.kms.refused", True)
    assert refused(kms.make("ECC_NIST_P384")).code == "signer.key.kind"


def test_a_service_that_does_not_answer_may_be_asked_again(
    kms: KeyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_service, "_PATIENCE", key_service.Config(retries={"total_max_attempts": 1}))
    assert refused(f"awskms:{ARN}?endpoint=http://127.0.0.1:9").code == "signer.kms.away"


class Confused:
    """A place whose two halves do not belong together."""

    name = "the module"

    def __init__(self) -> None:
        self._one, self._other = KeySigner.made(Algorithm.ED25519), KeySigner.made(Algorithm.ED25519)

    def public_key(self) -> bytes:
        return self._one.public_key()

    def sign(self, payload: bytes, algorithm: Algorithm) -> bytes:
        assert algorithm is Algorithm.ED25519
        return self._other.sign(payload)


def test_halves_that_do_not_belong_together_are_found_before_anybody_gets_a_signature() -> None:
    with pytest.raises(errors.Broken) as caught:
        OutsideSigner(Confused()).sign(b"payload")
    assert caught.value.code == "signer.signature.wrong"
