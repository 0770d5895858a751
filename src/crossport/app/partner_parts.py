"""The link to other sites, put together: the book, both ends, and the office that people ask."""

import asyncio
import contextlib
import hmac
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from crossport.app.door import door
from crossport.app.settings import Settings
from crossport.identity.link_authority import LinkAuthorities
from crossport.identity.partners import KeptPartners
from crossport.model.partner import Partner
from crossport.partner.badge import Badge
from crossport.partner.link import HttpsLink
from crossport.partner.listener import Listener, listener_on
from crossport.partner.office import Means, Office
from crossport.partner.operations import Operations
from crossport.partner.probe import PROBE, echoed
from crossport.partner.reception import Reception
from crossport.partner.refusals import Refusals
from crossport.partner.rounds import ABOUT, Rounds
from crossport.partner.watch import Watch
from crossport.partner.word import OwnWord
from crossport.spi.audit import Audit
from crossport.spi.clock import Clock
from crossport.spi.document import Documents
from crossport.spi.role import RoleKeys

__all__ = ["PartnerMeans", "PartnerParts", "partner_address", "partner_parts", "partners_served"]


LEAVING_S = 2.0
"""How long a partner that is just asked may take to answer a site that stops."""


@dataclass(frozen=True, slots=True)
class PartnerMeans:
    """What a site gives to its link. ``relist`` lets its signer list the authorities that there are now."""

    site: str
    address: str
    keys: RoleKeys
    relist: Callable[[], Awaitable[None]]
    authorities: LinkAuthorities
    documents: Callable[[], Documents]
    audit: Callable[[], Audit]
    clock: Clock
    secret: bytes


@dataclass(frozen=True, slots=True)
class PartnerParts:
    """``book`` is who is a partner, ``link`` asks them, ``operations`` is what they may ask."""

    book: KeptPartners
    link: HttpsLink
    operations: Operations
    office: Office
    listener: Listener
    watch: Watch
    rounds: Rounds


def partner_parts(means: PartnerMeans) -> PartnerParts:
    """Return the parts; nothing is listened on yet."""
    book = KeptPartners(means.documents, means.clock)
    badge = Badge(means.authorities.shown, means.clock)
    link = HttpsLink(book, badge)
    word = OwnWord(means.site, means.address, means.keys, means.authorities, means.documents)
    rounds = Rounds(book, link, word, (means.authorities, badge), means.clock, means.relist)
    operations, early = Operations(), Operations()
    early.converse(PROBE, echoed)

    async def answered(partner: Partner, body: bytes) -> bytes:
        answer = await rounds.answer(partner, body)
        await watch.look()  # an authority that it named may be shown in the next moment
        return answer

    async def met(invitation: str, body: bytes) -> bytes:
        return await office.met(invitation, body)

    early.answer(ABOUT, answered)

    refusals = Refusals(means.audit, means.clock.monotonic)
    listener = Listener(badge, Reception(book, (operations, early), met, refusals))
    watch = Watch(book, listener, link, means.clock, rounds.follow)
    office = Office(
        Means(
            book=book,
            link=link,
            badge=badge,
            word=word,
            rounds=rounds,
            watch=watch,
            documents=means.documents,
            clock=means.clock,
            entropy=os.urandom,
            secret=lambda id_: hmac.digest(means.secret, id_.encode(), "sha256"),
        )
    )
    return PartnerParts(book, link, operations, office, listener, watch, rounds)


def partner_address(settings: Settings) -> str:
    """Return where partners are told to reach this site; empty where it does not listen for them."""
    if not settings.partner_listen:
        return ""
    _, port, names = door(settings, settings.partner_listen, "partner_listen")
    return f"https://{names[0]}:{port}"


@contextlib.asynccontextmanager
async def partners_served(parts: PartnerParts, settings: Settings) -> AsyncGenerator[None]:
    """Follow the book, and let partners in where the settings say so, until the block ends."""
    doing: list[Awaitable[None]] = [parts.watch.run()]
    with contextlib.ExitStack() as held:
        if settings.partner_listen:
            host, port, _ = door(settings, settings.partner_listen, "partner_listen")
            doing.append(parts.listener.accept(held.enter_context(listener_on(host, port))))
        tasks = [asyncio.ensure_future(one) for one in doing]
        asking = asyncio.create_task(parts.rounds.run())
        try:
            yield
        finally:
            parts.rounds.leave()
            await asyncio.wait({asking}, timeout=LEAVING_S)
            tasks.append(asking)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await parts.link.close()
