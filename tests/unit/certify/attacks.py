"""Attacks on certified images: what an attacker does, and the code by which it has to be refused.

The attacker may change every byte on its way, may hold keys of other roles and of other sites, and may be
the partner itself. ``python -m tests.unit.certify.attacks`` prints the table for the documentation.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from tests.unit.certify import plants
from tests.unit.certify.conversion_attacks import CONVERSION_ATTACKS, ConversionAttack
from tests.unit.certify.world import HOUR, NAMES

from crossport import merkle
from crossport.certify.refusal import REFUSALS
from crossport.model.certified import PartKind
from crossport.model.import_policy import ForbiddenPackage
from crossport.model.keyring import KeyRole

PAGE = """<!-- Printed by tests/unit/certify/attacks.py; run make docs to print it anew. -->
# Attacks on certified images

Each row is planted by a test (`tests/unit/certify/test_attacks.py`) for both kinds of key, and refused with
its code. The steps are those of [the verification](../certified-image.md). An attacker may change every byte
on its way, may hold keys of other roles and sites, and may be the partner itself.

| attack | what is done | step | code |
|---|---|---|---|
"""

CONVERSIONS = """
## On conversion attestations

These are planted by `tests/unit/certify/test_conversion.py`, behind an image that is as it was sealed. An
attacker may also hold the importing site's own key.

| attack | what is done | step | code |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Attack:
    """``plant`` changes the world, or attacks a stream and is refused itself."""

    what: str
    code: str
    plant: plants.Plant


RSA = rsa.generate_private_key(65537, 2048).public_key()
P384 = ec.generate_private_key(ec.SECP384R1()).public_key()
BAD_XZ = b'{"bomFormat":"CycloneDX","components":[{"name":"xz-utils","version":"5.6.0-0.2"}]}'

ATTACKS: dict[str, Attack] = {
    "seal-left-out": Attack(
        "The seal is taken out of the package.", "seal.file.absent", plants.without(NAMES.seal)
    ),
    "archive-appended": Attack(
        "A block follows the end of the archive.",
        "seal.archive.altered",
        plants.on_archive(lambda archive: archive + bytes(512)),
    ),
    "archive-cut": Attack(
        "The archive lacks its end.",
        "seal.archive.altered",
        plants.on_archive(lambda archive: archive[:-512]),
    ),
    "archive-owned": Attack(
        "A header of the archive names an owner, its sum made right.",
        "seal.archive.altered",
        plants.on_archive(plants.owned),
    ),
    "archive-padding": Attack(
        "Bytes hide between two files of the archive.", "seal.archive.altered", plants.padded
    ),
    "file-twice": Attack(
        "The archive holds a second descriptor of the same name.",
        "seal.archive.altered",
        plants.on_archive(plants.repeated_in_archive),
    ),
    "envelope-rewritten": Attack(
        "The envelope is written with other white space.",
        "seal.envelope.invalid",
        plants.on_file(NAMES.seal, plants.reordered),
    ),
    "envelope-algorithm": Attack(
        "The envelope gets a member `alg: none`.", "seal.envelope.invalid", plants.on_envelope(alg="none")
    ),
    "envelope-base64": Attack(
        "Unused bits of the signature's base64 are set.",
        "seal.envelope.invalid",
        lambda world: plants.on_envelope(signatures=[{"keyid": world.signer.key_id, "sig": "AB=="}])(world),
    ),
    "payload-type": Attack(
        "The envelope says that it holds something else.",
        "seal.envelope.type",
        plants.on_envelope(payloadType="application/json"),
    ),
    "signature-removed": Attack(
        "The signature is taken out of the envelope.",
        "seal.signature.count",
        plants.on_envelope(signatures=[]),
    ),
    "signature-added": Attack(
        "The envelope has two signatures.", "seal.signature.count", plants.two_signatures
    ),
    "own-key": Attack("The attacker seals with a key of its own.", "seal.key.unknown", plants.own_key),
    "algorithm-confused": Attack(
        "A key is used as one of the other algorithm.", "seal.key.algorithm", plants.other_algorithm
    ),
    "rsa-key": Attack("The key is an RSA key.", "seal.key.algorithm", plants.foreign_kind(RSA)),
    "other-curve": Attack("The key is one of P-384.", "seal.key.algorithm", plants.foreign_kind(P384)),
    "ticket-key": Attack("A key for tickets seals.", "seal.key.role", plants.on_key(role=KeyRole.TICKET)),
    "ca-key": Attack("The key of the CA seals.", "seal.key.role", plants.on_key(role=KeyRole.CA)),
    "key-early": Attack(
        "The key is not valid yet.", "seal.key.early", plants.on_key(valid_from=2e9, valid_until=3e9)
    ),
    "key-expired": Attack(
        "The key is not valid any more.", "seal.key.expired", plants.on_key(valid_until=1.6e9)
    ),
    "key-revoked": Attack(
        "The key was revoked; the seal claims to be older than that.",
        "seal.key.revoked",
        plants.on_key(revoked=1_795_262_000.0),
    ),
    "key-id-borrowed": Attack(
        "The attacker's signature claims to be of a trusted key.",
        "seal.signature.wrong",
        plants.borrowed_key_id,
    ),
    "statement-replaced": Attack(
        "The statement is replaced under a true signature.", "seal.signature.wrong", plants.replaced_statement
    ),
    "signed-bare": Attack(
        "The payload was signed without the envelope's type.", "seal.signature.wrong", plants.signed_bare
    ),
    "signature-form": Attack(
        "A true signature is written in another form.", "seal.signature.wrong", plants.signed_as_jose
    ),
    "other-statement": Attack(
        "The key signed a statement of another kind.",
        "seal.statement.type",
        plants.on_statement(lambda found: found.update(predicateType="https://slsa.dev/provenance/v1")),
    ),
    "newer-version": Attack(
        "The manifest is of a version that is not known.",
        "seal.statement.newer",
        plants.on_statement(lambda found: found["predicate"]["manifest"].update(version=2)),
    ),
    "unknown-field": Attack(
        "The statement has a member that nobody knows.",
        "seal.statement.invalid",
        plants.on_statement(lambda found: found["predicate"].update(critical=True)),
    ),
    "text-for-number": Attack(
        "A number of the statement is a text.",
        "seal.statement.invalid",
        plants.on_statement(lambda found: found["predicate"].update(made="1795262400.0")),
    ),
    "subjects-other": Attack(
        "The statement's subjects are other files than its manifest's.",
        "seal.statement.subjects",
        plants.on_statement(lambda found: found["subject"].pop()),
    ),
    "disk-twice": Attack(
        "The manifest names one disk twice.", "seal.manifest.repeated", plants.disk_twice_in_manifest
    ),
    "names-by-case": Attack(
        "The manifest names two files that differ in case only.",
        "seal.manifest.repeated",
        plants.names_by_case,
    ),
    "disk-undigested": Attack(
        "The manifest names a disk's file without its digest.",
        "seal.manifest.incomplete",
        plants.undigested,
    ),
    "no-descriptor": Attack(
        "The manifest has no descriptor.", "seal.manifest.incomplete", plants.no_descriptor
    ),
    "anothers-name": Attack(
        "A partner seals in the name of another partner.",
        "seal.site.foreign",
        plants.partner_in_anothers_name,
    ),
    "other-importer": Attack(
        "An image for another site is brought here.", "seal.importer.other", plants.on_importer(here="gamma")
    ),
    "from-the-future": Attack(
        "The seal is dated ahead.", "seal.time.future", lambda world: world.reseal(made=world.now + HOUR)
    ),
    "expired": Attack(
        "The seal is used after its end.",
        "seal.time.expired",
        lambda world: world.reseal(valid_until=world.now),
    ),
    "everlasting": Attack(
        "The seal lives for ten years.",
        "seal.time.order",
        lambda world: world.reseal(valid_until=world.now + 87_600 * HOUR),
    ),
    "dated-back": Attack(
        "The seal is dated to before its key.",
        "seal.key.period",
        lambda world: world.reseal(made=world.keys[0].valid_from - 1),
    ),
    "replayed": Attack(
        "An image that was accepted comes again.", "seal.replay.nonce", plants.accepted_before
    ),
    "older": Attack(
        "An older image of a VM comes after a newer one.", "seal.replay.older", plants.newer_accepted
    ),
    "foreign-policy": Attack(
        "Another site's import policy is put in place.", "policy.site.other", plants.on_policy(site="gamma")
    ),
    "no-partner": Attack(
        "The exporting site is no partner.", "policy.partner.untrusted", plants.on_policy(partners=())
    ),
    "key-not-for-it": Attack(
        "The partner seals with a key that is not admitted.",
        "policy.key.unlisted",
        plants.on_partner(keys=("0" * 64,)),
    ),
    "cloud-not-for-it": Attack(
        "The image comes from a cloud that is not admitted.",
        "policy.cloud.unlisted",
        plants.on_partner(clouds=("production",)),
    ),
    "too-old": Attack(
        "The image is older than the policy admits.",
        "policy.age.exceeded",
        plants.on_partner(max_age_hours=0.5),
    ),
    "check-left-out": Attack(
        "A required check was not made.",
        "policy.check.missing",
        plants.on_partner(required_checks=("malware.scan",)),
    ),
    "check-not-done": Attack(
        "A required check was left undone, and the seal says so.",
        "policy.check.failed",
        plants.check_not_done,
    ),
    "check-failed": Attack(
        "A required check failed, and the image was sealed nevertheless.",
        "policy.check.failed",
        plants.failed_check,
    ),
    "format": Attack(
        "A disk comes in a form that is not admitted.",
        "policy.format.unlisted",
        plants.on_policy(formats=("vmdk-stream",)),
    ),
    "disk-large": Attack(
        "A disk is larger than the policy admits.",
        "policy.disk.large",
        lambda world: plants.large(world, 1 << 50, max_disk_gib=1),
    ),
    "image-large": Attack(
        "The disks are larger together than the policy admits.",
        "policy.image.large",
        lambda world: plants.large(world, 1 << 31, max_image_gib=1),
    ),
    "no-sbom": Attack(
        "The SBOM that the policy asks for is left out.", "policy.sbom.missing", plants.without_sbom
    ),
    "descriptor-other": Attack(
        "The sealed descriptor is another one than the package's.",
        "seal.file.missing",
        plants.other_descriptor,
    ),
    "disk-missing": Attack(
        "The file of a disk is left out.", "seal.file.missing", plants.without("web-disk2.raw")
    ),
    "file-added": Attack(
        "The archive holds a file that is not sealed.",
        "seal.file.foreign",
        lambda world: world.files.update({"autorun.sh": b"#!"}),
    ),
    "descriptor": Attack(
        "A bit of the descriptor is changed.",
        "seal.part.altered",
        plants.on_file(NAMES.descriptor, plants.flipped),
    ),
    "variables": Attack(
        "A bit of the UEFI variables is changed.",
        "seal.part.altered",
        plants.on_file(f"web.{PartKind.VARIABLES}", plants.flipped),
    ),
    "tpm": Attack(
        "A bit of the vTPM's state is changed.",
        "seal.part.altered",
        plants.on_file(f"web.{PartKind.TPM}", plants.flipped),
    ),
    "sbom": Attack(
        "A bit of the SBOM is changed.",
        "seal.part.altered",
        plants.on_file(f"web.{PartKind.SBOM}", plants.flipped),
    ),
    "list": Attack(
        "A bit of the list of digests is changed.",
        "seal.list.altered",
        plants.on_file(NAMES.listing, plants.flipped),
    ),
    "certificate-other": Attack(
        "The certificate is another key's, which also signs the list.",
        "seal.certificate.altered",
        plants.other_certificate,
    ),
    "certificate-form": Attack(
        "The certificate is written in another form.",
        "seal.certificate.altered",
        plants.on_file(NAMES.certificate, lambda content: content + b"\n"),
    ),
    "certificate-none": Attack(
        "The partner seals a certificate that is none.", "seal.certificate.wrong", plants.garbage_certificate
    ),
    "list-unsigned": Attack(
        "The signature of the list is changed.", "seal.certificate.wrong", plants.unsigned_list
    ),
    "disks-crossed": Attack(
        "The partner seals a descriptor that attaches the disks in another order.",
        "seal.descriptor.disagrees",
        lambda world: world.describe("disk2", "disk1"),
    ),
    "vm-renamed": Attack(
        "The partner seals one VM's name over the descriptor of another.",
        "seal.descriptor.disagrees",
        lambda world: world.remake(vm="db"),
    ),
    "disk-resized": Attack(
        "The partner seals a descriptor that makes a disk larger.",
        "seal.descriptor.disagrees",
        lambda world: world.describe("disk1", "disk2", disk2=1 << 30),
    ),
    "disk-hidden": Attack(
        "The partner seals a descriptor with a disk less.",
        "seal.descriptor.disagrees",
        lambda world: world.describe("disk1"),
    ),
    "disk-bit": Attack(
        "A bit of a disk's file is changed.",
        "seal.disk.altered",
        plants.on_file("web-disk1.raw", plants.flipped),
    ),
    "disk-cut": Attack(
        "A disk's file is cut short.",
        "seal.disk.altered",
        plants.on_file("web-disk1.raw", lambda content: content[:-1]),
    ),
    "disks-swapped": Attack("The files of two disks are swapped.", "seal.disk.swapped", plants.swapped),
    "disk-repeated": Attack(
        "One disk's file stands for another's, too.", "seal.disk.repeated", plants.repeated
    ),
    "content-hidden": Attack(
        "The partner seals a file that another tool reads as another disk.",
        "seal.disk.content",
        plants.hidden_content,
    ),
    "chunk-bit": Attack(
        "A bit of a chunk is changed as it arrives.",
        "seal.chunk.altered",
        plants.streamed(lambda come, chunks, _: come.check(0, plants.flipped(chunks[0])), listed=True),
    ),
    "chunk-elsewhere": Attack(
        "A true chunk arrives for another place.",
        "seal.chunk.altered",
        plants.streamed(
            lambda come, chunks, leaves: come.check(1, chunks[0], merkle.path(leaves, 0)), listed=False
        ),
    ),
    "chunk-shorter": Attack(
        "The last chunk arrives without its end.",
        "seal.chunk.altered",
        plants.streamed(
            lambda come, chunks, leaves: come.check(2, chunks[2][:-1], merkle.path(leaves, 2)), listed=False
        ),
    ),
    "chunk-path": Attack(
        "A chunk arrives with the path of another.",
        "seal.chunk.altered",
        plants.streamed(
            lambda come, chunks, leaves: come.check(0, chunks[0], merkle.path(leaves, 1)), listed=False
        ),
    ),
    "leaves": Attack("Two leaves of the list are swapped.", "seal.leaves.altered", plants.altered_leaves),
    "chunk-missing": Attack(
        "A chunk never arrives, another one twice.",
        "seal.disk.incomplete",
        plants.streamed(plants.one_missing, listed=False),
    ),
    "sbom-broken": Attack(
        "The partner seals an SBOM that is none.", "seal.sbom.invalid", plants.sbom(b'{"bomFormat":"SPDX"}')
    ),
    "package-forbidden": Attack(
        "The guest holds a package that is forbidden.", "policy.package.forbidden", plants.sbom(BAD_XZ)
    ),
    "package-nested": Attack(
        "The forbidden package is a part of another one.",
        "policy.package.forbidden",
        plants.on_policy(forbidden_packages=(ForbiddenPackage(name="XZ-*"),)),
    ),
}


def table() -> str:
    """Return the page of the documentation."""
    return PAGE + _rows(ATTACKS) + CONVERSIONS + _rows(CONVERSION_ATTACKS)


def _rows(attacks: Mapping[str, Attack | ConversionAttack]) -> str:
    return "".join(
        f"| {name} | {attack.what} | {REFUSALS[attack.code].step} | `{attack.code}` |\n"
        for name, attack in attacks.items()
    )


if __name__ == "__main__":
    sys.stdout.write(table())
