"""The attestation of a guest conversion: made by the importing site, verified beside the image's seal.

Conversion changes the disks, and so their roots. Steps 18 to 25 of docs/certified-image.md lead from the
sealed roots to those of what starts.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from crossport.certify.envelope import Envelope, opened, wrapped
from crossport.certify.refusal import refused
from crossport.certify.statement import conversion_in
from crossport.certify.verify import (
    ALLOWED_SKEW_S,
    Verification,
    good_keys,
    moment,
    require_proven,
)
from crossport.model.certified import Seal, SealedDisk
from crossport.model.conversion import Conversion, ConvertedDisk
from crossport.model.keyring import Key
from crossport.model.statement import conversion_payload, payload_of
from crossport.spi.signer import Signer

__all__ = ["Attested", "as_converted", "attested", "sealed_statement", "verify_conversion"]


@dataclass(frozen=True, slots=True)
class Attested:
    """A conversion whose attestation was verified, and the key that made it."""

    conversion: Conversion
    key: Key


def attested(conversion: Conversion, signer: Signer) -> bytes:
    """Return the envelope of ``conversion``. Raise Refused for one that nobody would understand."""
    payload = conversion_payload(conversion)
    conversion_in(payload)
    return wrapped(payload, signer)


def sealed_statement(seal: Seal) -> str:
    """Return the digest by which a conversion names the image that went in."""
    return hashlib.sha256(payload_of(seal)).hexdigest()


def as_converted(disk: SealedDisk) -> ConvertedDisk:
    """Return a sealed disk as a conversion names it."""
    return ConvertedDisk(id=disk.id, size=disk.size, chunk_size=disk.chunk_size, root=disk.root)


def verify_conversion(
    verification: Verification, seal: Seal, text: bytes, tools: Collection[str] = ()
) -> Attested:
    """Return the verified attestation in the envelope ``text``, of the image of ``seal``, which was verified.

    ``tools`` are the images (hex SHA-256) from which a tool may run, besides what the importer's policy asks;
    empty is any. Raise Refused with the
    code of what is wrong. The converted disks are not looked at: `crossport.certify.disk.InOrder` does.
    """
    envelope = opened(text, "conversion")
    verification.passed(18, "the attestation has its only form and one signature")
    keys = good_keys(verification.importer, envelope, "conversion")
    verification.passed(19, f"the key {envelope.key_id[:16]} may seal, is valid and not revoked")
    return _verified(verification, seal, (envelope, keys), tools)


def _verified(
    verification: Verification,
    seal: Seal,
    by: tuple[Envelope, list[Key]],
    tools: Collection[str],
) -> Attested:
    envelope, keys = by
    require_proven(keys[0], envelope, "conversion")
    verification.passed(20, f"the signature is that of the key, by {keys[0].algorithm}")
    conversion = conversion_in(envelope.payload)
    verification.passed(21, f"the statement is a guest conversion, version {conversion.version}")
    key = _own_key(conversion, seal, keys)
    verification.passed(22, f"{conversion.site} made it in run {conversion.run}")
    _require_input(conversion, seal)
    _require_time(conversion, seal, key, verification.importer.now)
    verification.passed(23, f"the sealed image went in, {len(conversion.input)} disks of it")
    tool = conversion.tool
    named = f"{tool.name} {tool.version}"
    for listed in (tools, verification.importer.policy.conversion_tools):
        if listed and tool.image not in listed:
            raise refused("conversion.tool.unlisted", tool=named, image=tool.image[:16])
    verification.passed(24, f"{named} converted it, from the image {tool.image[:16]}")
    return Attested(conversion, key)


def _own_key(conversion: Conversion, seal: Seal, keys: list[Key]) -> Key:
    """Step 22."""
    if conversion.site != seal.importer:
        raise refused("conversion.site.other", said=conversion.site, importer=seal.importer)
    key = next((key for key in keys if key.site == conversion.site), None)
    if key is None:
        raise refused("conversion.site.foreign", said=conversion.site, owner=keys[0].site)
    if conversion.run != seal.run:
        raise refused("conversion.run.other", found=conversion.run, run=seal.run)
    return key


def _require_input(conversion: Conversion, seal: Seal) -> None:
    """Step 23."""
    if conversion.seal != sealed_statement(seal):
        raise refused("conversion.seal.other", found=conversion.seal[:16])
    sealed = {disk.id: as_converted(disk) for disk in seal.manifest.disks}
    for disk in conversion.input:
        if sealed.pop(disk.id, None) != disk:
            raise refused("conversion.input.other", disk=disk.id)
    if sealed:
        raise refused("conversion.input.other", disk=min(sealed))


def _require_time(conversion: Conversion, seal: Seal, key: Key, now: float) -> None:
    """Step 23."""
    if not seal.made - ALLOWED_SKEW_S <= conversion.started <= conversion.finished:
        raise refused("conversion.time.order")
    if conversion.finished > now + ALLOWED_SKEW_S:
        raise refused("conversion.time.future", moment=moment(conversion.finished))
    if not key.valid_from <= conversion.finished < key.valid_until:
        raise refused("conversion.key.period", moment=moment(conversion.finished))
