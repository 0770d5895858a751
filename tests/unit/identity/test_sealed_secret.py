"""Secrets at rest: what is on disk, what happens when it is changed, moved or copied, and key changes."""

import os
import stat
from pathlib import Path

import pytest

from crossport import errors
from crossport.identity import MasterKeys, SealedFiles, SealedSecrets
from crossport.spi.secret import Secret

REFERENCE = "cloud/alpha/credential"
SECRET = Secret("correct horse battery staple")


def vault(home: Path, site: str = "north") -> SealedSecrets:
    keys = MasterKeys.open(home / "master" / "keys.json", entropy=os.urandom)
    return SealedSecrets(SealedFiles(home / "sealed"), keys, site=site, entropy=os.urandom)


def only_file(home: Path) -> Path:
    [file] = (home / "sealed").glob("*.sealed")
    return file


async def test_a_secret_comes_back_in_another_process_and_is_not_on_disk(tmp_path: Path) -> None:
    await vault(tmp_path).put(REFERENCE, SECRET)
    assert await vault(tmp_path).fetch(REFERENCE) == SECRET
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        assert path.is_dir() or b"correct" not in path.read_bytes()


async def test_the_same_secret_sealed_twice_looks_different(tmp_path: Path) -> None:
    await vault(tmp_path).put(REFERENCE, SECRET)
    first = only_file(tmp_path).read_bytes()
    await vault(tmp_path).put(REFERENCE, SECRET)
    second = only_file(tmp_path).read_bytes()
    assert first[9:] != second[9:]


async def test_any_changed_bit_is_noticed(tmp_path: Path) -> None:
    await vault(tmp_path).put(REFERENCE, SECRET)
    file = only_file(tmp_path)
    good = file.read_bytes()
    for position in range(len(good)):
        file.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(errors.Error, match=r"secret\.(seal\.broken|key\.missing|version\.newer)"):
            await vault(tmp_path).fetch(REFERENCE)
    file.write_bytes(good[:40])
    with pytest.raises(errors.Broken, match=r"secret\.seal\.broken"):
        await vault(tmp_path).fetch(REFERENCE)


async def test_a_sealed_secret_does_not_open_under_another_reference(tmp_path: Path) -> None:
    await vault(tmp_path).put(REFERENCE, SECRET)
    store = SealedFiles(tmp_path / "sealed")
    await store.write("cloud/beta/credential", await store.read(REFERENCE) or b"")
    with pytest.raises(errors.Broken, match=r"secret\.seal\.broken"):
        await vault(tmp_path).fetch("cloud/beta/credential")


async def test_a_sealed_secret_does_not_open_at_another_site(tmp_path: Path) -> None:
    await vault(tmp_path).put(REFERENCE, SECRET)
    with pytest.raises(errors.Broken, match=r"secret\.seal\.broken"):
        await vault(tmp_path, "south").fetch(REFERENCE)


async def test_a_secret_without_its_master_key_is_lost_and_says_so(tmp_path: Path) -> None:
    await vault(tmp_path).put(REFERENCE, SECRET)
    (tmp_path / "master" / "keys.json").unlink()
    with pytest.raises(errors.Broken, match=r"secret\.key\.missing"):
        await vault(tmp_path).fetch(REFERENCE)


async def test_after_a_change_of_the_master_key_the_old_one_opens_nothing(tmp_path: Path) -> None:
    await vault(tmp_path).put(REFERENCE, SECRET)
    await vault(tmp_path).put("token/first", Secret("t"))
    old = (tmp_path / "master" / "keys.json").read_bytes()
    long_running = vault(tmp_path)
    await vault(tmp_path).change_master_key()
    assert await vault(tmp_path).fetch(REFERENCE) == SECRET
    assert await long_running.fetch("token/first") == Secret("t")
    (tmp_path / "master" / "keys.json").write_bytes(old)
    with pytest.raises(errors.Broken, match=r"secret\.key\.missing"):
        await vault(tmp_path).fetch(REFERENCE)


async def test_a_process_that_missed_a_change_seals_under_the_new_key(tmp_path: Path) -> None:
    long_running = vault(tmp_path)
    await vault(tmp_path).change_master_key()
    await long_running.put(REFERENCE, SECRET)
    assert await vault(tmp_path).fetch(REFERENCE) == SECRET


async def test_a_process_that_missed_a_change_may_change_the_key_again(tmp_path: Path) -> None:
    await vault(tmp_path).put(REFERENCE, SECRET)
    long_running = vault(tmp_path)
    await vault(tmp_path).change_master_key()
    await long_running.change_master_key()
    assert await vault(tmp_path).fetch(REFERENCE) == SECRET


@pytest.mark.parametrize(
    "content", ["", "junk", "[]", '{"version": 1, "keys": []}', '{"version": 1, "keys": ["00"]}']
)
async def test_damaged_master_keys_are_named(tmp_path: Path, content: str) -> None:
    vault(tmp_path)
    (tmp_path / "master" / "keys.json").write_text(content)
    with pytest.raises(errors.Broken, match=r"secret\.key\.damaged"):
        vault(tmp_path)


async def test_another_master_key_of_the_right_size_opens_nothing(tmp_path: Path) -> None:
    await vault(tmp_path).put(REFERENCE, SECRET)
    other = f'{{"version": 1, "keys": ["{"00" * 32}"]}}'
    (tmp_path / "master" / "keys.json").write_text(other)
    with pytest.raises(errors.Broken, match=r"secret\.key\.missing"):
        await vault(tmp_path).fetch(REFERENCE)


class DyingFiles(SealedFiles):
    """A store whose process dies at the second write."""

    writes = 0

    async def write(self, reference: str, sealed: bytes) -> None:
        self.writes += 1
        if self.writes == 2:
            raise ConnectionResetError
        await super().write(reference, sealed)


async def test_a_crash_while_the_master_key_changes_loses_nothing(tmp_path: Path) -> None:
    for number in range(3):
        await vault(tmp_path).put(f"s/{number}", SECRET)
    keys = MasterKeys.open(tmp_path / "master" / "keys.json", entropy=os.urandom)
    dying = SealedSecrets(DyingFiles(tmp_path / "sealed"), keys, site="north", entropy=os.urandom)
    with pytest.raises(ConnectionResetError):
        await dying.change_master_key()
    assert [await vault(tmp_path).fetch(f"s/{number}") for number in range(3)] == [SECRET] * 3
    await vault(tmp_path).change_master_key()
    assert [await vault(tmp_path).fetch(f"s/{number}") for number in range(3)] == [SECRET] * 3


async def test_a_key_that_was_handed_in_serves_and_is_never_written(tmp_path: Path) -> None:
    keys = MasterKeys((bytes(range(32)),))
    secrets = SealedSecrets(SealedFiles(tmp_path), keys, site="north", entropy=os.urandom)
    await secrets.put(REFERENCE, SECRET)
    assert await secrets.fetch(REFERENCE) == SECRET
    assert not any(bytes(range(32)).hex().encode() in path.read_bytes() for path in tmp_path.iterdir())
    with pytest.raises(errors.Invalid, match=r"secret\.key\.size"):
        MasterKeys((b"short",))


async def test_a_forgotten_secret_is_gone_and_may_be_forgotten_again(tmp_path: Path) -> None:
    await vault(tmp_path).put(REFERENCE, SECRET)
    await vault(tmp_path).forget(REFERENCE)
    await vault(tmp_path).forget(REFERENCE)
    with pytest.raises(errors.NotFound, match=r"secret\.unknown"):
        await vault(tmp_path).fetch(REFERENCE)


@pytest.mark.parametrize("reference", ["../../escape", "..", ".", "a/b\\c", "ü*?", "%2F"])
async def test_no_reference_leaves_the_directory(tmp_path: Path, reference: str) -> None:
    await vault(tmp_path).put(reference, SECRET)
    assert await vault(tmp_path).fetch(reference) == SECRET
    assert await SealedFiles(tmp_path / "sealed").references() == (reference,)
    assert {path.name for path in tmp_path.iterdir()} == {"sealed", "master"}


@pytest.mark.parametrize("reference", ["", "a\0b", "a\nb", "x" * 300])
async def test_a_bad_reference_is_refused(tmp_path: Path, reference: str) -> None:
    with pytest.raises(errors.Invalid, match=r"secret\.reference"):
        await vault(tmp_path).put(reference, SECRET)


async def test_the_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    await vault(tmp_path).put(REFERENCE, SECRET)
    (tmp_path / "master" / "keys.json").write_text('{"version": 2, "keys": []}')
    with pytest.raises(errors.Conflict, match=r"secret\.version\.newer"):
        vault(tmp_path)


def test_a_derived_secret_is_the_same_at_each_node_and_another_for_each_purpose() -> None:
    one, other = MasterKeys((bytes(32),)), MasterKeys((bytes(31) + b"1",))
    assert one.derived("names") == MasterKeys((bytes(32),)).derived("names")
    assert len({one.derived("names"), one.derived("else"), other.derived("names"), bytes(32)}) == 4
