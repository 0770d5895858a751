"""Certified images as people make and judge them: real packages as files, from the typed words on."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.cli.desk import Desk

from crossport.identity import role_document as roles
from crossport.identity.key_signer import KeySigner
from crossport.model.keyring import Algorithm, Key, KeyRole
from crossport.model.role import RoleDocument
from crossport.testing import images

POLICY = """
version = 1
site = "beta"
required_checks = ["image.inspection"]

[[partners]]
site = "alpha"
"""
SBOM = json.dumps({"bomFormat": "CycloneDX", "components": [{"name": "xz-utils", "version": "5.6.1-1"}]})


class Office:
    """Two sites at one desk: alpha seals, beta verifies."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk(folder / "nowhere")
        self.folder = folder
        (folder / "web.ova").write_bytes(images.ova())
        (folder / "policy.toml").write_text(POLICY)
        (folder / "web.json").write_text(SBOM)
        self.type("key", "make", self / "seal.key")
        (folder / "alpha.json").write_text(self.type("key", "show", self / "seal.key", "--json"))
        self.type("image", "trust", self / "keyring.json", self / "alpha.json", "--site", "alpha")

    def __truediv__(self, name: str) -> str:
        return str(self.folder / name)

    def type(self, *words: str) -> str:
        return self.desk.type(*words)

    def seal(self, target: str, *options: str, importer: str = "beta") -> str:
        terms = {"--key": self / "seal.key", "--site": "alpha", "--cloud": "lab", "--for": importer}
        words = [word for pair in terms.items() if pair[0] not in options for word in pair]
        return self.type("image", "seal", self / "web.ova", self / target, *words, *options)

    def verify(self, target: str, *options: str) -> str:
        by = ("--keyring", self / "keyring.json", "--policy", self / "policy.toml")
        return self.type("image", "verify", self / target, *by, *options)

    @property
    def code(self) -> str:
        """The code of the last error, empty for none."""
        told = self.desk.stderr.getvalue()
        return told.partition("Code: ")[2].strip() if self.desk.code else ""


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Office:
    """One office with one sealed archive and one sealed directory."""
    made = Office(tmp_path_factory.mktemp("office"))
    for target in ("one.ova", "several.ovf"):
        made.seal(target, "--sbom", made / "web.json")
        assert not made.code, made.desk.stderr.getvalue()
    return made


@pytest.mark.parametrize("target", ["one.ova", "several.ovf"])
def test_a_sealed_package_is_verified_and_every_step_is_told(office: Office, target: str):
    told = office.verify(target, "--explain")
    assert office.desk.code == 0, office.desk.stderr.getvalue()
    for step in range(1, 17):
        assert f"\n    {step:2}  " in told


def test_an_image_is_accepted_once(office: Office, tmp_path: Path):
    seen = ("--seen", str(tmp_path / "seen.json"))
    office.verify("one.ova", *seen)
    assert office.desk.code == 0
    told = office.verify("one.ova", *seen, "--explain")
    assert (office.desk.code, office.code) == (7, "seal.replay.nonce")
    assert "9  REFUSED: The image was accepted before" in told
    told = json.loads(office.verify("one.ova", *seen, "--json"))
    assert told["refused"]["code"] == "seal.replay.nonce"
    assert told["refused"]["step"] == 9
    assert [reason["step"] for reason in told["reasons"]] == list(range(1, 9))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_bit_of_the_file_counts(office: Office, place: float, bit: int):
    sound = (office.folder / "one.ova").read_bytes()
    at = int(place * len(sound))
    (office.folder / "bad.ova").write_bytes(sound[:at] + bytes([sound[at] ^ 1 << bit]) + sound[at + 1 :])
    office.verify("bad.ova")
    assert office.desk.code == 7, at
    assert office.code.startswith("seal.")


def test_a_disk_in_another_form_is_sealed_as_a_stream(office: Office):
    plain = office.folder / "web.ova"
    stream = plain.read_bytes()
    try:
        text = images.ovf().replace(b"vmdk.html#streamOptimized", b"vmdk.html#sparse")
        plain.write_bytes(images.ova(text=text, disk=images.vmdk()))
        office.seal("sparse.ova")
        assert not office.code, office.desk.stderr.getvalue()
        one, two = (json.loads(office.verify(name, "--json")) for name in ("one.ova", "sparse.ova"))
    finally:
        plain.write_bytes(stream)
    first, second = (found["seal"]["manifest"]["disks"][0] for found in (one, two))
    assert first["root"] == second["root"]
    assert second["format"] == "vmdk-stream"


def test_a_changed_file_of_a_directory_is_named(office: Office):
    disk = office.folder / "several-disk1.vmdk"
    sound = disk.read_bytes()
    try:
        disk.write_bytes(sound[:-1] + b"\1")
        office.verify("several.ovf")
        assert office.code == "seal.disk.altered"
        assert "several-disk1.vmdk" in office.desk.stderr.getvalue()
        disk.unlink()
        office.verify("several.ovf")
        assert office.code == "seal.file.missing"
    finally:
        disk.write_bytes(sound)


def test_an_image_for_another_site_is_refused(office: Office):
    office.seal("other.ova", importer="gamma")
    office.verify("other.ova")
    assert (office.desk.code, office.code) == (7, "seal.importer.other")


def test_a_package_without_a_seal_is_no_certified_image(office: Office):
    office.type("image", "export", office / "plain.ovf", office / "several-disk1.vmdk")
    office.type("image", "show", office / "plain.ovf")
    assert (office.desk.code, office.code) == (7, "seal.file.absent")


def test_what_a_seal_says_can_be_read_without_keys_and_is_called_not_verified(office: Office):
    told = office.type("image", "show", office / "one.ova")
    assert told.startswith("Not verified")
    assert "alpha, cloud lab" in told


def test_nothing_is_overwritten_and_nothing_is_left_of_a_failure(office: Office):
    before = sorted(office.folder.iterdir())
    office.seal("one.ova")
    assert (office.desk.code, office.code) == (2, "image.target.exists")
    office.seal("new.ova", "--check", "malware.scan=fine")
    assert (office.desk.code, office.code) == (2, "image.seal.check")
    office.seal("new.ova", "--sbom", office / "nowhere")
    assert (office.desk.code, office.code) == (2, "image.seal.part")
    assert sorted(office.folder.iterdir()) == before


WRONG_TERMS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "ends before it begins": (("--hours", "-1"), "image.seal.period", "--hours"),
    "no number": (("--hours", "nan"), "image.seal.period", "--hours"),
    "for ever": (("--hours", "100000"), "image.seal.period", "--hours"),
    "no site": (("--site", ""), "image.seal.word", "--site"),
    "terminal": (("--cloud", "\x1b[2J"), "image.seal.word", "--cloud"),
    "no check": (("--check", "malware.scan"), "cli.option.form", "malware.scan=passed"),
}


@pytest.mark.parametrize(("options", "code", "said"), WRONG_TERMS.values(), ids=WRONG_TERMS)
def test_what_no_importer_would_take_is_not_sealed(
    office: Office, options: tuple[str, ...], code: str, said: str
):
    office.seal("new.ova", *options)
    assert (office.desk.code, office.code) == (2, code)
    assert said in office.desk.stderr.getvalue()
    assert not (office.folder / "new.ova").exists()


def test_a_name_or_an_sbom_that_no_importer_would_take_is_not_sealed(office: Office):
    office.seal("a (copy).ova")
    assert (office.desk.code, office.code) == (2, "image.seal.name")
    office.seal("new.ova", "--sbom", office / "alpha.json")
    assert office.code == "seal.sbom.invalid"
    assert not (office.folder / "new.ova").exists()


@pytest.mark.parametrize("days", ["0", "-1", "nan", "1e12"])
def test_a_key_is_trusted_for_a_time_that_there_is(office: Office, days: str):
    office.type("key", "make", office / f"{days}.key")
    (office.folder / "other.json").write_text(office.type("key", "show", office / f"{days}.key", "--json"))
    trusts = ("image", "trust", office / "keyring.json", office / "other.json", "--site", "alpha")
    office.type(*trusts, "--days", days)
    assert (office.desk.code, office.code) == (2, "image.seal.period")


@pytest.mark.parametrize("name", ["keyring.json", "policy.toml"])
def test_nobody_else_decides_whom_to_trust(office: Office, name: str):
    path = office.folder / name
    before = path.stat().st_mode
    path.chmod(0o666)
    office.verify("one.ova")
    path.chmod(before)
    assert (office.desk.code, office.code) == (7, "trust.file.open")


def test_a_place_where_nothing_can_be_written_is_told_with_its_path(office: Office):
    office.type("key", "make", office / "nowhere/seal.key")
    assert (office.code, "nowhere/seal.key" in office.desk.stderr.getvalue()) == (
        "identity.file.unusable",
        True,
    )
    office.type("key", "show", str(office.folder))
    assert office.code == "identity.file.kind"
    office.type("image", "trust", office / "nowhere/keyring.json", office / "alpha.json", "--site", "alpha")
    assert office.code == "identity.file.unusable"
    office.verify("one.ova", "--seen", office / "nowhere/seen")
    assert office.code == "identity.file.unusable"
    office.type("image", "encryption-key", office / "nowhere/age.key")
    assert office.code == "identity.file.unusable"


def test_a_package_is_encrypted_to_the_recipient_in_a_file(office: Office, tmp_path: Path):
    (tmp_path / "beta.json").write_text(
        office.type("image", "encryption-key", str(tmp_path / "beta.key"), "--json")
    )
    for number, to in enumerate(("beta.json", "beta.key")):
        made = str(tmp_path / f"{number}.age")
        office.type("image", "encrypt", office / "one.ova", made, "--to", str(tmp_path / to))
        assert not office.code, office.desk.stderr.getvalue()
        back = tmp_path / f"{number}.ova"
        office.type("image", "decrypt", made, str(back), "--key", str(tmp_path / "beta.key"))
        assert back.read_bytes() == (office.folder / "one.ova").read_bytes()
    office.type("image", "encrypt", office / "one.ova", str(tmp_path / "no"), "--to", office / "policy.toml")
    assert (office.desk.code, office.code) == (2, "encryption.recipient.file")


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("version = 2\nsite = 'beta'", "policy.file.newer", "version 2"),
        ("site = 'beta'\npartner = []", "input.field.invalid", "partner"),
        ("site = ", "trust.file.invalid", "bad.toml"),
    ],
    ids=["newer", "unknown-field", "no-toml"],
)
def test_a_policy_that_cannot_be_read_is_told_with_its_file(
    office: Office, tmp_path: Path, text: str, code: str, said: str
):
    bad = tmp_path / "bad.toml"
    bad.write_text(text)
    options = ("--keyring", office / "keyring.json", "--policy", str(bad))
    office.type("image", "verify", office / "one.ova", *options)
    assert (office.desk.code, office.code) == (2, code)
    assert said in office.desk.stderr.getvalue()


@pytest.mark.parametrize(
    ("text", "said"), [('{"site": "beta",, }', "line 1: expected"), ("site: \x01", "byte 6: special")]
)
def test_what_is_wrong_with_a_policy_in_json_is_told_in_a_line(
    office: Office, tmp_path: Path, text: str, said: str
):
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    options = ("--keyring", office / "keyring.json", "--policy", str(bad))
    office.type("image", "verify", office / "one.ova", *options)
    assert (office.desk.code, office.code) == (2, "trust.file.invalid")
    assert said in office.desk.stderr.getvalue().splitlines()[0]


def test_a_key_is_trusted_once_and_only_from_what_key_show_prints(office: Office):
    office.type("image", "trust", office / "keyring.json", office / "alpha.json", "--site", "alpha")
    assert office.code == "trust.key.known"
    office.type("image", "trust", office / "keyring.json", office / "policy.toml", "--site", "alpha")
    assert office.code == "trust.key.unreadable"


class Roles:
    """The role document of alpha, whose seal key is the office's."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.root = KeySigner.made(Algorithm.ED25519)
        signer = KeySigner.opened(office.folder / "seal.key")
        now = office.desk.wall()
        key = Key(
            public_key=roles.public(signer),
            algorithm=signer.algorithm,
            site="alpha",
            role=KeyRole.SEAL,
            valid_from=now - 60,
            valid_until=now + 9e6,
        )
        self.document = RoleDocument(
            site="alpha", version=1, root=roles.public(self.root), issued=now, expires=now + 9e5, keys=(key,)
        )

    def bring(self, *options: str, root: KeySigner | None = None) -> str:
        """Bring the document to beta."""
        (self.office.folder / "alpha.roles").write_bytes(roles.signed(self.document, root or self.root))
        files = (self.office / "followed.json", self.office / "alpha.roles")
        return self.office.type("image", "trust", *files, "--site", "alpha", *options)

    def verify(self) -> None:
        """Verify an image by the keys that beta has of alpha."""
        by = ("--keyring", self.office / "followed.json", "--policy", self.office / "policy.toml")
        self.office.type("image", "verify", self.office / "one.ova", *by)


def test_a_site_is_followed_by_its_role_documents_and_never_back(office: Office):
    alpha = Roles(office)
    alpha.bring()
    assert office.code == "trust.root.unstated"
    alpha.bring("--root", "0" * 64)
    assert office.code == "trust.root.other"
    assert alpha.document.keys[0].id() in alpha.bring("--root", alpha.root.key_id)
    alpha.verify()
    assert not office.code, office.desk.stderr.getvalue()
    first = alpha.document
    alpha.document = roles.revoked(first, first.keys[0].id(), office.desk.wall())
    alpha.bring(root=KeySigner.made(Algorithm.ED25519))
    assert office.code == "roles.signature.wrong"
    alpha.bring()
    alpha.verify()
    assert office.code == "seal.key.revoked"
    alpha.document = first
    alpha.bring()
    assert office.code == "roles.document.rolled_back"
    office.type("image", "trust", office / "followed.json", office / "alpha.json", "--site", "alpha")
    assert office.code == "trust.key.known"
    KeySigner.made(Algorithm.ED25519).keep(office.folder / "more.key")
    (office.folder / "more.json").write_text(office.type("key", "show", office / "more.key", "--json"))
    office.type("image", "trust", office / "followed.json", office / "more.json", "--site", "alpha")
    assert office.code == "trust.site.followed"


def test_a_key_is_not_believed_longer_than_its_role_document(office: Office):
    alpha = Roles(office)
    (office.folder / "followed.json").unlink(missing_ok=True)
    alpha.bring("--root", alpha.root.key_id)
    (key,) = json.loads((office.folder / "followed.json").read_text())["keys"]
    assert key["valid_until"] == alpha.document.expires
