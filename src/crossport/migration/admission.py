"""The target's end of a certified image: nothing that arrived is opened before its seal was verified.

The steps are those of docs/certified-image.md. What the seal names must be what this site's own gateways
wrote and verified, and what is started must be what the sealed descriptor describes.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass, replace

from crossport import errors
from crossport.certify.refusal import refused
from crossport.certify.replay import Seen
from crossport.certify.sbom import packages_in
from crossport.certify.verify import Importer, Verification, Verified
from crossport.convert.ovf_read import read_descriptor
from crossport.migration.descriptor import require_described
from crossport.migration.end import AdmittedImage, Ends, Landing
from crossport.migration.import_policy import Trust
from crossport.model.artifact import Moved
from crossport.model.certified import Check, Outcome, PartKind, Seal, SealedDisk
from crossport.model.finding import Severity
from crossport.model.import_policy import ImportPolicy
from crossport.model.run import Act
from crossport.model.sealing import Admission, ClaimedDisk, Passed, SealedImage
from crossport.model.statement import payload_of
from crossport.spi.clock import Clock
from crossport.spi.document import Document, Documents
from crossport.spi.sealing import Sealer

__all__ = ["Admitting", "require_admitted", "require_checked", "require_verified"]

SEEN = "image-seen"
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Admitting:
    """Verifies images that are meant for the site ``site``."""

    site: str
    documents: Documents
    sealer: Sealer
    clock: Clock
    trust: Trust

    async def admit(
        self, act: Act, cloud: str, image: SealedImage, moved: tuple[Moved, ...], run: str
    ) -> Admission:
        """Return what was checked; the same when it is asked for again. Raise Refused at the first fault.

        ``cloud`` is where it arrived, and ``run`` what its own site calls the run.

        What is accepted is on the run's landing from then on, and its nonce is spent.
        """
        ends = Ends(self.documents)
        envelope = _bytes(image.envelope, "envelope")
        digest = hashlib.sha256(envelope).hexdigest()
        known = (await ends.landing(act.run)).image
        if known and known.envelope == digest and known.admission.steps and known.accepted:
            return known.admission
        kept = await self.trust.kept()
        importer = await self._importer(kept.policy)
        first = Verification(importer).seal(envelope)
        seen = await self._seen(first)
        mine = known is not None and known.envelope == digest
        remembered = _without(seen.value, first) if mine else seen.value
        verification = Verification(replace(importer, seen=remembered))
        verified = verification.seal(envelope)
        text = _bytes(image.descriptor, "descriptor")
        _check(run, verification, verified, text)
        await self._check_arrived(cloud, verified.seal, moved)
        verification.passed(15, "what this site's gateways wrote and verified is what was sealed")
        if image.sbom or verified.seal.manifest.part(PartKind.SBOM):
            _check_sbom(verification, verified, _bytes(image.sbom, "SBOM"))
        pending = AdmittedImage(
            envelope=digest,
            descriptor=image.descriptor,
            disks=tuple(_claimed(disk) for disk in verified.seal.manifest.disks),
            admission=_admission(verification, verified, kept.generation),
            sbom=image.sbom,
            statement=base64.b64encode(payload_of(verified.seal)).decode(),
        )
        # First, so that whoever repeats this knows the nonce that it finds spent as its own.
        await ends.admitted(act.run, pending)
        await self._spend(verification, verified, own=mine)
        accepted = replace(
            pending,
            accepted=True,
            admission=_admission(verification, verified, kept.generation),
        )
        await ends.admitted(act.run, accepted)
        return accepted.admission

    async def _importer(self, policy: ImportPolicy) -> Importer:
        return Importer(
            site=self.site,
            keyring=await self.trust.keyring(),
            policy=policy,
            seen=Seen(),
            now=self.clock.wall(),
        )

    async def _check_arrived(self, cloud: str, seal: Seal, moved: tuple[Moved, ...]) -> None:
        """Compare the seal with the words of the gateways that wrote, not with what anybody else says."""
        for one in moved:
            if one.arrival is None:
                raise errors.Refused(
                    "image.unwitnessed",
                    f"No gateway vouches for what it wrote of {one.artifact}.",
                    remedy="The gateway at the target is of an older release: update it, then migrate again.",
                )
        arrivals = tuple(one.arrival for one in moved if one.arrival)
        wrote = {disk.id: disk for disk in await self.sealer.witnessed(seal.run, cloud, arrivals)}
        for disk in seal.manifest.disks:
            if wrote.pop(disk.id, None) != _claimed(disk):
                raise refused("seal.disk.content", disk=disk.id)
        if wrote:
            raise refused("seal.disk.content", disk=", ".join(sorted(wrote)))

    async def _spend(self, verification: Verification, verified: Verified, *, own: bool) -> None:
        for _ in range(_ATTEMPTS):
            seen = await self._seen(verified)
            if own and seen.value.is_spent(verified.seal.nonce):
                verification.accepted(verified, _without(seen.value, verified))
                return
            after = verification.accepted(verified, seen.value)
            try:
                await self.documents.put(SEEN, _subject(verified), after, generation=seen.generation)
            except errors.Conflict:
                continue
            return
        raise errors.Unavailable(
            "site.end.contended",
            f"{SEEN} of {_subject(verified)} is being changed all the time.",
            remedy=errors.TRIED_AGAIN,
        )

    async def _seen(self, verified: Verified) -> Document[Seen]:
        """Return what was accepted of this VM before. Generation 0: nothing."""
        key = _subject(verified)
        try:
            return await self.documents.fetch(SEEN, key, Seen)
        except errors.NotFound:
            return Document(key=key, value=Seen(), generation=0)


def _check(run: str, verification: Verification, verified: Verified, text: bytes) -> None:
    """Check that it is of this run, and its descriptor."""
    seal = verified.seal
    if seal.run != run:
        raise errors.Refused(
            "image.run.other",
            f"The image was sealed in run {seal.run}, and this is run {run}.",
            remedy="Do not use it. Look at who hands out images of other runs.",
        )
    part = seal.manifest.part(PartKind.DESCRIPTOR)
    if part is None or (len(text), hashlib.sha256(text).hexdigest()) != (part.size, part.sha256):
        raise refused("seal.part.altered", name=part.name if part else "*.ovf", kind=PartKind.DESCRIPTOR)
    verification.passed(11, "the descriptor is the sealed one")
    found = read_descriptor(text)
    blockers = [one.text for one in found.findings if one.severity is Severity.BLOCKER]
    if blockers:
        raise refused("seal.descriptor.disagrees", why=blockers[0])
    require_described(found.appliance, seal.manifest)
    verification.passed(13, f"the descriptor describes {found.appliance.name} and its disks")


def require_verified(run: str, landing: Landing) -> AdmittedImage:
    """Return the image of what was written; raise Refused unless it was verified in this run."""
    if landing.verified and landing.image is not None:
        return landing.image
    raise errors.Refused(
        "image.unverified",
        "What was written has not been verified in this run.",
        remedy=f"See how far it is with: crossport run show {run}",
    )


def require_admitted(run: str, image: AdmittedImage | None, moved: tuple[Moved, ...]) -> AdmittedImage:
    """Return the run's admitted image; raise Refused (``image.unsealed``) unless it is of what was moved."""
    if image is not None and image.accepted:
        sealed = {disk.id: (disk.size, disk.chunk_size, disk.root) for disk in image.disks}
        if sealed == {one.artifact: (one.size, one.chunk_size, one.root) for one in moved}:
            return image
    raise errors.Refused(
        "image.unsealed",
        "What arrived was not admitted: no verified seal of this run is over it.",
        remedy=f"See how far it is with: crossport run show {run}",
    )


def require_checked(policy: ImportPolicy, checks: tuple[Check, ...], vm: str) -> None:
    """Raise Refused unless each check passed that ``policy`` wants its own site to have made of the guest."""
    made = {one.name: one for one in checks}
    for name in policy.own_checks:
        if (one := made.get(name)) is None:
            raise errors.Refused(
                "policy.own-check.missing",
                f"{vm} was not checked for {name}, so it stays in quarantine, as the import policy of "
                f"{policy.site} says.",
                remedy="Let the operator install what makes the check, or change own_checks of the policy.",
            )
        if one.outcome is not Outcome.PASSED:
            raise errors.Refused(
                "policy.own-check.failed",
                f"{vm} stays in quarantine: it did not pass the check for {name}: "
                f"{one.detail or one.outcome}.",
                remedy="Put the guest in order at its source and migrate again.",
            )


def _check_sbom(verification: Verification, verified: Verified, text: bytes) -> None:
    part = verified.seal.manifest.part(PartKind.SBOM)
    if part is None or (len(text), hashlib.sha256(text).hexdigest()) != (part.size, part.sha256):
        raise refused("seal.part.altered", name=part.name if part else "sbom", kind=PartKind.SBOM)
    verification.packages(packages_in(text))


def _subject(verified: Verified) -> str:
    seal = verified.seal
    return hashlib.sha256("\0".join((seal.site, seal.cloud, seal.manifest.vm)).encode()).hexdigest()


def _without(seen: Seen, verified: Verified) -> Seen:
    spent = tuple(one for one in seen.spent if one.nonce != verified.seal.nonce)
    return replace(seen, spent=spent)


def _claimed(disk: SealedDisk) -> ClaimedDisk:
    return ClaimedDisk(id=disk.id, size=disk.size, chunk_size=disk.chunk_size, root=disk.root)


def _admission(verification: Verification, verified: Verified, generation: int) -> Admission:
    return Admission(
        site=verified.seal.site,
        key=verified.key.id(),
        made=verified.seal.made,
        steps=tuple(Passed(step=one.step, text=one.text) for one in verification.reasons),
        importer=verified.seal.importer,
        admitted=verification.importer.now,
        generation=generation,
    )


def _bytes(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise refused("seal.envelope.invalid", why=f"the {what} is no base64") from error
