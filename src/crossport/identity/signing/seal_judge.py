"""What the signer looks at before it signs a seal. Pure; each reason against one has a code of its own.

The control plane approves a run, its gateways claim what they read there, and the statement has to say just
that: neither of the two alone gets anything signed.
"""

import dataclasses
import hashlib
import hmac
import json

from crossport import errors
from crossport.identity.claim import Authenticity, Kind, claim_in
from crossport.model import codec, statement
from crossport.model.certified import Seal
from crossport.model.sealing import Approval, ClaimedDisk, SignedClaim

__all__ = ["APPROVED_S", "Standards", "approved", "judge"]

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


def approved(approval: Approval, secret: bytes) -> Approval:
    """Return the approval with its MAC."""
    return dataclasses.replace(approval, mac=_mac(approval, secret))


def judge(approval: Approval, claims: tuple[SignedClaim, ...], payload: bytes, by: Standards) -> None:
    """Raise Refused with a ``signer.…`` code unless this statement may be signed. Whether the nonce was used
    is not looked at here."""
    if not hmac.compare_digest(approval.mac.encode(), _mac(approval, by.secret).encode()):
        raise _refused("signer.approval.forged", "The control plane did not approve this.")
    if not by.now < approval.expires <= by.now + APPROVED_S:
        raise _refused("signer.approval.expired", "The approval is expired, or is good for too long.")
    read = _read(approval, claims, by)
    seal = _seal(payload)
    wanted = (by.site, approval.importer, approval.run, approval.nonce)
    if (seal.site, seal.importer, seal.run, seal.nonce) != wanted:
        raise _refused("signer.seal.other", "The statement names another site, importer, run or nonce.")
    if abs(seal.made - by.now) > SKEW_S or not seal.made < seal.valid_until <= seal.made + SEALED_S:
        raise _refused("signer.seal.time", "The statement is not of now, or is valid for too long.")
    sealed = {
        disk.id: ClaimedDisk(id=disk.id, size=disk.size, chunk_size=disk.chunk_size, root=disk.root)
        for disk in seal.manifest.disks
    }
    if sealed != read or len(sealed) != len(seal.manifest.disks):
        raise _refused("signer.seal.disks", "The statement lists other disks than the gateways read.")


def _read(approval: Approval, claims: tuple[SignedClaim, ...], by: Standards) -> dict[str, ClaimedDisk]:
    """Return the disks that the approved gateways claim to have read, by id; none is claimed twice."""
    found: dict[str, ClaimedDisk] = {}
    for signed in claims:
        gateway, claim = claim_in(signed, Kind.READ, by.authenticity)
        if gateway not in approval.gateways:
            raise _refused("signer.claim.unapproved", f"Nobody approved what gateway {gateway} read.")
        if claim.run != approval.run:
            raise _refused("signer.claim.other", f"The gateway claims what it read for run {claim.run}.")
        for disk in claim.disks:
            if disk.id in found:
                raise _refused("signer.claim.twice", f"Disk {disk.id} is claimed twice.")
            found[disk.id] = disk
    return found


def _seal(payload: bytes) -> Seal:
    try:
        seal = codec.from_plain(json.loads(payload)["predicate"], Seal)
    except (ValueError, TypeError, KeyError, RecursionError, errors.Invalid) as error:
        raise _refused("signer.seal.malformed", "What shall be signed is no seal's statement.") from error
    if statement.payload_of(seal) != payload:
        raise _refused("signer.seal.malformed", "The statement says something else than its seal.")
    return seal


def _mac(approval: Approval, secret: bytes) -> str:
    content = codec.encoded(dataclasses.replace(approval, mac="")).encode()
    return hmac.new(secret, b"crossport approval\0" + content, hashlib.sha256).hexdigest()


def _refused(code: str, text: str) -> errors.Refused:
    return errors.Refused(
        code,
        f"The signer does not sign this. {text}",
        remedy="Nothing was signed. Look at the run and its gateway, and for who else may have asked.",
    )
