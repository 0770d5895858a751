"""What every Sealer keeps, with a Claimant of its site, as tests.

Derive a class named ``Test…`` and give it the fixtures ``sealer`` and ``claimant``; the site is `SITE`.
"""

import base64
import hashlib
import time
from dataclasses import replace
from itertools import count

import pytest

from crossport import errors
from crossport.model.certified import Manifest, Part, PartKind, Seal, SealedDisk
from crossport.model.conversion import Conversion, ConversionProof, ConvertedDisk, Tool
from crossport.model.keyring import KeyRole
from crossport.model.sealing import ClaimedDisk, SealSignature
from crossport.model.signature import is_signed
from crossport.model.signed_claim import SignedClaim
from crossport.model.statement import conversion_payload, pae, payload_of
from crossport.spi.sealing import Claimant, Sealer

__all__ = ["SITE", "SealerConformance"]

SITE, RUN = "north", "run-1"
DISKS = tuple(
    ClaimedDisk(id=f"disk-{n}", size=(n + 1) << 20, chunk_size=1 << 18, root=f"{n:02x}" * 32) for n in (0, 1)
)
CONVERTED = (DISKS[0], replace(DISKS[1], root="cd" * 32))
_NONCES = count(1)


def seal_of(disks: tuple[ClaimedDisk, ...]) -> Seal:
    """Return what shall be sealed, with a nonce of its own."""
    part = Part(kind=PartKind.DESCRIPTOR, name="vm.ovf", size=7, sha256="ef" * 32)
    sealed = tuple(
        SealedDisk(id=one.id, size=one.size, chunk_size=one.chunk_size, root=one.root) for one in disks
    )
    made = time.time()
    return Seal(
        site=SITE,
        cloud="alpha",
        importer="south",
        run=RUN,
        nonce=f"{next(_NONCES):032x}",
        made=made,
        valid_until=made + 3600,
        manifest=Manifest(vm="web", parts=(part,), disks=sealed),
    )


def claims_of(
    claimant: Claimant, *, run: str = RUN, written: bool = False, disks: tuple[ClaimedDisk, ...] = DISKS
) -> tuple[SignedClaim, ...]:
    """Return one claim for each disk."""
    return tuple(claimant.claim(run, disk, written=written) for disk in disks)


def conversion_of(seal: Seal, output: tuple[ClaimedDisk, ...]) -> Conversion:
    """Return what shall be attested of an image that was sealed for this site."""
    now, sealed = time.time(), payload_of(seal)
    return Conversion(
        site=SITE,
        cloud="alpha",
        run=seal.run,
        seal=hashlib.sha256(sealed).hexdigest(),
        nonce=f"{next(_NONCES):032x}",
        tool=Tool(name="virt-v2v", version="2.2", image="ab" * 32),
        input=converted_disks(DISKS),
        output=converted_disks(output),
        started=now,
        finished=now,
    )


def converted_disks(disks: tuple[ClaimedDisk, ...]) -> tuple[ConvertedDisk, ...]:
    """Return disks as a conversion names them."""
    return tuple(
        ConvertedDisk(id=one.id, size=one.size, chunk_size=one.chunk_size, root=one.root) for one in disks
    )


def proof_of(claimant: Claimant, seal: Seal, output: tuple[ClaimedDisk, ...]) -> ConversionProof:
    """Return what a conversion rests on."""
    return ConversionProof(
        sealed=base64.b64encode(payload_of(seal)).decode(),
        written=claims_of(claimant, written=True),
        converted=tuple(claimant.converted(RUN, disk) for disk in output),
    )


async def unattested(sealer: Sealer, conversion: Conversion, proof: ConversionProof) -> str:
    """Return the code with which ``conversion`` is not signed."""
    with pytest.raises(errors.Refused) as caught:
        await sealer.attest(conversion, conversion_payload(conversion), proof)
    assert caught.value.remedy
    return caught.value.code


async def refusal(sealer: Sealer, seal: Seal, claims: tuple[SignedClaim, ...]) -> str:
    """Return the code with which ``seal`` is not signed."""
    with pytest.raises(errors.Refused) as caught:
        await sealer.sign(seal, payload_of(seal), claims)
    assert caught.value.remedy
    return caught.value.code


class SealerConformance:
    """The suite."""

    async def test_what_gateways_read_is_signed_by_a_key_of_its_keyring(
        self, sealer: Sealer, claimant: Claimant
    ) -> None:
        """Each disk may have been read by another gateway."""
        seal = seal_of(DISKS)
        signed: SealSignature = await sealer.sign(seal, payload_of(seal), claims_of(claimant))
        (key,) = (key for key in (await sealer.keyring()).keys if key.id() == signed.key)
        assert (key.site, key.role) == (SITE, KeyRole.SEAL)
        assert is_signed(key.der(), pae(payload_of(seal)), base64.b64decode(signed.signature))

    async def test_other_disks_than_were_read_are_not_signed(
        self, sealer: Sealer, claimant: Claimant
    ) -> None:
        """Neither another root, nor one disk more or less than the gateways vouch for."""
        claims = claims_of(claimant)
        other = (DISKS[0], replace(DISKS[1], root="ff" * 32))
        for disks, claimed in ((other, claims), (DISKS[:1], claims), (DISKS, claims[:1])):
            assert await refusal(sealer, seal_of(disks), claimed) == "signer.seal.disks"

    async def test_a_nonce_is_good_once(self, sealer: Sealer, claimant: Claimant) -> None:
        """What was asked for again needs another one."""
        seal = seal_of(DISKS)
        await sealer.sign(seal, payload_of(seal), claims_of(claimant))
        assert await refusal(sealer, seal, claims_of(claimant)) == "signer.approval.used"

    async def test_what_was_read_in_another_run_is_not_sealed(
        self, sealer: Sealer, claimant: Claimant
    ) -> None:
        """The run is in the claim."""
        claims = claims_of(claimant, run="run-2")
        assert await refusal(sealer, seal_of(DISKS), claims) == "signer.claim.other"

    async def test_what_was_written_was_not_read(self, sealer: Sealer, claimant: Claimant) -> None:
        """A claim of the one kind does not count for the other."""
        written = claims_of(claimant, written=True)
        assert await refusal(sealer, seal_of(DISKS), written) == "signer.claim.forged"
        with pytest.raises(errors.Refused) as caught:
            await sealer.witnessed(RUN, "alpha", claims_of(claimant))
        assert caught.value.code == "signer.claim.forged"

    async def test_what_gateways_wrote_is_witnessed(self, sealer: Sealer, claimant: Claimant) -> None:
        """In the order of the claims, and for no other run."""
        written = claims_of(claimant, written=True)
        assert await sealer.witnessed(RUN, "alpha", written) == DISKS
        with pytest.raises(errors.Refused) as caught:
            await sealer.witnessed("run-2", "alpha", written)
        assert caught.value.code == "signer.claim.other"

    async def test_a_claim_that_was_altered_counts_nowhere(self, sealer: Sealer, claimant: Claimant) -> None:
        """The gateway's signature is over every word of it."""
        (read,), (wrote,) = (claims_of(claimant, written=one, disks=DISKS[:1]) for one in (False, True))

        def altered(signed: SignedClaim) -> SignedClaim:
            payload = base64.b64decode(signed.payload).replace(b"00" * 32, b"ff" * 32)
            return replace(signed, payload=base64.b64encode(payload).decode())

        lie = (replace(DISKS[0], root="ff" * 32),)
        assert await refusal(sealer, seal_of(lie), (altered(read),)) == "signer.claim.forged"
        with pytest.raises(errors.Refused) as caught:
            await sealer.witnessed(RUN, "alpha", (altered(wrote),))
        assert caught.value.code == "signer.claim.forged"

    async def test_a_conversion_is_attested_once_by_the_seal_key(
        self, sealer: Sealer, claimant: Claimant
    ) -> None:
        """Of an image for this site, as it was written, into what was read behind the tool."""
        seal = replace(seal_of(DISKS), importer=SITE)
        conversion, proof = conversion_of(seal, CONVERTED), proof_of(claimant, seal, CONVERTED)
        payload = conversion_payload(conversion)
        signed: SealSignature = await sealer.attest(conversion, payload, proof)
        (key,) = (key for key in (await sealer.keyring()).keys if key.id() == signed.key)
        assert (key.site, key.role) == (SITE, KeyRole.SEAL)
        assert is_signed(key.der(), pae(payload), base64.b64decode(signed.signature))
        assert await unattested(sealer, conversion, proof) == "signer.approval.used"

    async def test_a_conversion_rests_on_the_admitted_image_and_on_claims_of_its_own_kind(
        self, sealer: Sealer, claimant: Claimant
    ) -> None:
        """Neither another image, nor other disks at either end, nor what was only written."""
        seal = replace(seal_of(DISKS), importer=SITE)
        conversion, proof = conversion_of(seal, CONVERTED), proof_of(claimant, seal, CONVERTED)
        abroad = seal_of(DISKS)
        foreign = proof_of(claimant, abroad, CONVERTED)
        wrote = replace(proof, converted=claims_of(claimant, written=True))
        less = replace(proof, converted=proof.converted[:1])
        arrived = replace(proof, written=proof.written[:1])
        for said, rests, code in (
            (replace(conversion, site="south"), proof, "signer.conversion.other"),
            (conversion, foreign, "signer.conversion.other"),
            (conversion_of(abroad, CONVERTED), foreign, "signer.conversion.other"),
            (replace(conversion, run="run-2"), proof, "signer.claim.other"),
            (replace(conversion, input=conversion.output), proof, "signer.conversion.input"),
            (conversion, arrived, "signer.conversion.input"),
            (replace(conversion, output=conversion.input), proof, "signer.conversion.output"),
            (replace(conversion, output=conversion.output[:1]), less, "signer.conversion.output"),
            (conversion, wrote, "signer.claim.forged"),
        ):
            assert await unattested(sealer, said, rests) == code
