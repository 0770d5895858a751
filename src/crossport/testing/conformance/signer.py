"""What every signer promises, as tests.

Derive a class named ``Test…`` and give it the fixture ``signer``. Signatures are checked by OpenSSL, by way
of ``cryptography``, with what the signer says of itself.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from crossport.model.keyring import Algorithm, key_id
from crossport.spi.signer import Signer

__all__ = ["SignerConformance", "check_signature"]

PAYLOAD = b"DSSEv1 28 application/vnd.in-toto+json 2 {}"


def check_signature(signer: Signer, payload: bytes, signature: bytes) -> None:
    """Raise InvalidSignature when this is no signature of ``payload`` by the signer's key."""
    key = serialization.load_der_public_key(signer.public_key())
    if signer.algorithm is Algorithm.ED25519:
        assert isinstance(key, ed25519.Ed25519PublicKey)
        key.verify(signature, payload)
    else:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP256R1)
        key.verify(signature, payload, ec.ECDSA(hashes.SHA256()))


class SignerConformance:
    """Passes for everything that signs."""

    @pytest.fixture
    def signer(self) -> Signer:
        """Return the signer under test."""
        raise NotImplementedError("the implementation under test gives this fixture")

    def test_what_it_signs_is_proven_by_its_public_key(self, signer: Signer) -> None:
        check_signature(signer, PAYLOAD, signer.sign(PAYLOAD))

    def test_a_changed_payload_is_not_what_it_signed(self, signer: Signer) -> None:
        signature = signer.sign(PAYLOAD)
        with pytest.raises(InvalidSignature):
            check_signature(signer, PAYLOAD + b" ", signature)

    def test_its_name_is_the_digest_of_its_public_key_and_stays(self, signer: Signer) -> None:
        assert signer.key_id == key_id(signer.public_key())
        assert signer.public_key() == signer.public_key()

    def test_nothing_and_a_megabyte_are_signed_alike(self, signer: Signer) -> None:
        for payload in (b"", bytes(1 << 20)):
            check_signature(signer, payload, signer.sign(payload))

    def test_several_threads_sign_at_once(self, signer: Signer) -> None:
        payloads = [bytes([number]) * 32 for number in range(8)]
        with ThreadPoolExecutor(4) as pool:
            for payload, signature in zip(payloads, pool.map(signer.sign, payloads), strict=True):
                check_signature(signer, payload, signature)

    def test_it_does_not_show_its_key(self, signer: Signer) -> None:
        assert "PRIVATE" not in repr(signer)
        assert "PRIVATE" not in str(vars(type(signer)))
