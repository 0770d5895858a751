"""A site that is followed by its role documents in a file, from one root of it to the next."""

from pathlib import Path

import pytest
from tests.unit.identity.test_role_document import NOW, ROOT
from tests.unit.identity.test_root_step import ONE, SECOND, STRANGER, THIRD, TWO, signed_by

from crossport import errors
from crossport.cli.trust_file import follow


def refused(file: Path, envelope: bytes) -> str:
    with pytest.raises(errors.Refused) as caught:
        follow(file, envelope, "north", "", NOW)
    return caught.value.code


def test_a_followed_site_is_followed_to_its_next_roots_and_never_back(tmp_path: Path):
    file = tmp_path / "trust.json"
    follow(file, signed_by(ROOT, version=1), "north", ROOT.key_id, NOW)
    assert refused(file, signed_by(STRANGER, version=2)) == "trust.root.other"
    assert follow(file, signed_by(THIRD, ONE, TWO, version=3), "north", "", NOW).version == 3
    assert refused(file, signed_by(SECOND, ONE, version=4)) == "trust.root.other"
    assert follow(file, signed_by(THIRD, ONE, TWO, version=4), "north", "", NOW).version == 4
