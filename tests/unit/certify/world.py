"""An exporting site that seals a small VM, and an importing site that verifies it: all in memory."""

import base64
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from crossport import merkle
from crossport.certify.archive import END, entries, header, padding
from crossport.certify.listing import certificate_file, listing, own_certificate
from crossport.certify.package import Described, PackageNames, verify_package
from crossport.certify.replay import Seen
from crossport.certify.seal import sealed
from crossport.certify.verify import Importer, Verification, Verified
from crossport.convert.appliance import Appliance, ApplianceDisk
from crossport.convert.ovf_read import read_descriptor
from crossport.convert.ovf_write import descriptor
from crossport.convert.reader import BytesReader
from crossport.identity.key_signer import KeySigner
from crossport.model.certified import Check, Manifest, Outcome, Part, PartKind, Seal, SealedDisk
from crossport.model.import_policy import ForbiddenPackage, ImportPolicy, Partner
from crossport.model.keyring import Algorithm, Key, Keyring, KeyRole
from crossport.model.statement import canonical, pae, payload_of
from crossport.units import MIB

NOW = 1_795_262_400.0
HOUR = 3600.0
CHUNK = 1 << 16
NAMES = PackageNames("web.ovf")
DISKS = {"disk1": b"root".ljust(2 * CHUNK + 10_000, b"r"), "disk2": b"data" + bytes(CHUNK * 2) + b"tail"}
SBOM = json.dumps(
    {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "components": [
            {"name": "openssl", "version": "3.0.17", "purl": "pkg:deb/debian/openssl@3.0.17?arch=a/b"},
            {"name": "app", "version": "1", "components": [{"name": "xz-utils", "version": "5.6.1-1"}]},
        ],
    }
).encode()
EXTRAS = {PartKind.VARIABLES: b"variables" * 99, PartKind.TPM: b"tpm" * 99, PartKind.SBOM: SBOM}


def leaves_of(content: bytes) -> list[bytes]:
    return [merkle.leaf(content[at : at + CHUNK]) for at in range(0, len(content), CHUNK)]


def root_of(content: bytes) -> str:
    tree = merkle.Tree(CHUNK)
    for leaf in leaves_of(content):
        tree.add(leaf)
    return tree.root().hex()


def part(kind: PartKind, name: str, content: bytes) -> Part:
    return Part(kind=kind, name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def key(signer: KeySigner, **changes: Any) -> Key:
    facts: dict[str, Any] = {
        "public_key": base64.b64encode(signer.public_key()).decode(),
        "algorithm": signer.algorithm,
        "site": "alpha",
        "role": KeyRole.SEAL,
        "valid_from": NOW - 1000 * HOUR,
        "valid_until": NOW + 1000 * HOUR,
    }
    return Key(**(facts | changes))


@dataclass
class MemoryPackage:
    """The files of an archive in memory; its disks are raw."""

    files: dict[str, bytes]
    descriptor: str = NAMES.descriptor
    alone: bool = True
    read: list[str] = field(default_factory=list[str])
    most: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def names(self) -> Collection[str]:
        return self.files

    def content(self, name: str, most: int) -> bytes:
        self.read.append(name)
        self.most[name] = most
        return self.files[name][: most + 1]

    def digest(self, name: str) -> tuple[int, str]:
        return len(self.files[name]), hashlib.sha256(self.files[name]).hexdigest()

    def described(self, descriptor: bytes) -> tuple[str, Sequence[Described]]:
        found = read_descriptor(descriptor).appliance
        return found.name, [Described(disk.file, disk.size) for disk in found.disks]

    def chunks(self, disk: SealedDisk) -> Iterator[bytes | int]:
        content = self.files[disk.file or ""]
        for at in range(0, len(content), disk.chunk_size):
            chunk = content[at : at + disk.chunk_size]
            yield chunk if chunk.strip(b"\0") or len(chunk) < disk.chunk_size else 1


class World:
    """One image on its way. An attack changes what it likes, and `verify` is what the importer does."""

    def __init__(self, algorithm: Algorithm = Algorithm.ECDSA_P256) -> None:
        self.signer = KeySigner.made(algorithm)
        self.keys = [key(self.signer)]
        self.policy = ImportPolicy(
            site="beta",
            partners=(Partner(site="alpha"),),
            required_checks=("image.inspection",),
            forbidden_packages=(ForbiddenPackage(name="xz-utils", versions=("5.6.0*",)),),
        )
        self.here, self.now, self.seen = "beta", NOW, Seen()
        self.change_archive: Callable[[bytes], bytes] = lambda archive: archive
        self.files: dict[str, bytes] = {}
        self.describe("disk1", "disk2")

    def describe(self, *order: str, **sizes: int) -> None:
        """Write the descriptor with the disks in this order, and seal what is there."""
        disks = tuple(
            ApplianceDisk(name, sizes.get(name, len(DISKS[name])), f"web-{name}.raw", len(DISKS[name]))
            for name in order
        )
        text = descriptor(Appliance("web", 2, 512 * MIB, disks=disks), version=2)
        self.files = {f"web-{name}.raw": DISKS[name] for name in DISKS}
        self.files |= {f"web.{kind}": content for kind, content in EXTRAS.items()}
        self.files[NAMES.descriptor] = text
        parts = [part(PartKind.DESCRIPTOR, NAMES.descriptor, text)]
        parts += [part(kind, f"web.{kind}", content) for kind, content in EXTRAS.items()]
        self.certificate = own_certificate(self.signer, site="alpha", made=NOW, valid_until=NOW + HOUR)
        self.manifest = Manifest(
            vm="web",
            parts=tuple(parts),
            disks=tuple(self._disk(name) for name in DISKS),
            checks=(Check(name="image.inspection", outcome=Outcome.PASSED),),
            certificate=hashlib.sha256(self.certificate).hexdigest(),
        )
        self.seal = Seal(
            site="alpha",
            cloud="lab",
            importer="beta",
            run="0123456789ab",
            nonce="5e" * 16,
            made=NOW - HOUR,
            valid_until=NOW + 24 * HOUR,
            manifest=self.manifest,
        )
        self.write(sealed(self.seal, self.signer))

    def reseal(self, **changes: Any) -> None:
        """Seal anew what the exporting site would seal, with these fields of the seal changed."""
        self.seal = replace(self.seal, **changes)
        self.write(sealed(self.seal, self.signer))

    def remake(self, **changes: Any) -> None:
        """Seal anew with these fields of the manifest changed."""
        self.reseal(manifest=replace(self.seal.manifest, **changes))

    def sign(self, payload: bytes | dict[str, Any], **changes: Any) -> None:
        """Sign any payload at all, as only who holds the key can; ``changes`` are of the envelope."""
        text = payload if isinstance(payload, bytes) else canonical(payload)
        signature = {"keyid": self.signer.key_id, "sig": b64(self.signer.sign(pae(text)))}
        form = {
            "payload": b64(text),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [signature],
        }
        self.write(canonical(form | changes))

    def statement(self) -> dict[str, Any]:
        """Return the statement as plain JSON, to be changed."""
        found: dict[str, Any] = json.loads(payload_of(self.seal))
        return found

    def envelope(self) -> dict[str, Any]:
        """Return the envelope as plain JSON, to be changed."""
        found: dict[str, Any] = json.loads(self.files[NAMES.seal])
        return found

    def write(self, seal: bytes) -> None:
        """Put ``seal`` into the package, and the list and the certificate that belong to it."""
        listed = listing(self.seal.manifest, NAMES.seal, seal)
        cert = certificate_file(NAMES.listing, listed, self.signer, self.certificate)
        self.files |= {NAMES.seal: seal, NAMES.listing: listed, NAMES.certificate: cert}

    def archive(self) -> bytes:
        """Return the package as one file."""
        parts = (header(name, len(data)) + data + padding(len(data)) for name, data in self.files.items())
        return self.change_archive(b"".join(parts) + END)

    def verification(self) -> Verification:
        ring = Keyring(keys=tuple(self.keys))
        return Verification(Importer(self.here, ring, self.policy, self.seen, self.now))

    def verify(self) -> Verified:
        """Do what the importing site does; raise Refused."""
        return self.verify_by(self.verification())

    def verify_by(self, verification: Verification) -> Verified:
        return verify_package(verification, self.package())

    def package(self) -> MemoryPackage:
        """Return what the importing site finds in the archive."""
        archive = self.archive()
        reader = BytesReader(archive)
        return MemoryPackage(
            {each.name: archive[each.start : each.start + each.size] for each in entries(reader)}
        )

    def _disk(self, name: str) -> SealedDisk:
        content = DISKS[name]
        return SealedDisk(
            id=name,
            size=len(content),
            chunk_size=CHUNK,
            root=root_of(content),
            file=f"web-{name}.raw",
            format="raw",
            file_size=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
        )


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()
