"""A signer of seals and the gateways of its site in memory: the promises of the real ones, in microseconds.

It shares no code with them on purpose. Both pass the suite in ``tests/conformance/test_sealers.py``.
"""

import base64
import hashlib
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from crossport import errors
from crossport.model import codec
from crossport.model.certified import Seal
from crossport.model.conversion import Conversion, ConversionProof
from crossport.model.keyring import Algorithm, Key, Keyring, KeyRole
from crossport.model.sealing import Claim, ClaimedDisk, SealSignature
from crossport.model.signed_claim import SignedClaim

__all__ = ["MemorySealer"]

_FOREVER = 1e11
_READ, _WRITTEN, _CONVERTED = b"read\0", b"written\0", b"converted\0"
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
        return self._said(run, disk, _WRITTEN if written else _READ)

    def converted(self, run: str, disk: ClaimedDisk) -> SignedClaim:
        """Return the word of the site's gateways."""
        return self._said(run, disk, _CONVERTED)

    def _said(self, run: str, disk: ClaimedDisk, kind: bytes) -> SignedClaim:
        payload = codec.encoded(Claim(site=self._site, run=run, disks=(disk,))).encode()
        signature = self._gateway.sign(kind + payload)
        return SignedClaim(payload=_text(payload), signature=_text(signature), certificate=self._site)

    async def sign(self, seal: Seal, payload: bytes, claims: tuple[SignedClaim, ...]) -> SealSignature:
        """Sign as the Protocol says."""
        self._answer()
        read = sorted(self._claimed(seal.run, claims, _READ), key=lambda disk: disk.id)
        sealed = [
            ClaimedDisk(id=one.id, size=one.size, chunk_size=one.chunk_size, root=one.root)
            for one in seal.manifest.disks
        ]
        if read != sorted(sealed, key=lambda disk: disk.id):
            raise _refused("signer.seal.disks", "The statement lists other disks than the gateways read.")
        return self._signed(seal.nonce, payload)

    async def attest(self, conversion: Conversion, payload: bytes, proof: ConversionProof) -> SealSignature:
        """Sign as the Protocol says."""
        self._answer()
        came = {disk.id: disk for disk in self._claimed(conversion.run, proof.written, _WRITTEN)}
        left = {disk.id: disk for disk in self._claimed(conversion.run, proof.converted, _CONVERTED)}
        sealed = base64.b64decode(proof.sealed)
        seal = codec.from_plain(json.loads(sealed)["predicate"], Seal)
        about = (self._site, conversion.run, hashlib.sha256(sealed).hexdigest())
        if (conversion.site, seal.run, conversion.seal) != about or seal.importer != self._site:
            raise _refused("signer.conversion.other", "It names another site, run or image.")
        disks = [(one.id, one.size, one.chunk_size, one.root) for one in seal.manifest.disks]
        went_in = [(one.id, one.size, one.chunk_size, one.root) for one in conversion.input]
        if disks != went_in or came != {one.id: one.claimed() for one in conversion.input}:
            raise _refused("signer.conversion.input", "What went in is not what was sealed and written.")
        if left != {one.id: one.claimed() for one in conversion.output} or len(left) != len(disks):
            raise _refused("signer.conversion.output", "Other disks came out than the gateways claim.")
        return self._signed(conversion.nonce, payload)

    def _signed(self, nonce: str, payload: bytes) -> SealSignature:
        if nonce in self._used:
            raise _refused("signer.approval.used", "The approval was used before.")
        self._used.add(nonce)
        said = b"DSSEv1 %d %s %d %s" % (len(_KIND), _KIND, len(payload), payload)
        return SealSignature(key=self.key.id(), signature=_text(self._seals.sign(said)))

    async def keyring(self) -> Keyring:
        """Return the one key."""
        self._answer()
        return Keyring(keys=(self.key,))

    async def witnessed(
        self, run: str, cloud: str, claims: tuple[SignedClaim, ...]
    ) -> tuple[ClaimedDisk, ...]:
        """Return what was written. All clouds of the site have the same gateway."""
        del cloud
        return self._claimed(run, claims, _WRITTEN)

    def _answer(self) -> None:
        if self.away:
            raise errors.Unavailable(
                "signer.process.gone", "The signer does not answer.", remedy=errors.TRIED_AGAIN
            )

    def _claimed(self, run: str, claims: tuple[SignedClaim, ...], kind: bytes) -> tuple[ClaimedDisk, ...]:
        found = tuple[ClaimedDisk, ...]()
        for signed in claims:
            payload = base64.b64decode(signed.payload)
            try:
                self._gateway.public_key().verify(base64.b64decode(signed.signature), kind + payload)
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


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _refused(code: str, text: str) -> errors.Refused:
    return errors.Refused(code, text, remedy="Nothing was signed.")
