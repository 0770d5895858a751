"""Files with keys to sign with: what is accepted as one, who may read it, and that OpenSSL understands it."""

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from crossport import errors
from crossport.identity.key_signer import KeySigner
from crossport.model.keyring import Algorithm


def kept(path: Path, key: PrivateKeyTypes, password: bytes = b"") -> Path:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(errors.Error) as caught:
        KeySigner.opened(path)
    assert str(path) in caught.value.text
    assert caught.value.remedy
    return caught.value.code


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "seal.key"
    KeySigner.made(Algorithm.ED25519).keep(path)
    for mode in (0o640, 0o604, 0o620):
        path.chmod(mode)
        assert refusal(path) == "identity.file.open"


def test_a_link_to_a_key_is_refused(tmp_path: Path) -> None:
    KeySigner.made(Algorithm.ED25519).keep(tmp_path / "seal.key")
    (tmp_path / "link.key").symlink_to(tmp_path / "seal.key")
    assert refusal(tmp_path / "link.key") == "identity.file.kind"


def test_keys_of_other_kinds_are_refused(tmp_path: Path) -> None:
    assert refusal(kept(tmp_path / "p384.key", ec.generate_private_key(ec.SECP384R1()))) == "signer.key.kind"
    assert refusal(kept(tmp_path / "rsa.key", rsa.generate_private_key(65537, 2048))) == "signer.key.kind"


def test_what_is_no_key_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.key") == "signer.key.absent"
    locked = kept(tmp_path / "locked.key", ec.generate_private_key(ec.SECP256R1()), b"password")
    assert refusal(locked) == "signer.key.damaged"
    locked.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    assert refusal(locked) == "signer.key.damaged"


def test_a_key_is_never_written_over_another(tmp_path: Path) -> None:
    first = KeySigner.made(Algorithm.ECDSA_P256)
    first.keep(tmp_path / "seal.key")
    with pytest.raises(errors.Conflict) as caught:
        KeySigner.made(Algorithm.ECDSA_P256).keep(tmp_path / "seal.key")
    assert caught.value.code == "identity.file.taken"
    assert KeySigner.opened(tmp_path / "seal.key").key_id == first.key_id
    assert [path.name for path in tmp_path.iterdir()] == ["seal.key"]


def test_openssl_proves_a_signature(tmp_path: Path) -> None:
    signer = KeySigner.made(Algorithm.ECDSA_P256)
    (tmp_path / "payload").write_bytes(b"what was sealed")
    (tmp_path / "signature").write_bytes(signer.sign(b"what was sealed"))
    (tmp_path / "public.der").write_bytes(signer.public_key())
    line = [
        "openssl",
        "dgst",
        "-sha256",
        "-verify",
        "public.der",
        "-keyform",
        "DER",
        "-signature",
        "signature",
    ]
    done = subprocess.run([*line, "payload"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "Verified OK\n", done.stderr
