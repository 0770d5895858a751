"""The keyring: what a key is called, and what of it survives its JSON form."""

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from crossport.model.codec import decoded, encoded
from crossport.model.keyring import Algorithm, Key, Keyring, KeyRole, key_id

DER = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
KEY = Key(
    public_key=base64.b64encode(DER).decode(),
    algorithm=Algorithm.ED25519,
    site="alpha",
    role=KeyRole.SEAL,
    valid_from=1000.0,
    valid_until=2000.0,
)


def test_a_key_is_found_by_the_digest_of_its_public_half():
    ring = decoded(encoded(Keyring(keys=(KEY,))), Keyring)
    assert ring.named(key_id(DER)) == (KEY,)
    assert ring.named(key_id(DER + b"\0")) == ()


def test_a_key_that_is_no_base64_has_no_bytes():
    wrong = Key(
        public_key="not base64!",
        algorithm=Algorithm.ED25519,
        site="alpha",
        role=KeyRole.SEAL,
        valid_from=0.0,
        valid_until=1.0,
    )
    assert wrong.der() == b""
