"""Places where keys lie outside this process: SoftHSM's tokens, and moto's key management service."""

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pkcs11
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto.kms import utils as moto_keys
from moto.server import ThreadedMotoServer
from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.util.ec import encode_named_curve_parameters

from crossport.model.keyring import Algorithm

LIBRARY = "/usr/lib/softhsm/libsofthsm2.so"
TOKEN, PIN = "site", "4711"
_EDWARDS25519 = b"\x13\x0cedwards25519"


class Tokens:
    """SoftHSM with one token in a directory; a process reads its configuration once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "tokens").mkdir()
        (directory / "conf").write_text(f"directories.tokendir = {directory}/tokens\nlog.level = ERROR\n")
        self.pin = directory / "pin"
        self.pin.touch(mode=0o600)
        self.pin.write_text(PIN + "\n")
        self.environment = dict(os.environ, SOFTHSM2_CONF=str(directory / "conf"))
        line = ["softhsm2-util", "--init-token", "--free", "--label", TOKEN, "--pin", PIN, "--so-pin", "1234"]
        subprocess.run(line, env=self.environment, check=True, capture_output=True)

    def place(self, label: str, *, token: str = TOKEN, pin: Path | None = None) -> str:
        """Return where the key ``label`` lies."""
        path = f"pkcs11:token={quote(token)};object={quote(label)}"
        return f"{path}?module-path={LIBRARY}&pin-source={pin or self.pin}"

    def make(self, label: str, algorithm: Algorithm | None) -> None:
        """Make a key; None makes one of a curve that Crossport does not use."""
        with pkcs11.lib(LIBRARY).get_token(token_label=TOKEN).open(rw=True, user_pin=PIN) as session:
            if algorithm is Algorithm.ED25519:
                parameters = session.create_domain_parameters(
                    KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: _EDWARDS25519}, local=True
                )
                how = Mechanism.EC_EDWARDS_KEY_PAIR_GEN
            else:
                curve = encode_named_curve_parameters("secp256r1" if algorithm else "secp384r1")
                parameters = session.create_domain_parameters(
                    KeyType.EC, {Attribute.EC_PARAMS: curve}, local=True
                )
                how = Mechanism.EC_KEY_PAIR_GEN
            parameters.generate_keypair(mechanism=how, store=True, label=label)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Generator[Tokens]:
    """SoftHSM with a key of each algorithm, by its name."""
    with pytest.MonkeyPatch.context() as patch:
        made = Tokens(tmp_path_factory.mktemp("softhsm"))
        patch.setenv("SOFTHSM2_CONF", made.environment["SOFTHSM2_CONF"])
        pkcs11.lib(LIBRARY).reinitialize()
        for algorithm in Algorithm:
            made.make(algorithm.value, algorithm)
        made.make("p384", None)
        yield made


class _Digested(moto_keys.ECDSAPrivateKey):
    """A key that signs the digest it is given. moto leaves MessageType out and would digest it once more."""

    def sign(self, message: bytes, signing_algorithm: str) -> bytes:
        assert signing_algorithm == "ECDSA_SHA_256"
        return self.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256())))


class KeyService:
    """moto's key management service on a loopback port."""

    def __init__(self, endpoint: str) -> None:
        library: Any = boto3
        self.endpoint = endpoint
        self.client = library.client("kms", endpoint_url=endpoint, region_name="eu-central-1")

    def make(self, kind: str = "ECC_NIST_P256") -> str:
        """Make a key; return where it lies."""
        usage = "ENCRYPT_DECRYPT" if kind == "SYMMETRIC_DEFAULT" else "SIGN_VERIFY"
        arn = self.client.create_key(KeyUsage=usage, KeySpec=kind)["KeyMetadata"]["Arn"]
        return self.place(arn)

    def place(self, arn: str) -> str:
        """Return where the key lies."""
        return f"awskms:{arn}?endpoint={self.endpoint}"


@contextmanager
def key_service() -> Generator[KeyService]:
    """Run the service."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield KeyService(f"http://{host}:{port}")
    finally:
        server.stop()


@pytest.fixture(scope="module")
def kms() -> Generator[KeyService]:
    """The key service, with a login for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "something")
        patch.setattr(moto_keys, "ECDSAPrivateKey", _Digested)
        with key_service() as service:
            yield service
