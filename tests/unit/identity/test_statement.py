"""Signed statements between sites: believed for one receiver, one run and one site, with a good key."""

import base64
import dataclasses

import pytest
from tests.unit.migration.two_sites import Keys

from crossport import errors
from crossport.identity import statement as statements
from crossport.identity.key_signer import KeySigner
from crossport.identity.statement import Between
from crossport.model import codec
from crossport.model.keyring import Algorithm, KeyRole
from crossport.model.permit import SignedStatement, Stated, Statement, StatementKind

NOW = 1_000_000.0
SAID = Statement(kind=StatementKind.START_PERMITTED, site="a", run="r1", vm="vm-1", epoch=1, made=NOW)
STATED = Stated(to="b", initiator="a", statement=SAID)
BETWEEN = Between("a", "b", "a", "r1")


@pytest.fixture
def keys() -> Keys:
    return Keys("a", NOW)


def refused(signed: SignedStatement, keys: Keys, code: str, between: Between = BETWEEN, now: float = NOW):
    with pytest.raises(errors.Error) as caught:
        statements.believed(signed, keys.document, between, now)
    assert caught.value.code == code
    assert caught.value.remedy


async def test_a_partner_believes_what_was_signed_for_it(keys: Keys):
    assert statements.believed(await keys.sign(STATED), keys.document, BETWEEN, NOW) == SAID


@pytest.mark.parametrize(
    "between",
    [
        Between("c", "b", "a", "r1"),
        Between("a", "c", "a", "r1"),
        Between("a", "b", "b", "r1"),
        Between("a", "b", "a", "r2"),
    ],
)
async def test_it_holds_for_no_other_site_receiver_initiator_or_run(keys: Keys, between: Between):
    refused(await keys.sign(STATED), keys, "permit.statement.other", between)


async def test_what_was_changed_is_not_believed(keys: Keys):
    signed = await keys.sign(STATED)
    other = dataclasses.replace(STATED, statement=dataclasses.replace(SAID, kind=StatementKind.NO_PERMIT))
    payload = base64.b64encode(codec.encoded(other).encode()).decode()
    refused(dataclasses.replace(signed, payload=payload), keys, "permit.signature.wrong")
    refused(dataclasses.replace(signed, signature="AAAA"), keys, "permit.signature.wrong")
    refused(dataclasses.replace(signed, payload="no base64"), keys, "permit.statement.malformed")
    refused(statements.signed(b"{}", keys.permit), keys, "permit.statement.malformed")
    newer = codec.encoded(dataclasses.replace(STATED, version=2)).encode()
    refused(statements.signed(newer, keys.permit), keys, "permit.form.newer")


async def test_a_key_of_another_role_or_nobodys_is_not_believed(keys: Keys):
    seal, stranger = KeySigner.made(Algorithm.ED25519), KeySigner.made(Algorithm.ED25519)
    listed = (*keys.document.keys, keys.key(seal, NOW, KeyRole.SEAL))
    keys.document = dataclasses.replace(keys.document, keys=listed)
    for signer in (seal, stranger):
        signed = statements.signed(statements.payload_of(STATED), signer)
        refused(signed, keys, "permit.key.unknown")


async def test_a_key_that_is_revoked_or_over_is_not_believed(keys: Keys):
    signed = await keys.sign(STATED)
    (key,) = (one for one in keys.document.keys if one.role is KeyRole.PERMIT)
    refused(signed, keys, "permit.key.over", now=key.valid_until)
    keys.document = dataclasses.replace(keys.document, keys=(dataclasses.replace(key, revoked=NOW),))
    refused(signed, keys, "permit.key.over")


@pytest.mark.parametrize(
    "stated",
    [
        dataclasses.replace(STATED, statement=dataclasses.replace(SAID, site="b")),
        dataclasses.replace(STATED, statement=dataclasses.replace(SAID, run="")),
        dataclasses.replace(STATED, to="a"),
        dataclasses.replace(STATED, to=""),
    ],
)
async def test_the_signer_states_nothing_in_the_name_of_others(stated: Stated):
    with pytest.raises(errors.Refused) as caught:
        statements.judged(statements.payload_of(stated), "a")
    assert caught.value.code == "signer.statement.other"


async def test_the_signer_signs_nothing_but_statements():
    for payload in (b"", b"{}", b"DSSEv1", statements.payload_of(dataclasses.replace(STATED, version=2))):
        with pytest.raises(errors.Refused) as caught:
            statements.judged(payload, "a")
        assert caught.value.code == "signer.statement.malformed"
