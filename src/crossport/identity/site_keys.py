"""The site's keys for its operator: the signer's role document, believed only if it is the newest ever."""

import asyncio
import base64
from collections.abc import Callable

from crossport import errors
from crossport.identity import role_document as roles
from crossport.identity.revocations import Revocations
from crossport.identity.sealer import is_published
from crossport.identity.signing.keeper import Ask, Keeper
from crossport.identity.signing.question import AskKeys, AskRevoke, AskRotate
from crossport.model.record import record
from crossport.model.role import RevokeRequest, RotateRequest, SiteKeys
from crossport.spi.clock import Clock
from crossport.spi.document import Document, Documents

__all__ = ["KeptKeys"]

KIND = "roles"


@record()
class _Pinned:
    """Which node's signer is the site's, its root (base64), and the newest document that was believed."""

    node: str
    root: str
    seen: roles.Seen


class KeptKeys:
    """A `crossport.spi.role.RoleKeys`: asks this node's signer, and remembers outside of it what it said.

    A signer whose directory was put back to an earlier state is found by that. Of the nodes of a site one has
    the signer that counts; on the others everything raises Conflict ``key.signer.elsewhere``.
    """

    def __init__(
        self, keeper: Keeper, documents: Callable[[], Documents], clock: Clock, *, site: str, node: str
    ) -> None:
        self._keeper = keeper
        self._documents = documents
        self._clock = clock
        self._site = site
        self._node = node
        self._changing = asyncio.Lock()

    async def keys(self) -> SiteKeys:
        """Return the document that holds now."""
        async with self._changing:
            return await self._asked(AskKeys())

    async def rotate(self, request: RotateRequest) -> SiteKeys:
        """List a new key."""
        async with self._changing:
            version = (await self._asked(AskKeys())).document.version
            return await self._asked(AskRotate(request=request, version=version))

    async def revoke(self, request: RevokeRequest) -> SiteKeys:
        """Revoke a key; one of another node is revoked there before that signs again."""
        async with self._changing:
            found = await self._asked(AskKeys())
            own = any(key.id() == request.key for key in found.document.keys)
            if own or not await is_published(self._documents(), request.key):
                found = await self._asked(AskRevoke(request=request, version=found.document.version))
            await Revocations(self._documents, self._clock).add(request.key)
            return found

    async def ready(self) -> None:
        """Raise Conflict where another node has the signer that counts. The signer itself is not asked."""
        await self._pinned()

    async def ask(self, ask: Ask) -> bytes:
        """Return the signer's answer, signed with a key that the site's document lists."""
        if await self._pinned() is None:
            await self.keys()
        return await self._keeper.ask(ask)

    async def _asked(self, ask: AskKeys | AskRotate | AskRevoke) -> SiteKeys:
        pinned = await self._pinned()
        return await self._believed(await self._keeper.ask(ask), pinned)

    async def _pinned(self) -> Document[_Pinned] | None:
        """Return what is remembered; raise Conflict where another node has the signer."""
        try:
            pinned = await self._documents().fetch(KIND, self._site, _Pinned)
        except errors.NotFound:
            return None
        if pinned.value.node != self._node:
            raise errors.Conflict(
                "key.signer.elsewhere",
                f"The keys of site {self._site} lie with the signer of node {pinned.value.node}.",
                remedy="Ask that node.",
            )
        return pinned

    async def _believed(self, envelope: bytes, pinned: Document[_Pinned] | None) -> SiteKeys:
        """Return what the signer said, if it may be believed, and remember it."""
        root = base64.b64decode(pinned.value.root) if pinned else roles.root_of(envelope)
        last = pinned.value.seen if pinned else None
        document = roles.believed(envelope, self._site, root, self._clock.wall(), last)
        seen = roles.Seen(version=document.version, sha256=roles.digest(envelope))
        if seen != last:
            known = _Pinned(node=self._node, root=document.root, seen=seen)
            generation = pinned.generation if pinned else 0
            await self._documents().put(KIND, self._site, known, generation=generation)
        return SiteKeys(document=document, envelope=base64.b64encode(envelope).decode())
