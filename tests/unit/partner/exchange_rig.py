"""Two sites with all that makes partners of them but processes: what an operator asks, and the link."""

import asyncio
import base64
import dataclasses
import os
import socket
from pathlib import Path

from tests.unit.partner.rig import MachineClock

from crossport import errors
from crossport.app.partner_parts import PartnerMeans, partner_parts, partners_served
from crossport.app.settings import Settings
from crossport.identity import MasterKeys, SealedFiles, SealedSecrets, SiteIdentity, root_step
from crossport.identity import role_document as roles
from crossport.identity.key_signer import KeySigner
from crossport.identity.link_authority import LinkAuthorities
from crossport.model.keyring import Algorithm
from crossport.model.role import RevokeRequest, RoleDocument, RootStep, RotateRequest, SiteKeys
from crossport.testing.audit import MemoryAudit
from crossport.testing.document import MemoryDocuments

__all__ = ["Node", "free_port"]


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


class OwnKeys:
    """The signer's part: a role document that lists the authorities that there are."""

    def __init__(self, node: "Node") -> None:
        self._node = node
        self._root = KeySigner.made(Algorithm.ECDSA_P256)
        self._document: RoleDocument | None = None
        self._told: SiteKeys | None = None

    async def keys(self) -> SiteKeys:
        now = self._node.clock.wall()
        listed = (self._node.identity.authority_key, *self._node.authorities.keys)
        if self._document is None:
            self._document = RoleDocument(
                site=self._node.name,
                version=1,
                root=roles.public(self._root),
                issued=now,
                expires=now + roles.DOCUMENT_LIFETIME_S,
                keys=listed,
            )
        elif self._document.keys != listed:
            self._document = roles.changed(self._document, now, listed)
        if self._told is None or self._told.document != self._document:
            envelope = base64.b64encode(roles.signed(self._document, self._root)).decode()
            self._told = SiteKeys(document=self._document, envelope=envelope)
        return self._told

    async def follow(self) -> None:
        """Let another root follow."""
        document, before = (await self.keys()).document, self._root
        self._root = KeySigner.made(Algorithm.ECDSA_P256)
        now = self._node.clock.wall()
        step = RootStep(
            site=document.site,
            number=root_step.last_number(document.roots) + 1,
            before=document.root,
            after=roles.public(self._root),
            made=now,
        )
        steps = root_step.with_step(document.roots, root_step.stepped(step, before, self._root))
        followed = dataclasses.replace(document, root=step.after, roots=steps)
        self._document = roles.changed(followed, now, document.keys)

    async def rotate(self, request: RotateRequest) -> SiteKeys:
        raise errors.Conflict("key.rotation.pending", f"{request.role} is not changed here.")

    async def revoke(self, request: RevokeRequest) -> SiteKeys:
        raise errors.NotFound("key.unknown", f"{request.key} is not known here.")


class Node:
    """One site. ``office`` is what its operator asks."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.folder = folder / name
        self.clock = MachineClock()
        self.identity = SiteIdentity.open(self.folder / "identity", name, clock=self.clock)
        self.documents = MemoryDocuments()
        master = MasterKeys.open(self.folder / "identity" / "master", entropy=os.urandom)
        sealed = SealedSecrets(SealedFiles(self.folder / "secrets"), master, site=name, entropy=os.urandom)
        self.authorities = LinkAuthorities(self.identity, sealed, lambda: self.documents, self.clock)
        self.own_keys = OwnKeys(self)
        self.settings = Settings(home=self.folder, partner_listen=f"127.0.0.1:{free_port()}")
        self.relisted = 0
        self.parts = partner_parts(
            PartnerMeans(
                site=name,
                address=f"https://{self.settings.partner_listen}",
                keys=self.own_keys,
                relist=self._relist,
                authorities=self.authorities,
                documents=lambda: self.documents,
                audit=MemoryAudit,
                clock=self.clock,
                secret=os.urandom(32),
            )
        )
        self.office, self.link, self.book = self.parts.office, self.parts.link, self.parts.book
        self._closing = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    async def _relist(self) -> None:
        self.relisted += 1

    async def open(self) -> "Node":
        """Serve partners."""
        served = asyncio.Event()
        self._closing = asyncio.Event()

        async def serve() -> None:
            await self.parts.rounds.follow()
            async with partners_served(self.parts, self.settings):
                served.set()
                await self._closing.wait()

        self._serving = asyncio.create_task(serve())
        waiting = asyncio.create_task(served.wait())
        await asyncio.wait({self._serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._serving.done():
            await self._serving
        return self

    async def close(self) -> None:
        """Serve nobody any more."""
        self._closing.set()
        if self._serving is not None:
            await self._serving

    def moved(self) -> None:
        """Let the site be reached at another address when it is opened again."""
        self.settings = dataclasses.replace(self.settings, partner_listen=f"127.0.0.1:{free_port()}")
        self.parts.rounds.word.address = f"https://{self.settings.partner_listen}"
