"""Files encrypted to one reader: what was changed anywhere does not decrypt, and nothing of it is left."""

import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossport import errors
from crossport.identity import encrypted_file

PIECE = (64 << 10) + 16
"""A piece of the format with its tag."""
CONTENT = bytes(range(256)) * 800  # three pieces and a bit


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site") / "north.key"
    encrypted_file.make_key(path)
    return path


def encrypted(folder: Path, key: Path, content: bytes = CONTENT) -> bytes:
    (folder / "plain").write_bytes(content)
    encrypted_file.encrypt(folder / "plain", folder / "made.age", encrypted_file.recipient_of(key))
    made = (folder / "made.age").read_bytes()
    (folder / "made.age").unlink()
    return made


def decrypted(folder: Path, key: Path, sent: bytes) -> bytes:
    (folder / "sent.age").write_bytes(sent)
    encrypted_file.decrypt(folder / "sent.age", folder / "got", key)
    got = (folder / "got").read_bytes()
    (folder / "got").unlink()
    return got


def refusal(folder: Path, key: Path, sent: bytes) -> str:
    with pytest.raises(errors.Refused) as caught:
        decrypted(folder, key, sent)
    assert (caught.value.field, bool(caught.value.remedy)) == ("file", True)
    left = {path.name for path in folder.iterdir()}
    assert left <= {"plain", "sent.age"}, "nothing may be left of what was not authentic"
    return caught.value.code


@pytest.mark.parametrize("size", [0, 1, 64 << 10, len(CONTENT)])
def test_what_was_encrypted_comes_back(tmp_path: Path, key: Path, size: int):
    made = encrypted(tmp_path, key, CONTENT[:size])
    assert decrypted(tmp_path, key, made) == CONTENT[:size]
    assert CONTENT[:64] not in made


def test_pieces_that_are_missing_moved_repeated_or_added_are_refused(tmp_path: Path, key: Path):
    made = encrypted(tmp_path, key)
    start = len(made) - len(CONTENT) - 4 * 16
    head, pieces = made[:start], [made[at : at + PIECE] for at in range(start, len(made), PIECE)]
    assert len(pieces) == 4
    one, two, three, last = pieces
    for wrong in (
        [one, two, three],
        [one, two, last],
        [two, one, three, last],
        [one, one, two, three, last],
        [one, two, three, last, last],
        [one, two, three, last[:-1]],
        [one, two, three, last + b"\0"],
        [],
    ):
        assert refusal(tmp_path, key, head + b"".join(wrong)) == "encryption.file.broken"
    assert decrypted(tmp_path, key, head + b"".join(pieces)) == CONTENT


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0, 1 << 30))
def test_no_bit_can_be_changed(tmp_path: Path, key: Path, place: int):
    made = bytearray(encrypted(tmp_path, key, CONTENT[: 70 << 10]))
    # As often in the head as in the content, though that is longer by far.
    bit = place % (len(made) * 8) if place % 2 else place % (200 * 8)
    made[bit // 8] ^= 1 << bit % 8
    assert refusal(tmp_path, key, bytes(made)).startswith("encryption.file.")


def test_what_is_encrypted_to_somebody_else_and_what_is_no_such_file_is_refused(tmp_path: Path, key: Path):
    other = tmp_path / "keys"
    other.mkdir()
    encrypted_file.make_key(other / "other.key")
    folder = tmp_path / "work"
    folder.mkdir()
    made = encrypted(folder, key)
    assert refusal(folder, other / "other.key", made) == "encryption.file.foreign"
    for nothing in (b"", b"something else", made[:40]):
        assert refusal(folder, key, nothing) == "encryption.file.foreign"


def test_an_existing_file_is_not_written_over(tmp_path: Path, key: Path):
    (tmp_path / "plain").write_bytes(CONTENT)
    (tmp_path / "there").write_bytes(b"mine")
    with pytest.raises(errors.Conflict) as caught:
        encrypted_file.encrypt(tmp_path / "plain", tmp_path / "there", encrypted_file.recipient_of(key))
    assert caught.value.code == "encryption.target.taken"
    assert (tmp_path / "there").read_bytes() == b"mine"


def test_what_decrypted_is_for_its_owner_alone(tmp_path: Path, key: Path):
    (tmp_path / "sent.age").write_bytes(encrypted(tmp_path, key))
    encrypted_file.decrypt(tmp_path / "sent.age", tmp_path / "got", key)
    assert stat.S_IMODE((tmp_path / "got").stat().st_mode) == 0o600


@pytest.mark.parametrize("recipient", ["", "age1", "ssh-ed25519 AAAA", "north"])
def test_what_is_no_recipient_is_named_and_nothing_is_made(tmp_path: Path, recipient: str):
    (tmp_path / "plain").write_bytes(CONTENT)
    with pytest.raises(errors.Invalid) as caught:
        encrypted_file.encrypt(tmp_path / "plain", tmp_path / "made", recipient)
    assert (caught.value.code, caught.value.field) == ("encryption.recipient.malformed", "to")
    assert not (tmp_path / "made").exists()


def test_a_key_that_others_may_read_or_that_is_none_is_refused(tmp_path: Path, key: Path):
    path = tmp_path / "open.key"
    path.write_bytes(key.read_bytes())
    path.chmod(0o644)
    with pytest.raises(errors.Refused) as caught:
        encrypted_file.recipient_of(path)
    assert caught.value.code == "identity.file.open"
    path.chmod(0o600)
    for content in (b"", b"AGE-SECRET-KEY-1QQ", key.read_bytes() * 2):
        path.write_bytes(content)
        with pytest.raises(errors.Broken) as broken:
            encrypted_file.recipient_of(path)
        assert broken.value.code == "encryption.key.damaged"


def test_a_full_disk_and_a_directory_are_told_as_such(tmp_path: Path, key: Path):
    (tmp_path / "plain").write_bytes(CONTENT)
    recipient = encrypted_file.recipient_of(key)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(errors.Unavailable) as full:
            encrypted_file.encrypt(tmp_path / "plain", tmp_path / "made", recipient)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (full.value.code, "too large" in full.value.text) == ("encryption.file.unusable", True)
    with pytest.raises(errors.Unavailable) as caught:
        encrypted_file.encrypt(tmp_path, tmp_path / "made", recipient)
    assert (caught.value.code, "directory" in caught.value.text) == ("encryption.file.unusable", True)
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


def test_memory_is_bounded_however_long_the_file(tmp_path: Path, key: Path):
    size = 64 << 20
    with (tmp_path / "long").open("wb") as file:
        file.truncate(size)
    code = (
        "import resource, sys; from pathlib import Path; from crossport.identity import encrypted_file as it;"
        "names = [Path(name) for name in sys.argv[1:4]];"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "it.encrypt(names[0], names[1], it.recipient_of(names[2]));"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    line = [sys.executable, "-c", code, str(tmp_path / "long"), str(tmp_path / "long.age"), str(key)]
    grown = int(subprocess.run(line, capture_output=True, check=True, text=True).stdout)
    assert grown << 10 < size / 8
    (tmp_path / "long.age").unlink()


def test_the_age_of_others_reads_ours_and_we_read_theirs(tmp_path: Path, key: Path):
    (tmp_path / "ours.age").write_bytes(encrypted(tmp_path, key))
    read = subprocess.run(["age", "-d", "-i", key, tmp_path / "ours.age"], capture_output=True, check=True)
    assert read.stdout == CONTENT
    line = ["age", "-r", encrypted_file.recipient_of(key), tmp_path / "plain"]
    theirs = subprocess.run(line, capture_output=True, check=True).stdout
    assert decrypted(tmp_path, key, theirs) == CONTENT
