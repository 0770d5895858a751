"""The source's end of a certified image: describe what was read, and have it sealed for one importer.

The seal comes behind the stream: the roots that it names are those of the last copy, which the gateways that
read it vouch for. Nothing is read once more for it.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from crossport import errors
from crossport.certify.envelope import Envelope, closed
from crossport.certify.statement import seal_in
from crossport.convert.appliance import described
from crossport.convert.ovf_write import descriptor
from crossport.migration.end import SEALED
from crossport.model.artifact import Moved
from crossport.model.certified import Manifest, Part, PartKind, Seal, SealedDisk
from crossport.model.record import record
from crossport.model.run import Act
from crossport.model.sealing import SealedImage, SignedClaim
from crossport.model.statement import payload_of
from crossport.model.vm import VM
from crossport.spi.clock import Clock
from crossport.spi.document import Documents
from crossport.spi.sealing import Sealer

__all__ = ["DESCRIPTOR", "OVF", "SEALED_S", "Sealing"]

DESCRIPTOR = "vm.ovf"
OVF = 2
"""The version of OVF in which what is streamed is described."""
SEALED_S = 7 * 86400.0
"""How long a seal is valid: a run may wait so long between the copy and its admission."""


@record()
class _Kept:
    """The image that was sealed for a run, and the digest of what was asked for."""

    asked: str
    image: SealedImage


@dataclass(frozen=True, slots=True)
class Sealing:
    """Seals images of the site ``site``. ``token`` returns fresh random text."""

    site: str
    documents: Documents
    sealer: Sealer
    clock: Clock
    token: Callable[[], str]

    async def seal(
        self, act: Act, cloud: str, vm: VM, moved: tuple[Moved, ...], importer: str, run: str
    ) -> SealedImage:
        """Return the sealed image; the same one when it is asked for again.

        ``run`` is what its own site calls the run: so the gateways claim.

        Raise Refused (``image.unclaimed``) when no gateway vouches for an artifact, and what the signer
        refuses with.
        """
        text = descriptor(described(vm, moved), version=OVF)
        disks = tuple(
            SealedDisk(id=one.artifact, size=one.size, chunk_size=one.chunk_size, root=one.root)
            for one in moved
        )
        asked = hashlib.sha256(repr((cloud, vm.id, importer, run, disks)).encode() + text).hexdigest()
        if (kept := await self._kept(act.run)) and kept.asked == asked:
            return kept.image
        part = Part(
            kind=PartKind.DESCRIPTOR, name=DESCRIPTOR, size=len(text), sha256=hashlib.sha256(text).hexdigest()
        )
        manifest = Manifest(vm=vm.id, parts=(part,), disks=disks)
        made_for = (cloud, importer, run)
        envelope = await self._signed(made_for, manifest, _claims(moved))
        image = SealedImage(envelope=_text(envelope), descriptor=_text(text))
        await self.documents.put(SEALED, act.run, _Kept(asked=asked, image=image))
        return image

    async def _kept(self, run: str) -> _Kept | None:
        try:
            return (await self.documents.fetch(SEALED, run, _Kept)).value
        except errors.NotFound:
            return None

    async def _signed(
        self, made_for: tuple[str, str, str], manifest: Manifest, claims: tuple[SignedClaim, ...]
    ) -> bytes:
        cloud, importer, run = made_for
        await self.sealer.keyring()  # first: the key that signs must not be younger than the seal
        made = self.clock.wall()
        seal = Seal(
            site=self.site,
            cloud=cloud,
            importer=importer,
            run=run,
            nonce=hashlib.sha256(f"{run}\0{self.token()}".encode()).hexdigest()[:32],
            made=made,
            valid_until=made + SEALED_S,
            manifest=manifest,
        )
        payload = payload_of(seal)
        seal_in(payload)  # what no importer would understand is not signed
        signed = await self.sealer.sign(seal, payload, claims)
        return closed(Envelope(payload, signed.key, base64.b64decode(signed.signature)))


def _claims(moved: tuple[Moved, ...]) -> tuple[SignedClaim, ...]:
    for one in moved:
        if one.claim is None:
            raise errors.Refused(
                "image.unclaimed",
                f"No gateway vouches for what it read of {one.artifact}, so it cannot be sealed.",
                remedy="The gateway at the source is of an older release: update it, then migrate again.",
            )
    return tuple(one.claim for one in moved if one.claim)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
