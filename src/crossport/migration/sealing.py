"""The source's end of a certified image: describe what was read, and have it sealed for one importer.

The seal comes behind the stream: the roots that it names are those of the last copy, which the gateways that
read it vouch for. Nothing is read once more for it.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from crossport import errors
from crossport.certify.envelope import Envelope, closed
from crossport.certify.statement import seal_in
from crossport.convert.appliance import described
from crossport.convert.ovf_write import descriptor
from crossport.migration.end import SEALED
from crossport.migration.survey import Survey
from crossport.model.artifact import Moved
from crossport.model.certified import Manifest, Part, PartKind, Seal, SealedDisk
from crossport.model.construct import Constructs
from crossport.model.keyring import Key, KeyRole
from crossport.model.record import record
from crossport.model.run import Act
from crossport.model.sealing import SealedImage
from crossport.model.signed_claim import SignedClaim
from crossport.model.statement import payload_of
from crossport.model.vm import VM
from crossport.spi.clock import Clock
from crossport.spi.document import Documents
from crossport.spi.sealing import Sealer

__all__ = ["DESCRIPTOR", "OVF", "SBOM", "SEALED_S", "Origin", "Sealing"]

DESCRIPTOR = "vm.ovf"
SBOM = "vm.sbom"
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
class Origin:
    """Where a VM comes from: the cloud as the site calls it, and what that has. ``survey`` is what this site
    has found out about it."""

    cloud: str
    constructs: Constructs
    survey: Survey = field(default_factory=Survey)


@dataclass(frozen=True, slots=True)
class Sealing:
    """Seals images of the site ``site``. ``token`` returns fresh random text."""

    site: str
    documents: Documents
    sealer: Sealer
    clock: Clock
    token: Callable[[], str]

    async def seal(
        self, act: Act, origin: Origin, vm: VM, moved: tuple[Moved, ...], importer: str, run: str
    ) -> SealedImage:
        """Return the sealed image; the same one when it is asked for again.

        ``run`` is what its own site calls the run: so the gateways claim.

        Raise Refused (``image.unclaimed``) when no gateway vouches for an artifact, and what the signer
        refuses with.
        """
        survey, cloud = origin.survey, origin.cloud
        found = replace(described(vm, moved, origin.constructs), guest=survey.facts)
        text, sbom = descriptor(found, version=OVF), base64.b64decode(survey.sbom)
        disks = tuple(
            SealedDisk(id=one.artifact, size=one.size, chunk_size=one.chunk_size, root=one.root)
            for one in moved
        )
        about = repr((cloud, vm.id, importer, run, disks, survey.checks)).encode()
        asked = hashlib.sha256(about + text + sbom).hexdigest()
        if (kept := await self._kept(act.run)) and kept.asked == asked:
            return kept.image
        parts = (_part(PartKind.DESCRIPTOR, DESCRIPTOR, text), _part(PartKind.SBOM, SBOM, sbom))
        sealed = tuple(one for one in parts if one.size)
        manifest = Manifest(vm=vm.id, parts=sealed, disks=disks, checks=survey.checks)
        made_for = (cloud, importer, run)
        envelope = await self._signed(made_for, manifest, _claims(moved))
        image = SealedImage(envelope=_text(envelope), descriptor=_text(text), sbom=survey.sbom)
        await self.documents.put(SEALED, act.run, _Kept(asked=asked, image=image))
        return image

    async def keys(self) -> tuple[str, ...]:
        """Return the ids of the keys with which the site may seal now; none while its signer is away.

        That it is away is told where a run asks it first, before the VM is touched.
        """
        now = self.clock.wall()
        try:
            known = (await self.sealer.keyring()).keys
        except errors.Unavailable:
            return ()
        return tuple(key.id() for key in known if _may_seal(key, self.site, now))

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


def _may_seal(key: Key, site: str, now: float) -> bool:
    mine = key.site == site and key.role is KeyRole.SEAL
    return mine and key.revoked is None and key.valid_from <= now < key.valid_until


def _part(kind: PartKind, name: str, content: bytes) -> Part:
    return Part(kind=kind, name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


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
