"""A guest conversion at the target's end: between what was verified and what starts, and never unattested.

The intention is kept before the first byte is changed. From then on what lies there is no longer what was
sealed, and nothing starts before this site has attested what became of it.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace

from crossport import errors
from crossport.audit.recorded import recorded
from crossport.certify.conversion import as_converted, sealed_statement, verify_conversion
from crossport.certify.envelope import Envelope, closed
from crossport.certify.refusal import refused
from crossport.certify.replay import Seen
from crossport.certify.statement import seal_in
from crossport.certify.verify import Importer, Verification
from crossport.migration.admission import require_admitted, require_verified
from crossport.migration.at_rest import AtRest
from crossport.migration.end import AdmittedImage, Ends, LandedConversion, Landing
from crossport.model.artifact import Artifact, Moved
from crossport.model.audit import AuditEntry
from crossport.model.certified import Seal
from crossport.model.conversion import Conversion, ConversionProof, Converted
from crossport.model.import_policy import ImportPolicy
from crossport.model.run import Act
from crossport.model.statement import conversion_payload
from crossport.spi.audit import Audit
from crossport.spi.clock import Clock
from crossport.spi.conversion import Converter
from crossport.spi.document import Documents
from crossport.spi.sealing import Sealer

__all__ = ["Arrived", "Converting", "require_startable"]


@dataclass(frozen=True, slots=True)
class Arrived:
    """What lies at a cloud of the site: its disks, what is known of how they came, and who reads them."""

    cloud: str
    disks: tuple[Artifact, ...]
    moved: tuple[Moved, ...]
    at_rest: AtRest


@dataclass(frozen=True, slots=True)
class Converting:
    """Converts guests of ``tenant`` of ``site`` and attests it, with intent and outcome in ``audit``.

    ``token`` returns fresh random text of 32 hex digits.
    """

    site: str
    documents: Documents
    sealer: Sealer
    clock: Clock
    token: Callable[[], str]
    audit: Audit
    tenant: str

    async def convert(self, act: Act, arrived: Arrived, by: Converter) -> LandedConversion:
        """Have what was verified converted, and return the attestation; the same when asked for again.

        Raise Refused unless it was admitted and verified in this run, when the disks are not what the tool
        says (``conversion.disk.content``), and for what the signer does not sign.
        """
        ends = Ends(self.documents)
        landing = await ends.landing(act.run)
        image = require_admitted(act.run, landing.image, arrived.moved)
        require_verified(act.run, landing)
        known = landing.conversion or LandedConversion()
        if known.attestation:
            return known
        seal = seal_in(base64.b64decode(image.statement))
        if known.done is None:
            await ends.converted(act.run, known)
            known = replace(known, done=await by.convert(seal.run, arrived.disks))
            await ends.converted(act.run, known)
        attested = await self._attested(image, seal, known, arrived)
        await ends.converted(act.run, attested)
        return attested

    async def _attested(
        self, image: AdmittedImage, seal: Seal, known: LandedConversion, arrived: Arrived
    ) -> LandedConversion:
        """Read the disks at rest, and have it signed that they are what the tool made of the image."""
        done = known.done
        if done is None:
            raise RuntimeError("what was not converted is not attested")
        await _require_there(done, arrived)
        await self.sealer.keyring()  # first: the key that signs must not be younger than the attestation
        conversion = Conversion(
            site=self.site,
            cloud=arrived.cloud,
            run=seal.run,
            seal=sealed_statement(seal),
            nonce=self.token(),
            tool=done.tool,
            input=tuple(as_converted(disk) for disk in seal.manifest.disks),
            output=done.disks,
            started=done.started,
            finished=done.finished,
            boot=done.boot,
        )
        arrivals = tuple(one.arrival for one in arrived.moved if one.arrival)
        proof = ConversionProof(sealed=image.statement, written=arrivals, converted=done.claims)
        envelope = await self._signed(seal, conversion, proof)
        return replace(known, attestation=base64.b64encode(envelope).decode())

    async def _signed(self, seal: Seal, conversion: Conversion, proof: ConversionProof) -> bytes:
        """Have it signed and verify that. What the audit log does not take is not signed."""
        entry = AuditEntry(
            action="conversion.attest",
            actor=f"run {conversion.run}",
            tenant=self.tenant,
            subject=f"{self.site}/{conversion.cloud}",
            run=conversion.run,
            facts={
                "nonce": conversion.nonce,
                "tool": f"{conversion.tool.name} {conversion.tool.version}",
                "disks": str(len(conversion.output)),
            },
        )
        async with recorded(self.audit, entry) as facts:
            payload = conversion_payload(conversion)
            signed = await self.sealer.attest(conversion, payload, proof)
            facts["key"] = signed.key
            envelope = closed(Envelope(payload, signed.key, base64.b64decode(signed.signature)))
            await self._verify(seal, envelope)
        return envelope

    async def _verify(self, seal: Seal, envelope: bytes) -> None:
        """Verify what was signed as anybody else will; raise Refused."""
        policy, keyring = ImportPolicy(site=self.site), await self.sealer.keyring()
        importer = Importer(self.site, keyring, policy, Seen(), self.clock.wall())
        verify_conversion(Verification(importer), seal, envelope)


def require_startable(run: str, landing: Landing) -> AdmittedImage:
    """Return the image of what was written; raise Refused unless it was verified in this run and, where a
    conversion was begun, attested."""
    image = require_verified(run, landing)
    if landing.conversion is not None and not landing.conversion.attestation:
        raise errors.Refused(
            "conversion.unattested",
            "The disks are being converted, and no attestation says what became of them.",
            remedy=f"Nothing was started. See how far it is with: crossport run show {run}",
        )
    return image


async def _require_there(done: Converted, arrived: Arrived) -> None:
    roots = {disk.id: disk for disk in done.disks}
    for one in arrived.moved:
        if one.artifact not in roots:
            raise refused("conversion.disk.missing", disk=one.artifact)
    expected = tuple(replace(one, root=roots[one.artifact].root) for one in arrived.moved)
    if differing := (await arrived.at_rest.compare(arrived.disks, expected)).differing:
        raise refused("conversion.disk.content", disk=differing[0])
