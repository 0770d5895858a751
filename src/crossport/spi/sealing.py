"""Who signs a site's seals, and who vouches for what its gateways read and wrote."""

from typing import Protocol

from crossport.model.certified import Seal
from crossport.model.keyring import Keyring
from crossport.model.sealing import ClaimedDisk, SealSignature, SignedClaim

__all__ = ["Claimant", "Sealer"]


class Claimant(Protocol):
    """A gateway that vouches with its own key for what its workers did."""

    def claim(self, run: str, disk: ClaimedDisk, *, written: bool) -> SignedClaim:
        """Return its word that it read ``disk`` for ``run`` or, ``written``, wrote and verified it."""
        ...


class Sealer(Protocol):
    """The signer of one site, and the judge of its gateways' claims."""

    async def sign(self, seal: Seal, payload: bytes, claims: tuple[SignedClaim, ...]) -> SealSignature:
        """Approve ``seal``, whose statement ``payload`` is, and return its signature.

        Raise Refused with a ``signer.…`` code unless gateways of the site that it trusts now claim to have
        read the very disks that are sealed, and when its nonce was used before; Unavailable when the signer
        does not answer. What was asked of a signer that died may have been signed: ask with another nonce.
        """
        ...

    async def keyring(self) -> Keyring:
        """Return the keys whose seals the site believes."""
        ...

    async def witnessed(self, run: str, claims: tuple[SignedClaim, ...]) -> tuple[ClaimedDisk, ...]:
        """Return the disks that gateways of the site wrote and verified for ``run``, as they claim.

        Raise Refused with a ``signer.…`` code for a claim that is none of theirs, or of another run.
        """
        ...
