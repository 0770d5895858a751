"""What the signer looks at before it signs a seal. Pure; each reason against one has a code of its own.

The control plane approves a run, its gateways claim what they read there, and the statement has to say just
that: neither of the two alone gets anything signed.
"""

import dataclasses
import hashlib
import hmac
import json
from typing import TypeVar

from crossport import errors
from crossport.identity.claim import Authenticity, Kind, claim_in
from crossport.model import codec, statement
from crossport.model.certified import Seal
from crossport.model.conversion import ConversionApproval
from crossport.model.sealing import Approval, ClaimedDisk
from crossport.model.signed_claim import SignedClaim

__all__ = [
    "APPROVED_S",
    "SKEW_S",
    "Standards",
    "approved",
    "claimed",
    "judge",
    "require_approved",
    "seal_stated",
    "unsigned",
]

A = TypeVar("A", Approval, ConversionApproval)

APPROVED_S = 3600.0
"""How long an approval lives at most."""
SEALED_S = 31 * 86400.0
"""How long a seal is valid at most."""
SKEW_S = 300.0


@dataclasses.dataclass(frozen=True, slots=True)
class Standards:
    """What the signer measures by: its site, the authority's key (DER), and the secret of approvals."""

    site: str
    authority: bytes
    secret: bytes
    now: float

    @property
    def authenticity(self) -> Authenticity:
        """Whose claims count."""
        return Authenticity(self.site, self.authority, self.now)


def approved(approval: A, secret: bytes) -> A:
    """Return the approval with its MAC."""
    return dataclasses.replace(approval, mac=_mac(approval, secret))


def judge(approval: Approval, claims: tuple[SignedClaim, ...], payload: bytes, by: Standards) -> None:
    """Raise Refused with a ``signer.…`` code unless this statement may be signed. Whether the nonce was used
    is not looked at here."""
    require_approved(approval, by)
    read = claimed(approval, claims, Kind.READ, by)
    seal = seal_stated(payload)
    wanted = (by.site, approval.importer, approval.run, approval.nonce)
    if (seal.site, seal.importer, seal.run, seal.nonce) != wanted:
        raise unsigned("signer.seal.other", "The statement names another site, importer, run or nonce.")
    if abs(seal.made - by.now) > SKEW_S or not seal.made < seal.valid_until <= seal.made + SEALED_S:
        raise unsigned("signer.seal.time", "The statement is not of now, or is valid for too long.")
    sealed = {
        disk.id: ClaimedDisk(id=disk.id, size=disk.size, chunk_size=disk.chunk_size, root=disk.root)
        for disk in seal.manifest.disks
    }
    if sealed != read or len(sealed) != len(seal.manifest.disks):
        raise unsigned("signer.seal.disks", "The statement lists other disks than the gateways read.")


def require_approved(approval: Approval | ConversionApproval, by: Standards) -> None:
    """Raise Refused unless the control plane approved it, for now."""
    if not hmac.compare_digest(approval.mac.encode(), _mac(approval, by.secret).encode()):
        raise unsigned("signer.approval.forged", "The control plane did not approve this.")
    if not by.now < approval.expires <= by.now + APPROVED_S:
        raise unsigned("signer.approval.expired", "The approval is expired, or is good for too long.")


def claimed(
    approval: Approval | ConversionApproval, claims: tuple[SignedClaim, ...], kind: Kind, by: Standards
) -> dict[str, ClaimedDisk]:
    """Return the disks of which the approved gateways claim this, by id; none is claimed twice."""
    found: dict[str, ClaimedDisk] = {}
    for signed in claims:
        gateway, claim = claim_in(signed, kind, by.authenticity)
        if gateway not in approval.gateways:
            raise unsigned("signer.claim.unapproved", f"Nobody approved what gateway {gateway} claims.")
        if claim.run != approval.run:
            raise unsigned("signer.claim.other", f"The gateway claims what it did for run {claim.run}.")
        for disk in claim.disks:
            if disk.id in found:
                raise unsigned("signer.claim.twice", f"Disk {disk.id} is claimed twice.")
            found[disk.id] = disk
    return found


def seal_stated(payload: bytes) -> Seal:
    """Return the seal that ``payload`` states and nothing else; raise Refused for any other payload."""
    try:
        seal = codec.from_plain(json.loads(payload)["predicate"], Seal)
    except (ValueError, TypeError, KeyError, RecursionError, errors.Invalid) as error:
        raise unsigned("signer.seal.malformed", "What shall be signed is no seal's statement.") from error
    if statement.payload_of(seal) != payload:
        raise unsigned("signer.seal.malformed", "The statement says something else than its seal.")
    return seal


def _mac(approval: Approval | ConversionApproval, secret: bytes) -> str:
    """An approval of the one kind is none of the other."""
    content = codec.encoded(dataclasses.replace(approval, mac="")).encode()
    purpose = b"crossport approval\0" if isinstance(approval, Approval) else b"crossport conversion\0"
    return hmac.new(secret, purpose + content, hashlib.sha256).hexdigest()


def unsigned(code: str, text: str) -> errors.Refused:
    """Return the error for what is not signed."""
    return errors.Refused(
        code,
        f"The signer does not sign this. {text}",
        remedy="Nothing was signed. Look at the run and its gateway, and for who else may have asked.",
    )
