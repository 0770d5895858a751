"""What every Sealer keeps, with a Claimant of its site, as tests.

Derive a class named ``Test…`` and give it the fixtures ``sealer`` and ``claimant``; the site is `SITE`.
"""

import base64
import time
from dataclasses import replace
from itertools import count

import pytest

from crossport import errors
from crossport.model.certified import Manifest, Part, PartKind, Seal, SealedDisk
from crossport.model.keyring import KeyRole
from crossport.model.sealing import ClaimedDisk, SealSignature, SignedClaim
from crossport.model.signature import is_signed
from crossport.model.statement import pae, payload_of
from crossport.spi.sealing import Claimant, Sealer

__all__ = ["SITE", "SealerConformance"]

SITE, RUN = "north", "run-1"
DISKS = tuple(
    ClaimedDisk(id=f"disk-{n}", size=(n + 1) << 20, chunk_size=1 << 18, root=f"{n:02x}" * 32) for n in (0, 1)
)
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
            await sealer.witnessed(RUN, claims_of(claimant))
        assert caught.value.code == "signer.claim.forged"

    async def test_what_gateways_wrote_is_witnessed(self, sealer: Sealer, claimant: Claimant) -> None:
        """In the order of the claims, and for no other run."""
        written = claims_of(claimant, written=True)
        assert await sealer.witnessed(RUN, written) == DISKS
        with pytest.raises(errors.Refused) as caught:
            await sealer.witnessed("run-2", written)
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
            await sealer.witnessed(RUN, (altered(wrote),))
        assert caught.value.code == "signer.claim.forged"
