"""What the signer looks at before it signs a conversion attestation. Pure; each reason against has a code.

The control plane approves the image that it admitted in the run. What went in has to be that image, as its
gateways wrote it; what came out is what its gateways claim to have read behind the tool.
"""

import hashlib
import json

from crossport import errors
from crossport.identity.claim import Kind
from crossport.identity.signing.seal_judge import (
    SKEW_S,
    Standards,
    claimed,
    require_approved,
    seal_stated,
    unsigned,
)
from crossport.model import codec, statement
from crossport.model.certified import Seal
from crossport.model.conversion import Conversion, ConversionApproval, ConversionProof, ConvertedDisk

__all__ = ["judge_conversion"]


def judge_conversion(
    approval: ConversionApproval, proof: ConversionProof, sealed: bytes, payload: bytes, by: Standards
) -> None:
    """Raise Refused with a ``signer.…`` code unless this statement may be signed. ``sealed`` is the admitted
    image's statement. Whether the nonce was used is not looked at here."""
    require_approved(approval, by)
    written = claimed(approval, proof.written, Kind.WRITTEN, by)
    converted = claimed(approval, proof.converted, Kind.CONVERTED, by)
    conversion = _conversion(payload)
    wanted = (by.site, approval.run, approval.seal, approval.nonce)
    if (conversion.site, conversion.run, conversion.seal, conversion.nonce) != wanted:
        raise unsigned("signer.conversion.other", "It names another site, run, image or nonce.")
    seal = seal_stated(sealed)
    if hashlib.sha256(sealed).hexdigest() != approval.seal:
        raise unsigned("signer.conversion.other", "The image beside it is not the admitted one.")
    if (seal.importer, seal.run) != (by.site, approval.run):
        raise unsigned("signer.conversion.other", "The image is of another run or for another site.")
    if not seal.made - SKEW_S <= conversion.started <= conversion.finished <= by.now + SKEW_S:
        raise unsigned("signer.conversion.time", "It began before its image was sealed, or is yet to end.")
    _require_disks(conversion, seal)
    if written != {disk.id: disk.claimed() for disk in conversion.input}:
        raise unsigned("signer.conversion.input", "Other disks went in than the gateways wrote.")
    if converted != {disk.id: disk.claimed() for disk in conversion.output}:
        raise unsigned("signer.conversion.output", "Other disks came out than the gateways claim.")


def _require_disks(conversion: Conversion, seal: Seal) -> None:
    """Refuse an input that is not the sealed disks, and an output of others, each in the guest's order."""
    sealed = [
        ConvertedDisk(id=disk.id, size=disk.size, chunk_size=disk.chunk_size, root=disk.root)
        for disk in seal.manifest.disks
    ]
    if sealed != list(conversion.input):
        raise unsigned("signer.conversion.input", "What went in is not what was sealed.")
    if [disk.id for disk in sealed] != [disk.id for disk in conversion.output]:
        raise unsigned("signer.conversion.output", "A disk is missing, or there is one too many.")


def _conversion(payload: bytes) -> Conversion:
    try:
        conversion = codec.from_plain(json.loads(payload)["predicate"], Conversion)
    except (ValueError, TypeError, KeyError, RecursionError, errors.Invalid) as error:
        text = "What shall be signed is no conversion's statement."
        raise unsigned("signer.conversion.malformed", text) from error
    if statement.conversion_payload(conversion) != payload:
        raise unsigned(
            "signer.conversion.malformed", "The statement says something else than its conversion."
        )
    return conversion
