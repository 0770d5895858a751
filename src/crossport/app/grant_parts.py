"""What watches over run grants, put together."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from crossport.app.peer_parts import Among
from crossport.identity.federation import Federation
from crossport.migration.grant import Trusted
from crossport.migration.grant_watch import GrantWatch, WatchMeans
from crossport.migration.grants import Grants
from crossport.migration.partner.peer import Peer
from crossport.spi.mover import Mover

__all__ = ["grant_watch", "grants_watched"]


def grant_watch(among: Among, grants: Grants, federation: Federation, peer: Peer, mover: Mover) -> GrantWatch:
    """Return what ends the runs of an open site that lost their right."""

    async def trusted() -> Trusted:
        book = federation.book
        providers = await book.providers()
        held = [each.holder.subject for each in await grants.live() if each.holder]
        return Trusted(
            rules=await book.rules(),
            providers=providers,
            ended=await federation.sign_ins.ended(held, providers),
            partners=await among.partners.book.partners(),
        )

    return GrantWatch(
        WatchMeans(
            site=among.name,
            grants=grants,
            trusted=trusted,
            engine=among.engine,
            foreign=peer.foreign,
            abroad=peer.abroad,
            mover=mover,
            interrupt=peer.interrupt,
            clock=among.clock,
        )
    )


@contextlib.asynccontextmanager
async def grants_watched(watch: GrantWatch, each_s: float) -> AsyncGenerator[None]:
    """Look at all grants every ``each_s`` until the block ends."""
    watching = asyncio.create_task(watch.watch(each_s))
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
