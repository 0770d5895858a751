"""Whatever signs passes one suite: keys in memory, in a file, in a hardware module, and in a key service."""

from pathlib import Path

import pytest
from tests.unit.identity.key_places import KeyService, Tokens, kms, tokens

from crossport.identity.key_signer import KeySigner
from crossport.identity.signers import open_signer
from crossport.model.keyring import Algorithm
from crossport.spi.signer import Signer
from crossport.testing.conformance.signer import SignerConformance

__all__ = ["kms", "tokens"]


class TestMemorySigner(SignerConformance):
    @pytest.fixture(params=Algorithm)
    def signer(self, request: pytest.FixtureRequest) -> Signer:
        return KeySigner.made(request.param)


class TestFileSigner(SignerConformance):
    @pytest.fixture(params=Algorithm)
    def signer(self, request: pytest.FixtureRequest, tmp_path: Path) -> Signer:
        KeySigner.made(request.param).keep(tmp_path / "seal.key")
        return open_signer(str(tmp_path / "seal.key"))


class TestTokenSigner(SignerConformance):
    @pytest.fixture(params=Algorithm)
    def signer(self, request: pytest.FixtureRequest, tokens: Tokens) -> Signer:
        return open_signer(tokens.place(request.param))


class TestServiceSigner(SignerConformance):
    @pytest.fixture
    def signer(self, kms: KeyService) -> Signer:
        return open_signer(kms.make())
