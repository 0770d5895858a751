"""The role document: two-step rotation, revocation, and every reason for which a document is not believed."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossport import errors
from crossport.identity import role_document as roles
from crossport.identity.key_signer import KeySigner
from crossport.model.keyring import Algorithm, Key, KeyRole, key_id
from crossport.model.role import RoleDocument

NOW = 1_900_000_000.0
ROOT = KeySigner.made(Algorithm.ECDSA_P256)


def key(role: KeyRole = KeyRole.SEAL, since: float = NOW, *, site: str = "north") -> Key:
    signer = KeySigner.made(Algorithm.ECDSA_P256)
    return Key(
        public_key=roles.public(signer),
        algorithm=signer.algorithm,
        site=site,
        role=role,
        valid_from=since,
        valid_until=since + roles.KEY_LIFETIME_S,
    )


SEAL = key()
FIRST = RoleDocument(
    site="north",
    version=1,
    root=roles.public(ROOT),
    issued=NOW,
    expires=NOW + roles.DOCUMENT_LIFETIME_S,
    keys=(SEAL, key(KeyRole.AUDIT)),
)


def seen(envelope: bytes, version: int) -> roles.Seen:
    return roles.Seen(version=version, sha256=roles.digest(envelope))


def believed(envelope: bytes, *, now: float = NOW, after: roles.Seen | None = None) -> RoleDocument:
    return roles.believed(envelope, "north", ROOT.public_key(), now, after)


def refusal(envelope: bytes, *, now: float = NOW, after: roles.Seen | None = None) -> str:
    with pytest.raises((errors.Refused, errors.Conflict)) as caught:
        believed(envelope, now=now, after=after)
    assert caught.value.remedy
    return caught.value.code


def test_what_the_root_signed_is_believed_and_again():
    envelope = roles.signed(FIRST, ROOT)
    assert believed(envelope) == FIRST
    assert believed(envelope, after=seen(envelope, 1)) == FIRST
    assert roles.keyring(FIRST).named(FIRST.keys[0].id()) == (FIRST.keys[0],)


def test_a_new_key_is_listed_before_it_signs_and_the_old_one_stays_good():
    later = NOW + roles.LEAD_S
    second = key(since=later)
    document = roles.with_key(FIRST, second, NOW)
    assert document.version == 2
    assert roles.signing_key(document, KeyRole.SEAL, NOW) == FIRST.keys[0]
    assert roles.signing_key(document, KeyRole.SEAL, later) == second
    assert FIRST.keys[0] in roles.keyring(document).keys
    roles.require_settled(FIRST, KeyRole.SEAL, NOW)
    roles.require_settled(document, KeyRole.SEAL, later)
    with pytest.raises(errors.Conflict) as caught:
        roles.require_settled(document, KeyRole.SEAL, NOW)
    assert caught.value.code == "key.rotation.pending"
    assert roles.signing_key(roles.with_key(document, third := key(), NOW), KeyRole.SEAL, NOW) == third


def test_a_key_past_its_end_signs_no_more():
    assert roles.signing_key(FIRST, KeyRole.SEAL, NOW + roles.KEY_LIFETIME_S) is None


def test_a_revoked_key_signs_no_more_and_is_revoked_once():
    one = FIRST.keys[0]
    document = roles.revoked(FIRST, one.id(), NOW + 5)
    assert roles.signing_key(document, KeyRole.SEAL, NOW + 5) is None
    assert roles.signing_key(document, KeyRole.AUDIT, NOW + 5) == FIRST.keys[1]
    (listed,) = roles.keyring(document).named(one.id())
    assert listed
    assert listed.revoked == NOW + 5
    with pytest.raises(errors.Conflict):
        roles.revoked(document, one.id(), NOW + 6)
    with pytest.raises(errors.NotFound):
        roles.revoked(document, "00" * 32, NOW)


def test_an_older_document_and_a_second_one_of_the_same_version_are_refused():
    envelope = roles.signed(FIRST, ROOT)
    second = roles.signed(roles.revoked(FIRST, FIRST.keys[0].id(), NOW), ROOT)
    assert refusal(envelope, after=seen(second, 2)) == "roles.document.rolled_back"
    other = roles.signed(dataclasses.replace(FIRST, issued=NOW + 1), ROOT)
    assert refusal(other, after=seen(envelope, 1)) == "roles.document.forked"


def test_an_expired_document_is_closed():
    envelope = roles.signed(FIRST, ROOT)
    assert believed(envelope, now=FIRST.expires - 1) == FIRST
    assert refusal(envelope, now=FIRST.expires) == "roles.document.expired"
    assert not roles.is_stale(FIRST, NOW)
    assert roles.is_stale(FIRST, FIRST.expires - 1)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"site": "south"}, "roles.site.other"),
        ({"root": roles.public(KeySigner.made(Algorithm.ED25519))}, "roles.site.other"),
        (
            {"keys": (SEAL, dataclasses.replace(SEAL, role=KeyRole.AUDIT))},
            "roles.key.repeated",
        ),
        ({"keys": (key(site="south"),)}, "roles.key.foreign"),
        ({"format": 2}, "roles.format.newer"),
    ],
    ids=["site", "root", "repeated", "foreign", "newer"],
)
def test_a_document_that_says_something_else_is_refused_though_it_is_signed(
    change: dict[str, object], code: str
):
    assert refusal(roles.signed(dataclasses.replace(FIRST, **change), ROOT)) == code


def test_what_another_key_signed_is_refused_whatever_it_calls_itself():
    stranger = KeySigner.made(Algorithm.ECDSA_P256)
    envelope = json.loads(roles.signed(FIRST, stranger))
    assert refusal(json.dumps(envelope).encode()) == "roles.signature.wrong"
    envelope["signatures"][0]["keyid"] = key_id(ROOT.public_key())
    assert refusal(json.dumps(envelope).encode()) == "roles.signature.wrong"


def test_what_was_signed_as_something_else_is_no_role_document():
    envelope = json.loads(roles.signed(FIRST, ROOT))
    envelope["payloadType"] = "application/vnd.in-toto+json"
    assert refusal(json.dumps(envelope).encode()) == "roles.document.malformed"
    assert refusal(b"{}") == "roles.document.malformed"
    assert refusal(b"[" * 2_000_000) == "roles.document.malformed"


ENVELOPE = roles.signed(FIRST, ROOT)


@given(st.integers(0, len(ENVELOPE) * 8 - 1))
def test_no_bit_can_be_changed(bit: int):
    changed = bytearray(ENVELOPE)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        told = believed(bytes(changed))
    except errors.Error as error:
        told = error.code
    # The last digit of base64 has bits that mean nothing.
    assert told in (FIRST, "roles.document.malformed", "roles.signature.wrong")


def test_the_same_document_in_another_envelope_is_no_second_one():
    envelope = roles.signed(FIRST, ROOT)
    again = roles.signed(FIRST, ROOT)  # by another signature
    spaced = json.dumps(json.loads(envelope), indent=1).encode()
    assert len({envelope, again, spaced}) == 3
    for other in (again, spaced):
        assert believed(other, after=seen(envelope, 1)) == FIRST
        assert believed(envelope, after=seen(other, 1)) == FIRST


def test_what_is_too_long_for_a_document_is_not_even_parsed():
    assert refusal(roles.signed(FIRST, ROOT) + b" " * (1 << 20)) == "roles.document.malformed"
