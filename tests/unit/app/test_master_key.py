"""The master key of a site: missing, handed in by the environment, or encrypted by moto's key service.

A site does not start with another key over what the one before sealed.
"""

import base64
import os
from pathlib import Path

import pytest
from tests.unit.identity.key_places import KeyService, kms

from crossport import errors
from crossport.app.clock import SystemClock
from crossport.app.master_key import KEY_FILE, MasterSource, master_keys, source_of
from crossport.app.site import SiteSettings, open_site
from crossport.identity import MasterKeys, SealedFiles, SealedSecrets
from crossport.spi.secret import Secret

__all__ = ["kms"]

KEY = bytes(range(32))


async def sealed_site(state: Path) -> Path:
    """Seal a secret in ``state``; return where its key lies."""
    keys = MasterKeys.open(state / "identity" / KEY_FILE, entropy=os.urandom)
    sealed = SealedSecrets(SealedFiles(state / "secrets"), keys, site="north", entropy=os.urandom)
    await sealed.put("cloud/alpha", Secret("correct horse"))
    return state / "identity" / KEY_FILE


async def test_a_site_whose_key_is_missing_does_not_start_and_names_the_file_and_the_remedy(tmp_path: Path):
    key = await sealed_site(tmp_path)
    key.unlink()
    with pytest.raises(errors.Refused) as refusal:
        async with open_site(SiteSettings(name="north", state_dir=tmp_path), SystemClock()):
            pass
    assert (refusal.value.code, str(key) in refusal.value.text) == ("identity.key.lost", True)
    assert str(key) in refusal.value.remedy
    assert str(tmp_path / "secrets") in refusal.value.remedy
    assert not key.exists()


async def test_the_key_that_was_brought_back_opens_the_secrets(tmp_path: Path):
    key = await sealed_site(tmp_path)
    kept = key.rename(tmp_path / "backup")
    with pytest.raises(errors.Refused):
        await master_keys(tmp_path / "identity", tmp_path / "secrets", MasterSource())
    kept.rename(key)
    keys = await master_keys(tmp_path / "identity", tmp_path / "secrets", MasterSource())
    sealed = SealedSecrets(SealedFiles(tmp_path / "secrets"), keys, site="north", entropy=os.urandom)
    assert await sealed.fetch("cloud/alpha") == Secret("correct horse")


async def test_a_new_site_and_one_without_secrets_get_a_key(tmp_path: Path):
    for _ in range(2):
        await master_keys(tmp_path / "identity", tmp_path / "secrets", MasterSource())
        (tmp_path / "identity" / KEY_FILE).unlink()


async def put(state: Path, source: MasterSource) -> None:
    """Seal a secret with the key of ``source``."""
    keys = await master_keys(state / "identity", state / "secrets", source)
    await SealedSecrets(SealedFiles(state / "secrets"), keys, site="north", entropy=os.urandom).put(
        "cloud/alpha", Secret("correct horse")
    )


async def found(state: Path, source: MasterSource) -> Secret:
    """Return the secret as a site that starts anew finds it."""
    keys = await master_keys(state / "identity", state / "secrets", source)
    sealed = SealedSecrets(SealedFiles(state / "secrets"), keys, site="north", entropy=os.urandom)
    return await sealed.fetch("cloud/alpha")


def handed(*keys: bytes) -> MasterSource:
    """Return what the environment hands in; it is gone from there."""
    environment = {"CUSTODY": ", ".join(base64.b64encode(key).decode() for key in keys)}
    source = source_of("env:CUSTODY", environment)
    assert not environment
    assert "handed" not in repr(source)
    return source


async def test_a_key_of_the_environment_is_kept_nowhere(tmp_path: Path):
    await put(tmp_path, handed(KEY))
    assert await found(tmp_path, handed(KEY)) == Secret("correct horse")
    assert await found(tmp_path, handed(KEY, bytes(32))) == Secret("correct horse")
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(form in each for each in kept for form in (KEY, KEY.hex().encode(), base64.b64encode(KEY)))


async def test_a_key_of_the_environment_that_does_not_fit_is_told(tmp_path: Path):
    await put(tmp_path, handed(KEY))
    with pytest.raises(errors.Refused) as refusal:
        await found(tmp_path, handed(bytes(32)))
    assert (refusal.value.code, refusal.value.field) == ("identity.key.other", "master_key")
    await sealed_site(tmp_path / "other")
    with pytest.raises(errors.Refused) as refusal:
        await found(tmp_path / "other", handed(KEY))
    assert refusal.value.code == "identity.key.two"


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("env:NOWHERE", "no NOWHERE"),
        ("env:SHORT", "of 32 bytes"),
        ("env:WORDS", "in base64"),
        ("vault:secret", "names no master key"),
        ("awskms:arn:aws:s3:::bucket", "where a key lies"),
    ],
)
def test_a_place_that_holds_no_key_is_told_and_not_what_it_held(place: str, said: str):
    environment = {"SHORT": "c2hvcnQ=", "WORDS": "correct horse battery"}
    with pytest.raises(errors.Invalid, match=said) as refusal:
        source_of(place, environment)
    assert "horse" not in refusal.value.text + refusal.value.remedy
    assert refusal.value.remedy


async def test_a_file_that_a_key_service_encrypted_opens_by_it_alone(tmp_path: Path, kms: KeyService):
    place = kms.make("SYMMETRIC_DEFAULT")
    await put(tmp_path, source_of(place, {}))
    assert await found(tmp_path, source_of(place, {})) == Secret("correct horse")
    assert b"keys" not in (tmp_path / "identity" / KEY_FILE).read_bytes()
    with pytest.raises(errors.Refused) as refusal:
        await found(tmp_path, MasterSource())
    assert refusal.value.code == "secret.key.wrapped"
    with pytest.raises(errors.Refused) as refusal:
        await found(tmp_path, source_of(kms.make("SYMMETRIC_DEFAULT"), {}))
    assert (refusal.value.code, "kms:Decrypt" in refusal.value.remedy) == ("signer.kms.refused", True)


async def test_a_clear_file_is_encrypted_once_a_key_service_is_named(tmp_path: Path, kms: KeyService):
    key = await sealed_site(tmp_path)
    before = key.read_bytes()
    source = source_of(kms.make("SYMMETRIC_DEFAULT"), {})
    assert await found(tmp_path, source) == Secret("correct horse")
    assert MasterKeys.open(key, entropy=os.urandom, wrap=source.wrap).current.hex() not in key.read_text()
    assert key.read_bytes() != before
    assert b"wrapped" in key.read_bytes()


async def test_a_master_key_that_is_changed_stays_encrypted(tmp_path: Path, kms: KeyService):
    source = source_of(kms.make("SYMMETRIC_DEFAULT"), {})
    await put(tmp_path, source)
    keys = await master_keys(tmp_path / "identity", tmp_path / "secrets", source)
    sealed = SealedSecrets(SealedFiles(tmp_path / "secrets"), keys, site="north", entropy=os.urandom)
    await sealed.change_master_key()
    assert b"wrapped" in (tmp_path / "identity" / KEY_FILE).read_bytes()
    assert await found(tmp_path, source) == Secret("correct horse")
