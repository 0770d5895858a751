"""A certified image that the importing site converted, as people verify it: from the typed words on."""

import dataclasses
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.stories.test_certified_images import Office

from crossport import merkle
from crossport.certify.conversion import as_converted, attested, sealed_statement
from crossport.identity.signers import open_signer
from crossport.model.certified import Seal
from crossport.model.codec import from_plain
from crossport.model.conversion import Conversion, ConvertedDisk, Parameter, Tool

TOOL = Tool(
    name="virt-v2v",
    version="2.2.0",
    image="7a" * 32,
    parameters=(Parameter(name="root", value="first"),),
)
DISK = b"converted".ljust(1 << 20, b"\0")


class Converted(Office):
    """The importing site has converted the disk of ``one.ova`` and attested it with its own key."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.seal("one.ova")
        self.type("key", "make", self / "beta.key")
        (folder / "beta.json").write_text(self.type("key", "show", self / "beta.key", "--json"))
        self.type("image", "trust", self / "keyring.json", self / "beta.json", "--site", "beta")
        sealed = from_plain(json.loads(self.verify("one.ova", "--json"))["seal"], Seal)
        (folder / "root.raw").write_bytes(DISK)
        self.conversion = conversion_of(sealed)
        self.attest("web.conversion.json", "beta.key")

    def attest(self, name: str, key: str) -> None:
        (self.folder / name).write_bytes(attested(self.conversion, open_signer(self / key)))


def conversion_of(seal: Seal) -> Conversion:
    (disk,) = seal.manifest.disks
    tree = merkle.Tree(disk.chunk_size)
    for at in range(0, len(DISK), disk.chunk_size):
        tree.add(merkle.leaf(DISK[at : at + disk.chunk_size]))
    root = tree.root().hex()
    now = seal.made  # the clock of the desk stands still
    return Conversion(
        site="beta",
        cloud="compute",
        run=seal.run,
        seal=sealed_statement(seal),
        nonce="c0" * 16,
        tool=TOOL,
        input=(as_converted(disk),),
        output=(ConvertedDisk(id=disk.id, size=len(DISK), chunk_size=disk.chunk_size, root=root),),
        started=now,
        finished=now,
    )


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return Converted(tmp_path_factory.mktemp("office"))


def test_the_way_from_the_sealed_roots_to_the_converted_ones_is_told(office: Converted):
    beside = ("--conversion", office / "web.conversion.json", "--converted", office / "root.raw")
    told = office.verify("one.ova", *beside, "--tool", TOOL.image, "--explain")
    assert office.desk.code == 0, office.desk.stderr.getvalue()
    for step in (*range(1, 16), *range(18, 26)):
        assert f"\n    {step:2}  " in told
    (came,), (left,) = office.conversion.input, office.conversion.output
    assert f"{came.root[:16]}  {left.root[:16]}" in told
    found = json.loads(office.verify("one.ova", *beside, "--json"))
    assert from_plain(found["conversion"]["attested"], Conversion) == office.conversion


def test_an_attestation_is_shown_and_called_not_verified(office: Converted):
    told = office.type("image", "show", office / "one.ova", "--conversion", office / "web.conversion.json")
    assert told.startswith("Not verified")
    assert "virt-v2v 2.2.0" in told
    assert "root=first" in told


def test_another_disk_another_tool_and_the_exporters_word_are_refused_by_name(office: Converted):
    (office.folder / "other.raw").write_bytes(DISK.replace(b"converted", b"perverted"))
    office.attest("theirs.json", "seal.key")
    ours = ("--conversion", office / "web.conversion.json")
    for beside, code in (
        ((*ours, "--converted", office / "other.raw"), "conversion.disk.content"),
        ((*ours, "--tool", "00" * 32), "conversion.tool.unlisted"),
        (("--conversion", office / "theirs.json"), "conversion.site.foreign"),
    ):
        told = json.loads(office.verify("one.ova", *beside, "--json"))
        assert office.desk.code == 7
        assert told["refused"]["code"] == code


def test_what_is_named_beside_an_attestation_has_to_fit_it(office: Converted):
    ours, disk = ("--conversion", office / "web.conversion.json"), ("--converted", office / "root.raw")
    for beside, code in (
        (disk, "image.conversion.alone"),
        (("--tool", TOOL.image), "image.conversion.alone"),
        ((*ours, *disk, *disk), "image.conversion.count"),
        (("--conversion", office / "none.json"), "image.conversion.missing"),
    ):
        office.verify("one.ova", *beside)
        assert office.code == code
        assert office.desk.code == 2 or code == "image.conversion.missing"


def test_a_refused_attestation_spends_no_image(office: Converted, tmp_path: Path):
    seen = ("--seen", str(tmp_path / "seen.json"))
    office.verify("one.ova", *seen, "--conversion", office / "web.conversion.json", "--tool", "00" * 32)
    assert office.code == "conversion.tool.unlisted"
    office.verify("one.ova", *seen, "--conversion", office / "web.conversion.json")
    assert office.desk.code == 0


def attest(office: Converted, target: str, *options: str, key: str = "beta.key") -> str:
    """Attest by the command that ``one.ova`` was converted to root.raw; an option that is given counts."""
    means = {
        "--key": office / key,
        "--cloud": "compute",
        "--keyring": office / "keyring.json",
        "--policy": office / "policy.toml",
        "--converted": office / "root.raw",
        "--tool": "virt-v2v",
        "--tool-version": "2.2.0",
        "--tool-image": office / "web.json",
        "--began": datetime.fromtimestamp(office.conversion.started, UTC).isoformat(),
    }
    words = [word for pair in means.items() if pair[0] not in options for word in pair]
    return office.type("image", "attest", office / "one.ova", office / target, *words, *options)


def test_what_a_person_converted_is_attested_and_verified_like_a_site_s(office: Converted):
    attest(office, "mine.json", "--setting", "root=first")
    assert office.desk.code == 0, office.desk.stderr.getvalue()
    beside = ("--conversion", office / "mine.json", "--converted", office / "root.raw")
    found = json.loads(office.verify("one.ova", *beside, "--json"))
    said = from_plain(found["conversion"]["attested"], Conversion)
    tool = hashlib.sha256((office.folder / "web.json").read_bytes()).hexdigest()
    assert said.tool == dataclasses.replace(TOOL, image=tool)
    assert dataclasses.replace(said, tool=TOOL, nonce=office.conversion.nonce) == office.conversion
    again = attest(office, "mine.json")
    assert (again, office.code) == ("", "identity.file.taken")


def test_nothing_is_attested_that_nobody_could_verify(office: Converted):
    disk = ("--converted", office / "root.raw")
    later = datetime.fromtimestamp(office.conversion.started + 3600, UTC).isoformat()
    for options, key, code in (
        ((), "seal.key", "conversion.site.foreign"),
        (("--began", later), "beta.key", "conversion.time.order"),
        (("--began", "soon"), "beta.key", "cli.option.form"),
        (("--tool-image", office / "none"), "beta.key", "image.conversion.tool"),
        ((*disk, *disk), "beta.key", "image.conversion.count"),
    ):
        attest(office, "never.json", *options, key=key)
        assert office.code == code
    assert not (office.folder / "never.json").exists()
