"""Heads of the audit log: signed each hour and for each run, exchanged with partners, and kept.

A partner that has countersigned a head has seen that the log goes on from what it saw before. From then on
neither can deny what is in it: a log that is cut or rewritten does not fit the head that the other has.
"""

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass

from crossport import errors
from crossport.audit.head import believed, head_of, judge
from crossport.identity import role_document as roles
from crossport.model import codec
from crossport.model.head import Head, HeadKind, HeadMessage, SignedHead, Witnessed
from crossport.model.keyring import Keyring
from crossport.model.partner import Partner
from crossport.spi.audit import AuditBook, HeadSigner, Since
from crossport.spi.clock import Clock
from crossport.spi.document import Documents
from crossport.spi.partner import PartnerLink

__all__ = ["OPERATION", "HeadParts", "KeptHeads"]

OPERATION = "audit.head"
"""What partners call one another to exchange heads."""
KIND, NEWEST = "audit-head", "audit-newest"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadParts:
    """What heads are made of, signed with and kept in."""

    site: str
    book: Callable[[], AuditBook]
    documents: Callable[[], Documents]
    signer: HeadSigner
    clock: Clock


class KeptHeads:
    """Implements `crossport.spi.audit.Heads`, and the exchange with partners."""

    def __init__(self, parts: HeadParts) -> None:
        self._parts = parts
        self._signing = asyncio.Lock()

    async def sign(self) -> SignedHead:
        """Sign the log as it is now, and keep that."""
        async with self._signing:
            tip = await self._parts.book().tip()
            since = _size(await self._noted(tip.site))
            signed = await self._parts.signer.sign(tip, since, self._growth(tip.size))
            await self._keep(signed)
            return signed

    async def kept(self, site: str, *, after: int = -1, limit: int = 1000) -> tuple[SignedHead, ...]:
        """Return heads of a site's log, by size."""
        behind = f"{_place(site, after)}~" if after >= 0 else ""
        found = await self._parts.documents().list(
            KIND, SignedHead, prefix=f"{site}/", after=behind, limit=limit
        )
        return tuple(one.value for one in found)

    async def witnessed(self, partner: str) -> tuple[Witnessed, ...]:
        """Return what this site has countersigned of a partner's log, by size."""
        found: list[Witnessed] = []
        after = ""
        while page := await self._parts.documents().list(KIND, SignedHead, prefix=f"{partner}/", after=after):
            found += [
                codec.decoded(base64.b64decode(one.value.payload), Witnessed)
                for one in page
                if one.value.kind is HeadKind.WITNESS and head_of(one.value)[1] == self._parts.site
            ]
            after = page[-1].key
        return tuple(found)

    async def exchange(self, partner: Partner, link: PartnerLink) -> None:
        """Give the partner a head of this log, get and countersign one of its own; keep all of it.

        Raise what the partner refuses with, and Refused with an ``audit.head.…`` code when its log does not
        continue what was kept of it.
        """
        own = await self.sign()
        known = _size(await self._noted(f"{self._parts.site}/{partner.name}"))
        answer = await self._asked(partner, link, await self._message(own, known, partner.name))
        if answer.again is not None:
            answer = await self._asked(partner, link, await self._message(own, answer.again, partner.name))
        if answer.head is None or answer.seen is None:
            raise _refused(partner, "audit.head.unproven", "It did not countersign what it was shown.")
        await self._keep_seen(partner, answer.seen)
        seen = await self._witness(partner, answer)
        await self._asked(partner, link, HeadMessage(seen=seen))

    async def answer(self, partner: Partner, body: bytes) -> bytes:
        """Answer a partner that exchanges heads."""
        asked = codec.decoded(body, HeadMessage)
        if asked.seen:
            await self._keep_seen(partner, asked.seen)
        if asked.head is None:
            return codec.encoded(HeadMessage()).encode()
        known = _size(await self._noted(partner.name))
        if asked.known != known:
            return codec.encoded(HeadMessage(again=known)).encode()
        seen = await self._witness(partner, asked)
        own = await self.sign()
        size = head_of(own)[0].size
        proof = await self._growth(size)(asked.since) or ()
        return codec.encoded(HeadMessage(head=own, known=asked.since, proof=proof, seen=seen)).encode()

    async def _message(self, own: SignedHead, known: int, partner: str) -> HeadMessage:
        proof = await self._growth(head_of(own)[0].size)(known) or ()
        return HeadMessage(head=own, known=known, proof=proof, since=_size(await self._noted(partner)))

    async def _asked(self, partner: Partner, link: PartnerLink, message: HeadMessage) -> HeadMessage:
        answer = await link.call(partner.name, OPERATION, codec.encoded(message).encode())
        return codec.decoded(answer, HeadMessage)

    async def _witness(self, partner: Partner, told: HeadMessage) -> SignedHead:
        """Countersign the partner's head when it is believed and continues the one that is kept."""
        if told.head is None or told.head.kind is not HeadKind.OWN:
            raise _refused(partner, "audit.head.malformed", "It is no head of its own log.")
        head = believed(told.head, self._keys(partner))
        if head.site != partner.name:
            raise _refused(partner, "audit.head.other", f"It is the head of {head.site}.")
        async with self._signing:
            return await self._countersigned(partner, told.head, head, told.proof)

    async def _countersigned(
        self, partner: Partner, told: SignedHead, head: Head, hashes: tuple[str, ...]
    ) -> SignedHead:
        newest = await self._noted(partner.name)
        judge(newest, head, hashes)

        async def proof(size: int) -> tuple[str, ...] | None:
            return {head.size: (), _size(newest): hashes}.get(size)

        seen = await self._parts.signer.sign(head, _size(newest), proof)
        if (last := head_of(seen)[0]) != head:
            # The signer had signed one that was not kept, because this process died before it could.
            await self._parts.documents().put(NEWEST, partner.name, last)
            raise errors.Conflict(
                "audit.head.again",
                f"This site knows {last.size} records of {partner.name}, not {_size(newest)}.",
                remedy="Nothing is to be done: the next exchange begins there.",
            )
        await self._keep(told)
        await self._keep(seen)
        return seen

    async def _keep_seen(self, partner: Partner, seen: SignedHead) -> None:
        """Keep the partner's countersignature on a head that this site has signed."""
        head = believed(seen, self._keys(partner))
        if seen.kind is not HeadKind.WITNESS or head_of(seen)[1] != partner.name:
            raise _refused(partner, "audit.head.other", "It is not its own countersignature.")
        place = _place(self._parts.site, head.size)
        found = await self._parts.documents().list(KIND, SignedHead, prefix=f"{place}{self._parts.site}")
        if not any(head_of(one.value)[0].root == head.root for one in found):
            raise _refused(partner, "audit.head.other", "This site has signed no such head.")
        await self._keep(seen)
        await self._parts.documents().put(NEWEST, f"{self._parts.site}/{partner.name}", head)

    def _growth(self, size: int) -> Since:
        """Return what proves that the first so many records are the beginning of ``size``."""

        async def proof(first: int) -> tuple[str, ...] | None:
            return await self._parts.book().consistency(first, size) if first <= size else None

        return proof

    def _keys(self, partner: Partner) -> Keyring:
        envelope, root = base64.b64decode(partner.roles), base64.b64decode(partner.root)
        return roles.keyring(roles.believed(envelope, partner.name, root, self._parts.clock.wall(), None))

    async def _noted(self, key: str) -> Head | None:
        """Return the newest head of a site; with ``SITE/PARTNER``, that the partner has countersigned."""
        try:
            return (await self._parts.documents().fetch(NEWEST, key, Head)).value
        except errors.NotFound:
            return None

    async def _keep(self, told: SignedHead) -> None:
        head, signer = head_of(told)
        await self._parts.documents().put(KIND, f"{_place(head.site, head.size)}{signer}", told)
        if told.kind is HeadKind.OWN:
            await self._parts.documents().put(NEWEST, head.site, head)


def _size(head: Head | None) -> int:
    return head.size if head else 0


def _place(site: str, size: int) -> str:
    return f"{site}/{size:016d}/"


def _refused(partner: Partner, code: str, text: str) -> errors.Refused:
    return errors.Refused(
        code,
        f"The head of the audit log of {partner.name} is not believed. {text}",
        remedy="Both operators export their logs and compare them: crossport audit verify",
    )
