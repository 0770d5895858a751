"""A signer of seals and the gateways of its site in memory: the promises of the real ones, in microseconds.

It shares no code with them on purpose. Both pass the suite in ``tests/conformance/test_sealers.py``.
"""

import base64
import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from crossport import errors
from crossport.model import codec
from crossport.model.certified import Seal
from crossport.model.keyring import Algorithm, Key, Keyring, KeyRole
from crossport.model.sealing import Claim, ClaimedDisk, SealSignature, SignedClaim

__all__ = ["MemorySealer"]

_FOREVER = 1e11
_KIND = b"application/vnd.in-toto+json"


class MemorySealer:
    """Implements Sealer and Claimant of `crossport.spi.sealing`. A name of a site decides its keys.

    ``away``: the signer does not answer.
    """

    def __init__(self, site: str) -> None:
        self.away = False
        self._site = site
        self._seals, self._gateway = (
            Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{what} of {site}".encode()).digest())
            for what in ("seals", "gateways")
        )
        self._used: set[str] = set()

    def claim(self, run: str, disk: ClaimedDisk, *, written: bool) -> SignedClaim:
        """Return the word of the site's gateways."""
        payload = codec.encoded(Claim(site=self._site, run=run, disks=(disk,))).encode()
        signature = self._gateway.sign(_said(payload, written=written))
        return SignedClaim(payload=_text(payload), signature=_text(signature), certificate=self._site)

    async def sign(self, seal: Seal, payload: bytes, claims: tuple[SignedClaim, ...]) -> SealSignature:
        """Sign as the Protocol says."""
        self._answer()
        read = sorted(self._claimed(seal.run, claims, written=False), key=lambda disk: disk.id)
        sealed = [
            ClaimedDisk(id=one.id, size=one.size, chunk_size=one.chunk_size, root=one.root)
            for one in seal.manifest.disks
        ]
        if read != sorted(sealed, key=lambda disk: disk.id):
            raise _refused("signer.seal.disks", "The statement lists other disks than the gateways read.")
        if seal.nonce in self._used:
            raise _refused("signer.approval.used", "The approval was used before.")
        self._used.add(seal.nonce)
        said = b"DSSEv1 %d %s %d %s" % (len(_KIND), _KIND, len(payload), payload)
        return SealSignature(key=self.key.id(), signature=_text(self._seals.sign(said)))

    async def keyring(self) -> Keyring:
        """Return the one key."""
        self._answer()
        return Keyring(keys=(self.key,))

    async def witnessed(self, run: str, claims: tuple[SignedClaim, ...]) -> tuple[ClaimedDisk, ...]:
        """Return what was written."""
        return self._claimed(run, claims, written=True)

    def _answer(self) -> None:
        if self.away:
            raise errors.Unavailable(
                "signer.process.gone", "The signer does not answer.", remedy=errors.TRIED_AGAIN
            )

    def _claimed(
        self, run: str, claims: tuple[SignedClaim, ...], *, written: bool
    ) -> tuple[ClaimedDisk, ...]:
        found = tuple[ClaimedDisk, ...]()
        for signed in claims:
            payload = base64.b64decode(signed.payload)
            try:
                self._gateway.public_key().verify(
                    base64.b64decode(signed.signature), _said(payload, written=written)
                )
            except InvalidSignature as error:
                raise _refused("signer.claim.forged", "The gateway did not sign this claim.") from error
            claim = codec.decoded(payload, Claim)
            if claim.run != run:
                raise _refused("signer.claim.other", f"It is about run {claim.run}.")
            found += claim.disks
        return found

    @property
    def key(self) -> Key:
        """The key that signs seals, as role documents list it."""
        der = self._seals.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return Key(
            public_key=_text(der),
            algorithm=Algorithm.ED25519,
            site=self._site,
            role=KeyRole.SEAL,
            valid_from=0.0,
            valid_until=_FOREVER,
        )


def _said(payload: bytes, *, written: bool) -> bytes:
    return (b"written\0" if written else b"read\0") + payload


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _refused(code: str, text: str) -> errors.Refused:
    return errors.Refused(code, text, remedy="Nothing was signed.")
