"""Whatever signs passes one suite: a key in memory, and a key in a file."""

from pathlib import Path

import pytest

from crossport.identity.key_signer import KeySigner
from crossport.model.keyring import Algorithm
from crossport.spi.signer import Signer
from crossport.testing.conformance.signer import SignerConformance


class TestMemorySigner(SignerConformance):
    @pytest.fixture(params=Algorithm)
    def signer(self, request: pytest.FixtureRequest) -> Signer:
        return KeySigner.made(request.param)


class TestFileSigner(SignerConformance):
    @pytest.fixture(params=Algorithm)
    def signer(self, request: pytest.FixtureRequest, tmp_path: Path) -> Signer:
        KeySigner.made(request.param).keep(tmp_path / "seal.key")
        return KeySigner.opened(tmp_path / "seal.key")
