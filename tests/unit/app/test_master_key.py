"""A site whose master key is missing: it does not start with a new one over what the old one sealed."""

import os
from pathlib import Path

import pytest

from crossport import errors
from crossport.app.clock import SystemClock
from crossport.app.master_key import KEY_FILE, master_keys
from crossport.app.site import SiteSettings, open_site
from crossport.identity import MasterKeys, SealedFiles, SealedSecrets
from crossport.spi.secret import Secret


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
        await master_keys(tmp_path / "identity", tmp_path / "secrets")
    kept.rename(key)
    keys = await master_keys(tmp_path / "identity", tmp_path / "secrets")
    sealed = SealedSecrets(SealedFiles(tmp_path / "secrets"), keys, site="north", entropy=os.urandom)
    assert await sealed.fetch("cloud/alpha") == Secret("correct horse")


async def test_a_new_site_and_one_without_secrets_get_a_key(tmp_path: Path):
    for _ in range(2):
        await master_keys(tmp_path / "identity", tmp_path / "secrets")
        (tmp_path / "identity" / KEY_FILE).unlink()
