"""Attacks on conversion attestations: what an attacker does, and the code by which it has to be refused.

The attacker may change every byte on its way, hold keys of other roles and sites, be the exporting site, or
hold the importing site's key and attest what is not so.
"""

import base64
import json
from dataclasses import dataclass, replace
from typing import Any

from tests.unit.certify.converted import ConvertedWorld, Plant, disk_of
from tests.unit.certify.plants import flipped
from tests.unit.certify.world import DISKS, HOUR, NOW, key

from crossport.certify.conversion import sealed_statement
from crossport.identity.key_signer import KeySigner
from crossport.model.certified import Seal
from crossport.model.keyring import Algorithm, KeyRole
from crossport.model.statement import canonical, conversion_payload, payload_of


@dataclass(frozen=True, slots=True)
class ConversionAttack:
    """``plant`` changes the world; verifying it has to be refused by ``code``."""

    what: str
    code: str
    plant: Plant


def attesting(**changes: Any) -> Plant:
    return lambda world: world.attest(**changes)


def on_own_key(**changes: Any) -> Plant:
    return lambda world: world.change_own_key(**changes)


def on_envelope(**changes: Any) -> Plant:
    def plant(world: ConvertedWorld) -> None:
        world.attestation = canonical(json.loads(world.attestation) | changes)

    return plant


def on_statement(**changes: Any) -> Plant:
    def plant(world: ConvertedWorld) -> None:
        world.attest_plain(json.loads(conversion_payload(world.conversion)) | changes)

    return plant


def two_signatures(world: ConvertedWorld) -> None:
    found = json.loads(world.attestation)
    world.attestation = canonical(found | {"signatures": found["signatures"] * 2})


def replaced_statement(world: ConvertedWorld) -> None:
    """Leave the signature, and attest other disks under it."""
    other = replace(world.conversion, output=world.conversion.input)
    payload = base64.b64encode(conversion_payload(other)).decode()
    on_envelope(payload=payload)(world)


def own_key(world: ConvertedWorld) -> None:
    world.attest(signer=KeySigner.made(world.own.algorithm))


def other_algorithm(world: ConvertedWorld) -> None:
    others = {Algorithm.ED25519: Algorithm.ECDSA_P256, Algorithm.ECDSA_P256: Algorithm.ED25519}
    world.change_own_key(algorithm=others[world.own.algorithm])


def seal_for_attestation(world: ConvertedWorld) -> None:
    """Show a true seal of the importing site's key where its attestation belongs."""
    world.attest_plain(json.loads(payload_of(replace(world.seal, site="beta"))))


def newer(world: ConvertedWorld) -> None:
    world.attest(version=2)


def unknown_field(world: ConvertedWorld) -> None:
    found = json.loads(conversion_payload(world.conversion))
    found["predicate"]["more"] = "of it"
    world.attest_plain(found)


def by_exporter(world: ConvertedWorld) -> None:
    world.attest(signer=world.signer, site="alpha")


def by_exporter_in_our_name(world: ConvertedWorld) -> None:
    world.attest(signer=world.signer)


def another_run(world: ConvertedWorld) -> None:
    world.attest(run="ba9876543210")


def sealed_anew(world: ConvertedWorld) -> None:
    """Have the same disks sealed once more, and show the attestation of the image before."""
    world.reseal(nonce="5f" * 16)


def another_image(world: ConvertedWorld) -> None:
    """Attest, rightly, what became of another image of the same run."""
    disks = tuple(replace(disk, root="ab" * 32) for disk in world.conversion.input)
    other: Seal = replace(world.seal, nonce="0d" * 16)
    world.attest(seal=sealed_statement(other), input=disks)


def other_input(world: ConvertedWorld) -> None:
    first, *rest = world.conversion.input
    world.attest(input=(replace(first, root="ab" * 32), *rest))


def disk_left_out(world: ConvertedWorld) -> None:
    """Neither take a disk in nor give it out."""
    world.attest(input=world.conversion.input[:1], output=world.conversion.output[:1])


def disk_lost(world: ConvertedWorld) -> None:
    world.attest(output=world.conversion.output[:1])


def disk_added(world: ConvertedWorld) -> None:
    world.attest(output=(*world.conversion.output, disk_of("disk3", b"more")))


def outputs_crossed(world: ConvertedWorld) -> None:
    one, two = world.converted["disk1"], world.converted["disk2"]
    world.converted |= {"disk1": two, "disk2": one}


def unconverted(world: ConvertedWorld) -> None:
    world.converted["disk1"] = DISKS["disk1"]


def changed_later(world: ConvertedWorld) -> None:
    world.converted["disk1"] = flipped(world.converted["disk1"])


def other_tool(world: ConvertedWorld) -> None:
    world.attest(tool=replace(world.conversion.tool, image="00" * 32))


def known_to_be_another(world: ConvertedWorld) -> None:
    world.keys[-1] = key(world.own, site="gamma")


CONVERSION_ATTACKS: dict[str, ConversionAttack] = {
    "attestation-rewritten": ConversionAttack(
        "The attestation's envelope gets a member `alg: none`.",
        "conversion.envelope.invalid",
        on_envelope(alg="none"),
    ),
    "attestation-type": ConversionAttack(
        "The attestation's envelope says that it holds something else.",
        "conversion.envelope.type",
        on_envelope(payloadType="application/json"),
    ),
    "attestation-signed-twice": ConversionAttack(
        "The attestation has two signatures.", "conversion.signature.count", two_signatures
    ),
    "attester-unknown": ConversionAttack(
        "The attacker attests with a key of its own.", "conversion.key.unknown", own_key
    ),
    "attester-algorithm": ConversionAttack(
        "The importing site's key is used as one of the other algorithm.",
        "conversion.key.algorithm",
        other_algorithm,
    ),
    "attester-role": ConversionAttack(
        "A key for statements between sites attests.",
        "conversion.key.role",
        on_own_key(role=KeyRole.PERMIT),
    ),
    "attester-early": ConversionAttack(
        "The key is not valid yet.", "conversion.key.early", on_own_key(valid_from=2e9, valid_until=3e9)
    ),
    "attester-expired": ConversionAttack(
        "The key is not valid any more.", "conversion.key.expired", on_own_key(valid_until=1.6e9)
    ),
    "attester-revoked": ConversionAttack(
        "The key was revoked; the conversion claims to be older than that.",
        "conversion.key.revoked",
        on_own_key(revoked=NOW - 1),
    ),
    "output-replaced": ConversionAttack(
        "Other disks are written under a true signature.", "conversion.signature.wrong", replaced_statement
    ),
    "seal-as-attestation": ConversionAttack(
        "A true seal of the importing site stands for its attestation.",
        "conversion.statement.type",
        seal_for_attestation,
    ),
    "attestation-extended": ConversionAttack(
        "The attestation has a field that nobody knows.", "conversion.statement.invalid", unknown_field
    ),
    "disk-added": ConversionAttack(
        "A disk comes out that never went in.", "conversion.statement.invalid", disk_added
    ),
    "attestation-newer": ConversionAttack(
        "The attestation is of a version to come.", "conversion.statement.newer", newer
    ),
    "subjects-other": ConversionAttack(
        "The attestation's subjects are not its disks.",
        "conversion.statement.subjects",
        on_statement(subject=[]),
    ),
    "disk-lost": ConversionAttack(
        "A disk goes in and does not come out.", "conversion.disk.missing", disk_lost
    ),
    "attested-by-exporter": ConversionAttack(
        "The exporting site attests in its own name.", "conversion.site.other", by_exporter
    ),
    "attested-for-importer": ConversionAttack(
        "The exporting site attests in the importing site's name.",
        "conversion.site.foreign",
        by_exporter_in_our_name,
    ),
    "attester-of-another-site": ConversionAttack(
        "The key is that of a third site.", "conversion.site.foreign", known_to_be_another
    ),
    "another-run": ConversionAttack(
        "The attestation is of another run.", "conversion.run.other", another_run
    ),
    "another-image": ConversionAttack(
        "The attestation is of another image of the run.", "conversion.seal.other", another_image
    ),
    "attestation-replayed": ConversionAttack(
        "The image was sealed anew; the attestation is that of the one before.",
        "conversion.seal.other",
        sealed_anew,
    ),
    "input-other": ConversionAttack(
        "Another disk went in than was sealed.", "conversion.input.other", other_input
    ),
    "disk-left-out": ConversionAttack(
        "A sealed disk is left out at both ends.", "conversion.input.other", disk_left_out
    ),
    "before-the-seal": ConversionAttack(
        "The conversion began before its image was sealed.",
        "conversion.time.order",
        attesting(started=NOW - 9 * HOUR),
    ),
    "ends-before-it-begins": ConversionAttack(
        "The conversion ended before it began.",
        "conversion.time.order",
        attesting(finished=NOW - HOUR * 0.75),
    ),
    "ended-tomorrow": ConversionAttack(
        "The conversion is yet to end.", "conversion.time.future", attesting(finished=NOW + 9 * HOUR)
    ),
    "before-the-key": ConversionAttack(
        "The conversion ended before its key was valid.",
        "conversion.key.period",
        on_own_key(valid_from=NOW - 60),
    ),
    "tool-other": ConversionAttack(
        "A tool from an image that the site does not name converted the guest.",
        "conversion.tool.unlisted",
        other_tool,
    ),
    "outputs-swapped": ConversionAttack(
        "Two converted disks are swapped.", "conversion.disk.content", outputs_crossed
    ),
    "output-unconverted": ConversionAttack(
        "The sealed disk starts, not the converted one.", "conversion.disk.content", unconverted
    ),
    "output-changed": ConversionAttack(
        "A bit of a converted disk is changed.", "conversion.disk.content", changed_later
    ),
}
