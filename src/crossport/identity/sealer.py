"""The site's seals: the control plane approves, the signer of this node judges and signs.

Each node of a site has a signer of its own, whose role document it publishes in the site's documents: the
site believes the seals of all its nodes. A partner knows the keys of one node only, see
`crossport.identity.site_keys`.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from crossport import errors
from crossport.identity import role_document as roles
from crossport.identity.claim import Authenticity, Kind, claim_in
from crossport.identity.signing.keeper import Asked
from crossport.identity.signing.question import AskKeys, AskSeal
from crossport.identity.signing.seal_judge import approved
from crossport.model import codec
from crossport.model.certified import Seal
from crossport.model.keyring import Key, Keyring
from crossport.model.record import record
from crossport.model.role import RoleDocument
from crossport.model.sealing import Approval, ClaimedDisk, SealSignature, SignedClaim
from crossport.spi.clock import Clock
from crossport.spi.document import Document, Documents

__all__ = ["SealerMeans", "SiteSealer"]

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

    ``admitted`` raises Refused for a gateway, by id and certificate (PEM), that the site trusts no longer.
    """

    site: str
    node: str
    keeper: Asked
    documents: Callable[[], Documents]
    authority: Key
    approvals: bytes
    clock: Clock
    admitted: Callable[[str, str], Awaitable[None]]


class SiteSealer:
    """A `crossport.spi.sealing.Sealer`."""

    def __init__(self, means: SealerMeans) -> None:
        self._means = means
        self._publishing = asyncio.Lock()

    async def sign(self, seal: Seal, payload: bytes, claims: tuple[SignedClaim, ...]) -> SealSignature:
        """Approve and have it signed."""
        means = self._means
        gateways = [await self._trusted(signed, Kind.READ) for signed in claims]
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
        await self._own()  # whoever verifies has to know the key
        return codec.decoded(await means.keeper.ask(ask), SealSignature)

    async def keyring(self) -> Keyring:
        """Return the keys of all nodes: of this one as its signer says now."""
        means = self._means
        own = await self._own()
        keys = {key.id(): key for key in own.keys}
        for other in await means.documents().list(KIND, _Published):
            if other.key != means.node:
                for key in self._believed(other.value).keys:
                    keys.setdefault(key.id(), key)
        return Keyring(keys=tuple(keys.values()))

    async def witnessed(self, run: str, claims: tuple[SignedClaim, ...]) -> tuple[ClaimedDisk, ...]:
        """Return what the site's own gateways wrote."""
        found = list[ClaimedDisk]()
        for signed in claims:
            await self._trusted(signed, Kind.WRITTEN)
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

    async def _trusted(self, signed: SignedClaim, kind: Kind) -> str:
        """Return the gateway that claims, if the site still trusts it."""
        gateway, _ = claim_in(signed, kind, self._authenticity)
        await self._means.admitted(gateway, signed.certificate)
        return gateway

    async def _own(self) -> RoleDocument:
        """Return what this node's signer lists now, published."""
        means = self._means
        async with self._publishing:
            envelope = await means.keeper.ask(AskKeys())
            kept = await self._kept()
            root = base64.b64decode(kept.value.root) if kept else roles.root_of(envelope)
            last = kept.value.seen if kept else None
            document = roles.believed(envelope, means.site, root, means.clock.wall(), last)
            seen = roles.Seen(version=document.version, sha256=roles.digest(envelope))
            if seen != last:
                published = _Published(
                    root=document.root, envelope=base64.b64encode(envelope).decode(), seen=seen
                )
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
