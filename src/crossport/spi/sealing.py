"""Who signs a site's seals, and who vouches for what its gateways read and wrote."""

from typing import Protocol

from crossport.model.certified import Seal
from crossport.model.conversion import Conversion, ConversionProof
from crossport.model.keyring import Keyring
from crossport.model.sealing import ClaimedDisk, SealSignature
from crossport.model.signed_claim import SignedClaim

__all__ = ["Claimant", "Sealer"]


class Claimant(Protocol):
    """A gateway that vouches with its own key for what its workers did."""

    def claim(self, run: str, disk: ClaimedDisk, *, written: bool) -> SignedClaim:
        """Return its word that it read ``disk`` for ``run`` or, ``written``, wrote and verified it."""
        ...

    def converted(self, run: str, disk: ClaimedDisk) -> SignedClaim:
        """Return its word that ``disk`` is what it read, for ``run``, behind the tool that converted the
        guest."""
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

    async def attest(self, conversion: Conversion, payload: bytes, proof: ConversionProof) -> SealSignature:
        """Approve ``conversion``, whose statement ``payload`` is, and return its signature by the seal key.

        The caller has admitted the image that ``proof`` holds, in this run. Raise Refused with a ``signer.…``
        code unless that image is what went in, gateways of the site that it trusts now claim to have written
        it, and claim to have read behind the tool the very disks that came out; as ``sign`` for the rest.
        """
        ...

    async def keyring(self) -> Keyring:
        """Return the keys whose seals the site believes."""
        ...

    async def witnessed(
        self, run: str, cloud: str, claims: tuple[SignedClaim, ...]
    ) -> tuple[ClaimedDisk, ...]:
        """Return the disks that gateways of ``cloud``, one of the site's, claim they wrote and verified.

        Raise Refused with a ``signer.…`` code for a claim that is none of theirs, or not of ``run``.
        """
        ...
