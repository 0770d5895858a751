"""Why a certified image is refused: one table of stable codes, each with the step that finds it.

The steps are those of docs/certified-image.md; a test compares the two.
"""

from dataclasses import dataclass

from crossport import errors

__all__ = ["REFUSALS", "STEPS", "Reason", "Refusal", "refused"]

STEPS: dict[int, str] = {
    1: "The package has one descriptor and one seal; an archive is exactly as Crossport writes it.",
    2: "The seal is one envelope in its only form, with one signature.",
    3: "The key is known, is of the kind it is known as, and may seal.",
    4: "The key is valid now, and is not revoked.",
    5: "The signature is the key's, over exactly this statement.",
    6: "The statement is of a kind and version that is understood, and agrees with itself.",
    7: "The exporting site is the key's, and the image is meant for this site.",
    8: "The statement is valid now, and was made while the key was valid.",
    9: "The image was not seen before, and none newer of this VM was.",
    10: "The import policy admits partner, key, cloud, age, checks, formats and sizes.",
    11: "The files are those that are sealed; each but the disks has the sealed length and digest.",
    12: "The package's own list and certificate say the same, and the same key signed them.",
    13: "The descriptor describes the sealed disks, in their order.",
    14: "Every disk's file has the sealed length and digest.",
    15: "What the guest sees of every disk has the sealed root, chunk by chunk.",
    16: "The guest holds no forbidden package.",
    17: "The nonce is spent: the image is accepted once.",
    18: "The attestation is one envelope in its only form, with one signature.",
    19: "Its key is known, may seal, is valid now, and is not revoked.",
    20: "The signature is the key's, over exactly this statement.",
    21: "The statement is a guest conversion of a version that is understood, and agrees with itself.",
    22: "The site for which the image is meant made it, with its own key, in the image's run.",
    23: "What went in is the sealed image, after it was sealed; it ended while the key was valid.",
    24: "The tool is one that the site lets convert guests.",
    25: "What the guest sees of every converted disk has the attested root.",
}

_AGAIN = "Have the image exported and sealed again."
_DISTRUST = "Do not use this image; ask the exporting site what it sent, over another way."
_FETCH = "Fetch the image again; if it stays so, ask the exporting site what it sent."
_POLICY = "Ask who keeps the import policy, or have the image sealed again as the policy asks."
_AFRESH = "Do not start what was converted; have the conversion repeated from the sealed image."
_OWN_KEYS = "Ask the importing site which key it seals with, and bring the keyring up to date."
_KEYS = "Ask the exporting site which key it seals with, and bring the keyring up to date."


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row: the step that finds it, what is said, what to do."""

    step: int
    text: str
    remedy: str


REFUSALS: dict[str, Refusal] = {
    "seal.file.absent": Refusal(
        1, "There is no seal {name}: this is no certified image.", "Have it sealed: crossport image seal."
    ),
    "seal.archive.altered": Refusal(
        1, "The archive is not as it was written: {why}.", f"{_FETCH} Another tool may have packed it anew."
    ),
    "seal.envelope.invalid": Refusal(2, "The seal is not an envelope in its only form: {why}.", _DISTRUST),
    "seal.envelope.type": Refusal(2, "The envelope holds {found!r}, not an in-toto statement.", _DISTRUST),
    "seal.signature.count": Refusal(2, "The seal has {count} signatures; it must have one.", _DISTRUST),
    "seal.key.unknown": Refusal(3, "The key {key} is not in the keyring.", _KEYS),
    "seal.key.algorithm": Refusal(3, "The key {key} is not one of {algorithm}, as the keyring says.", _KEYS),
    "seal.key.role": Refusal(3, "The key {key} is one for {role}, not for seals.", _DISTRUST),
    "seal.key.early": Refusal(4, "The key {key} is not valid before {moment}.", _KEYS),
    "seal.key.expired": Refusal(4, "The key {key} was valid until {moment}.", f"{_AGAIN} {_KEYS}"),
    "seal.key.revoked": Refusal(4, "The key {key} was revoked at {moment}.", f"{_DISTRUST} {_AGAIN}"),
    "seal.signature.wrong": Refusal(
        5, "The signature is not that of the key {key} over this statement.", _DISTRUST
    ),
    "seal.statement.invalid": Refusal(6, "The statement makes no sense: {why}.", _DISTRUST),
    "seal.statement.type": Refusal(6, "The statement is a {found!r}, not a certified image.", _DISTRUST),
    "seal.statement.newer": Refusal(
        6,
        "The statement is of version {found}; {known} is the newest known here.",
        "Bring Crossport up to date.",
    ),
    "seal.statement.subjects": Refusal(
        6, "The statement's subjects are not what its manifest lists.", _DISTRUST
    ),
    "seal.manifest.repeated": Refusal(6, "The manifest names {name} twice.", _DISTRUST),
    "seal.manifest.incomplete": Refusal(6, "The manifest has no {name}.", _DISTRUST),
    "seal.site.foreign": Refusal(7, "The seal says {said}, but its key is that of {owner}.", _DISTRUST),
    "seal.importer.other": Refusal(
        7, "The image is meant for {importer}; this is {here}.", "Have it exported and sealed for this site."
    ),
    "seal.time.future": Refusal(
        8, "The seal was made at {moment}, which is yet to come.", "Set the clocks of both sites right."
    ),
    "seal.time.expired": Refusal(8, "The seal was valid until {moment}.", _AGAIN),
    "seal.time.order": Refusal(
        8, "The seal ends before it begins, or lives longer than {days} days.", _AGAIN
    ),
    "seal.key.period": Refusal(8, "The seal was made at {moment}, when its key was not valid.", _DISTRUST),
    "seal.replay.nonce": Refusal(9, "The image was accepted before: its nonce {nonce} is spent.", _AGAIN),
    "seal.replay.older": Refusal(
        9,
        "A newer image of {vm}, made at {moment}, was accepted before.",
        "Take the newer image, or have one made.",
    ),
    "policy.site.other": Refusal(
        10, "The import policy is that of {said}; this is {here}.", "Name this site's own policy."
    ),
    "policy.partner.untrusted": Refusal(10, "The import policy admits nothing of {site}.", _POLICY),
    "policy.key.unlisted": Refusal(10, "The import policy does not admit the key {key} of {site}.", _POLICY),
    "policy.cloud.unlisted": Refusal(
        10, "The import policy does not admit cloud {cloud} of {site}.", _POLICY
    ),
    "policy.age.exceeded": Refusal(10, "The image is {hours} h old; {limit} h are admitted.", _AGAIN),
    "policy.check.missing": Refusal(10, "The required check {check} was not made.", _POLICY),
    "policy.check.failed": Refusal(10, "The required check {check} did not pass: {detail}.", _POLICY),
    "policy.format.unlisted": Refusal(10, "Disk {disk} comes as {format}, which is not admitted.", _POLICY),
    "policy.disk.large": Refusal(10, "Disk {disk} has {size}; {limit} GiB are admitted.", _POLICY),
    "policy.image.large": Refusal(10, "The disks have {size} together; {limit} GiB are admitted.", _POLICY),
    "policy.sbom.missing": Refusal(10, "The image has no SBOM, which is required.", _POLICY),
    "seal.file.missing": Refusal(11, "The file {name} is missing.", _FETCH),
    "seal.file.foreign": Refusal(11, "The file {name} is in the archive, but not sealed.", _DISTRUST),
    "seal.part.altered": Refusal(11, "The file {name} is not the sealed {kind}.", _FETCH),
    "seal.list.altered": Refusal(12, "The list {name} does not say what is sealed.", _FETCH),
    "seal.certificate.altered": Refusal(12, "The certificate in {name} is not the sealed one.", _FETCH),
    "seal.certificate.wrong": Refusal(12, "{name} does not sign the list with the seal's key.", _FETCH),
    "seal.descriptor.disagrees": Refusal(13, "The descriptor and the seal disagree: {why}.", _DISTRUST),
    "seal.disk.altered": Refusal(14, "The file {name} is not that of disk {disk}.", _FETCH),
    "seal.disk.swapped": Refusal(14, "The file {name} of disk {disk} holds disk {other}.", _DISTRUST),
    "seal.disk.repeated": Refusal(14, "The file {name} of disk {disk} holds disk {other} again.", _DISTRUST),
    "seal.chunk.altered": Refusal(15, "Chunk {index} of disk {disk} is not the sealed one.", _FETCH),
    "seal.leaves.altered": Refusal(15, "The leaves of disk {disk} do not lead to its sealed root.", _FETCH),
    "seal.disk.content": Refusal(15, "What the guest sees of disk {disk} is not what was sealed.", _DISTRUST),
    "seal.disk.incomplete": Refusal(15, "Of disk {disk}, {count} chunks did not come.", _FETCH),
    "seal.sbom.invalid": Refusal(16, "The SBOM cannot be read: {why}.", _AGAIN),
    "policy.package.forbidden": Refusal(
        16, "The guest holds {package} {version}, which is forbidden{why}.", _POLICY
    ),
    "conversion.envelope.invalid": Refusal(
        18, "The attestation is not an envelope in its only form: {why}.", _AFRESH
    ),
    "conversion.envelope.type": Refusal(
        18, "The attestation holds {found!r}, not an in-toto statement.", _AFRESH
    ),
    "conversion.signature.count": Refusal(
        18, "The attestation has {count} signatures; it must have one.", _AFRESH
    ),
    "conversion.key.unknown": Refusal(19, "The attestation's key {key} is not in the keyring.", _OWN_KEYS),
    "conversion.key.algorithm": Refusal(
        19, "The attestation's key {key} is not one of {algorithm}, as the keyring says.", _OWN_KEYS
    ),
    "conversion.key.role": Refusal(
        19, "The attestation's key {key} is one for {role}, not for seals.", _AFRESH
    ),
    "conversion.key.early": Refusal(
        19, "The attestation's key {key} is not valid before {moment}.", _OWN_KEYS
    ),
    "conversion.key.expired": Refusal(
        19, "The attestation's key {key} was valid until {moment}.", f"{_AFRESH} {_OWN_KEYS}"
    ),
    "conversion.key.revoked": Refusal(19, "The attestation's key {key} was revoked at {moment}.", _AFRESH),
    "conversion.signature.wrong": Refusal(
        20, "The attestation's signature is not that of the key {key} over this statement.", _AFRESH
    ),
    "conversion.statement.invalid": Refusal(21, "The attestation makes no sense: {why}.", _AFRESH),
    "conversion.statement.type": Refusal(
        21, "The statement is a {found!r}, not a guest conversion.", _AFRESH
    ),
    "conversion.statement.newer": Refusal(
        21,
        "The attestation is of version {found}; {known} is the newest known here.",
        "Bring Crossport up to date.",
    ),
    "conversion.statement.subjects": Refusal(
        21, "The attestation's subjects are not the disks that came out.", _AFRESH
    ),
    "conversion.disk.missing": Refusal(21, "Disk {disk} went in and did not come out.", _AFRESH),
    "conversion.site.other": Refusal(
        22, "{said} says that it converted the guest; the image is meant for {importer}.", _AFRESH
    ),
    "conversion.site.foreign": Refusal(
        22, "The attestation says {said}, but its key is that of {owner}.", _AFRESH
    ),
    "conversion.run.other": Refusal(
        22, "The guest was converted in run {found}, and the image is of run {run}.", _AFRESH
    ),
    "conversion.seal.other": Refusal(23, "What was converted is another image: {found}.", _AFRESH),
    "conversion.input.other": Refusal(23, "Disk {disk} did not go in as it was sealed.", _AFRESH),
    "conversion.time.order": Refusal(
        23, "The conversion ended before it began, or began before the image was sealed.", _AFRESH
    ),
    "conversion.time.future": Refusal(
        23, "The conversion ended at {moment}, which is yet to come.", "Set the clocks of both sites right."
    ),
    "conversion.key.period": Refusal(
        23, "The conversion ended at {moment}, when its key was not valid.", _AFRESH
    ),
    "conversion.tool.unlisted": Refusal(
        24,
        "{tool} converted the guest, from the image {image}, which is not named as one that may.",
        "Name its image, if it is one that you trust, or convert with another tool.",
    ),
    "conversion.disk.content": Refusal(
        25, "What the guest sees of converted disk {disk} is not what was attested.", _AFRESH
    ),
}


@dataclass(frozen=True, slots=True)
class Reason:
    """What one step found that speaks for the image, in words."""

    step: int
    text: str


def refused(code: str, *, field: str = "", **facts: object) -> errors.Refused:
    """Return the error for ``code`` with the row's text, filled with ``facts``."""
    row = REFUSALS[code]
    return errors.Refused(code, row.text.format(**facts), remedy=row.remedy, field=field)
