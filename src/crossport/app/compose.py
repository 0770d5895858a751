"""The composition root: which parts a site is made of. Everything else gets its parts handed in."""

import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from crossport.app.settings import Settings, secret_text
from crossport.app.site import OpenSite, SiteSettings, open_site
from crossport.engine.runs import RunFilter
from crossport.migration.hook import Command, Webhook
from crossport.migration.limits import Limits
from crossport.model.run import RunState
from crossport.spi.clock import Clock
from crossport.spi.control import Control
from crossport.spi.document import Documents
from crossport.spi.gateway import Gateways
from crossport.spi.limit import RateBook
from crossport.spi.making import Making
from crossport.spi.secret import Secret
from crossport.testing.control import MemoryControl
from crossport.testing.document import MemoryDocuments
from crossport.testing.gateway import MemoryGateways
from crossport.testing.making import MemoryMaking
from crossport.transfer.egress import Egress

__all__ = ["Parts", "composed"]

UNDER_WAY = (RunState.QUEUED, RunState.RUNNING, RunState.WAITING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A running site below its API. ``active`` says whether a run is under way that must not be ended.

    ``site`` is None for one that forgets everything.
    """

    control: Control
    making: Making
    documents: Documents
    rates: RateBook
    active: Callable[[], Awaitable[bool]]
    gateways: Gateways
    site: OpenSite | None = None
    entropy: Callable[[int], bytes] = secrets.token_bytes


@asynccontextmanager
async def composed(settings: Settings, clock: Clock) -> AsyncGenerator[Parts]:
    """Run the site that the settings describe; at the end its runs stay as they are, to be continued."""
    if settings.store == "memory":
        async with in_memory(clock) as parts:
            yield parts
        return
    async with open_site(site_settings(settings), clock) as site:
        yield Parts(
            control=site.control,
            making=site.making,
            documents=site.engine.documents,
            rates=site.rates,
            active=lambda: _under_way(site),
            gateways=site.hub,
            site=site,
        )


def site_settings(settings: Settings) -> SiteSettings:
    """Return what the settings say of the site itself. A webhook's secret is read from its file."""
    return SiteSettings(
        name=settings.site_name,
        state_dir=settings.home / "control",
        database_url=settings.database_url,
        node=settings.node or settings.site_name,
        keep_days=settings.keep_days,
        keep_runs=settings.keep_runs,
        stock_size=settings.stock_size,
        egress=Egress(
            settings.egress,
            authorities=secret_text(settings.egress_ca, "egress_ca") if settings.egress_ca else "",
        ),
        fetch_size=settings.upload_size,
        commands={
            name: Command(argv=hook.command, timeout_s=hook.timeout_s)
            for name, hook in settings.hooks.items()
            if hook.command
        },
        webhooks={
            name: Webhook(
                hook.url, Secret(secret_text(hook.secret_file, f"hooks.{name}.secret_file")), hook.timeout_s
            )
            for name, hook in settings.hooks.items()
            if hook.url
        },
    )


async def _under_way(site: OpenSite) -> bool:
    return bool((await site.engine.runs.list(RunFilter(states=UNDER_WAY), limit=1)).runs)


@asynccontextmanager
async def in_memory(clock: Clock) -> AsyncGenerator[Parts]:
    """Run a site that forgets everything: for tests of clients."""
    control, documents = MemoryControl(clock, pace_s=0.2), MemoryDocuments()
    rates = Limits(lambda: documents, clock, "memory")
    try:
        yield Parts(
            control=control,
            making=MemoryMaking(control),
            documents=documents,
            rates=rates,
            active=control.active,
            gateways=MemoryGateways(clock),
        )
    finally:
        await control.close()
