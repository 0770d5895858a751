"""The site's seals: the control plane approves, the signer of this node judges and signs.

Each node of a site has a signer of its own, whose role document it publishes in the site's documents: the
site believes the seals of all its nodes. A partner knows the keys of one node only, see
`crossport.identity.site_keys`.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from crossport import errors
from crossport.identity import role_document as roles
from crossport.identity.claim import Authenticity, Kind, claim_in
from crossport.identity.revocations import Revocations
from crossport.identity.signing.keeper import Asked
from crossport.identity.signing.question import AskConversion, AskKeys, AskRevoke, AskSeal
from crossport.identity.signing.seal_judge import approved
from crossport.model import codec
from crossport.model.certified import Seal
from crossport.model.conversion import Conversion, ConversionApproval, ConversionProof
from crossport.model.keyring import Key, Keyring
from crossport.model.record import record
from crossport.model.role import RevokeRequest, RoleDocument
from crossport.model.sealing import Approval, ClaimedDisk, SealSignature
from crossport.model.signed_claim import SignedClaim
from crossport.spi.clock import Clock
from crossport.spi.document import Document, Documents

__all__ = ["SealerMeans", "SiteSealer", "is_published"]

KIND = "node-roles"
APPROVED_S = 600.0
"""How long an approval lives: the signer is asked at once."""


@record()
class _Published:
    """What the signer of one node said last: its root and the envelope of its role document (base64)."""

    root: str
    envelope: str
    seen: roles.Seen


@dataclass(frozen=True, slots=True)
class SealerMeans:
    """What a sealer works with: the signer, the site's documents, the authority's key, the secret of
    approvals.

    ``admitted`` raises Refused for a gateway, by id and certificate (PEM), that the site trusts no longer, or
    that is of another cloud than the one that is named; empty is any.
    """

    site: str
    node: str
    keeper: Asked
    documents: Callable[[], Documents]
    authority: Key
    approvals: bytes
    clock: Clock
    admitted: Callable[[str, str, str], Awaitable[None]]


class SiteSealer:
    """A `crossport.spi.sealing.Sealer`."""

    def __init__(self, means: SealerMeans) -> None:
        self._means = means
        self._publishing = asyncio.Lock()
        self._revocations = Revocations(means.documents, means.clock)

    async def sign(self, seal: Seal, payload: bytes, claims: tuple[SignedClaim, ...]) -> SealSignature:
        """Approve and have it signed."""
        means = self._means
        gateways = [await self._trusted(signed, Kind.READ, seal.cloud) for signed in claims]
        approval = Approval(
            run=seal.run,
            importer=seal.importer,
            gateways=tuple(dict.fromkeys(gateways)),
            nonce=seal.nonce,
            expires=means.clock.wall() + APPROVED_S,
        )
        ask = AskSeal(
            approval=approved(approval, means.approvals),
            claims=claims,
            payload=base64.b64encode(payload).decode(),
        )
        return await self._asked(ask)

    async def attest(self, conversion: Conversion, payload: bytes, proof: ConversionProof) -> SealSignature:
        """Approve and have it signed."""
        means, cloud = self._means, conversion.cloud
        gateways = [await self._trusted(signed, Kind.WRITTEN, cloud) for signed in proof.written]
        gateways += [await self._trusted(signed, Kind.CONVERTED, cloud) for signed in proof.converted]
        approval = ConversionApproval(
            run=conversion.run,
            seal=conversion.seal,
            gateways=tuple(dict.fromkeys(gateways)),
            nonce=conversion.nonce,
            expires=means.clock.wall() + APPROVED_S,
        )
        ask = AskConversion(
            approval=approved(approval, means.approvals),
            proof=proof,
            payload=base64.b64encode(payload).decode(),
        )
        return await self._asked(ask)

    async def _asked(self, ask: AskSeal | AskConversion) -> SealSignature:
        await self._own()  # whoever verifies has to know the key, and one that was revoked signs no more
        return codec.decoded(await self._means.keeper.ask(ask), SealSignature)

    async def keyring(self) -> Keyring:
        """Return the keys of all nodes: of this one as its signer says now."""
        means = self._means
        own, revoked = await self._own(), await self._revocations.all()
        keys = {key.id(): key for key in own.keys}
        for other in await means.documents().list(KIND, _Published):
            if other.key != means.node:
                for key in self._believed(other.value).keys:
                    keys.setdefault(key.id(), _revoked(key, revoked))
        return Keyring(keys=tuple(keys.values()))

    async def witnessed(
        self, run: str, cloud: str, claims: tuple[SignedClaim, ...]
    ) -> tuple[ClaimedDisk, ...]:
        """Return what the site's own gateways of ``cloud`` wrote."""
        found = list[ClaimedDisk]()
        for signed in claims:
            await self._trusted(signed, Kind.WRITTEN, cloud)
            _, claim = claim_in(signed, Kind.WRITTEN, self._authenticity)
            if claim.run != run:
                raise errors.Refused(
                    "signer.claim.other",
                    f"The gateway claims what it wrote for run {claim.run}, not for {run}.",
                    remedy="Nothing was opened. Look at who hands out what gateways said.",
                )
            found += claim.disks
        return tuple(found)

    @property
    def _authenticity(self) -> Authenticity:
        means = self._means
        return Authenticity(means.site, means.authority.der(), means.clock.wall())

    async def _trusted(self, signed: SignedClaim, kind: Kind, cloud: str) -> str:
        """Return the gateway that claims, if the site still trusts it with what is of ``cloud``."""
        gateway, _ = claim_in(signed, kind, self._authenticity)
        await self._means.admitted(gateway, signed.certificate, cloud)
        return gateway

    async def _own(self) -> RoleDocument:
        """Return what this node's signer lists now, published, once it has heard what other nodes revoked."""
        async with self._publishing:
            document = await self._published(AskKeys())
            for key in await self._revocations.all():
                if any(one.id() == key and one.revoked is None for one in document.keys):
                    request = RevokeRequest(key=key)
                    document = await self._published(AskRevoke(request=request, version=document.version))
            return document

    async def _published(self, ask: AskKeys | AskRevoke) -> RoleDocument:
        """Return what the signer answers, if it is the newest, and publish it."""
        means = self._means
        envelope = await means.keeper.ask(ask)
        kept = await self._kept()
        root = base64.b64decode(kept.value.root) if kept else roles.root_of(envelope)
        last = kept.value.seen if kept else None
        document = roles.believed(envelope, means.site, root, means.clock.wall(), last)
        seen = roles.Seen(version=document.version, sha256=roles.digest(envelope))
        if seen != last:
            told = base64.b64encode(envelope).decode()
            published = _Published(root=document.root, envelope=told, seen=seen)
            generation = kept.generation if kept else 0
            await means.documents().put(KIND, means.node, published, generation=generation)
        return document

    async def _kept(self) -> Document[_Published] | None:
        try:
            return await self._means.documents().fetch(KIND, self._means.node, _Published)
        except errors.NotFound:
            return None

    def _believed(self, published: _Published) -> RoleDocument:
        """Return the document of another node. One that is expired counts all the same: its keys tell until
        when they are good, and that node may be away for long."""
        envelope, root = base64.b64decode(published.envelope), base64.b64decode(published.root)
        return roles.believed(envelope, self._means.site, root, 0.0, None)


async def is_published(documents: Documents, key: str) -> bool:
    """Say whether a node of the site published a key, by its id."""
    for node in await documents.list(KIND, _Published):
        if key in roles.listed(base64.b64decode(node.value.envelope)):
            return True
    return False


def _revoked(key: Key, revoked: Mapping[str, float]) -> Key:
    """Return another node's key as it is by what was revoked, whether that node heard of it or not."""
    return key if key.revoked is not None else replace(key, revoked=revoked.get(key.id()))
