"""Fetching images from the web, each as a run: watched, cancelled and gone on with like any other.

The URL may have a key in it, so the run holds a reference to it only.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from crossport import errors
from crossport.engine.engine import Engine
from crossport.engine.runs import RunFilter
from crossport.engine.settings import Limits
from crossport.migration.fetch import Wanted, WebImages
from crossport.migration.local_site import able
from crossport.migration.registry import CloudRegistry
from crossport.migration.step import Timed, moment
from crossport.migration.teller import telling
from crossport.model.construct import Image
from crossport.model.record import record
from crossport.model.run import Event, EventKind, Phase, RunRecord, RunState
from crossport.spi.clock import Clock
from crossport.spi.making import ImageStore
from crossport.spi.run import Retry, RunContext
from crossport.spi.secret import Secret, Secrets

__all__ = ["AGAIN", "FETCH", "FetchOrder", "FetchParts", "Fetches"]

FETCH = "fetch"
PHASE = "image_download"
AT_ONCE = Limits(at_once=4, per_partition=2)
AGAIN = Retry(attempts=5, pause_s=2.0, longest_pause_s=30.0)
"""The web server was away for longer than the copy itself waits."""
UNDER_WAY = (RunState.QUEUED, RunState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchParts:
    """What is worked with. ``token`` returns fresh random text."""

    engine: Engine
    web: WebImages
    registry: CloudRegistry
    secrets: Secrets
    clock: Clock
    token: Callable[[], str]


@record()
class FetchOrder:
    """What a run fetches; ``url`` names the secret, ``copy`` is `Wanted.run`."""

    tenant: str
    cloud: str
    name: str
    format: str
    url: str
    copy: str


@record()
class FetchReport:
    """What a run fetched."""

    image: Image


class Fetches:
    """The fetches of a site. Make it before the engine is opened."""

    def __init__(self, parts: FetchParts) -> None:
        self._parts = parts
        parts.engine.register(
            FETCH,
            self.run,
            request=FetchOrder,
            report=FetchReport,
            limits=AT_ONCE,
            partition=lambda order: order.cloud,
        )
        parts.engine.keep(FETCH, self._forgotten)
        parts.engine.let_go(FETCH, self._forgotten)

    async def start(self, wanted: Wanted, key: str) -> RunRecord:
        """Look at the object, then start a run; return the one that fetches it already, if there is one.

        Raise what `WebImages.look` raises, Conflict while another object is fetched under that name.
        """
        engine = self._parts.engine
        run = self._run_id(wanted, key)
        order = FetchOrder(
            tenant=wanted.tenant,
            cloud=wanted.cloud,
            name=wanted.name,
            format=wanted.image_format,
            url=f"fetch/{run}",
            copy=wanted.run,
        )
        if not key or not await self._known(run):
            going = await self._going(wanted)
            if going is not None:
                return going
            await self._parts.web.look(wanted, await self._store(wanted.tenant, wanted.cloud))
            await self._parts.secrets.put(order.url, Secret(wanted.url))
        labels = {"target": wanted.cloud}
        try:
            return await engine.submit(
                FETCH, order, run_id=run, tenant=wanted.tenant, subject=wanted.name, labels=labels
            )
        except BaseException:
            if not await self._known(run):  # nobody else will forget the URL
                await self._parts.secrets.forget(order.url)
            raise

    async def prune(self) -> None:
        """Remove what arrived of images that no run fetches, nor will soon: `WebImages.prune`."""
        await self._parts.web.prune(await self._copies())

    async def _copies(self) -> set[str]:
        """Return the names of the copies of all runs under way, those that wait to try again among them."""
        runs, cursor, found = self._parts.engine.runs, "", set[str]()
        while True:
            page = await runs.list(RunFilter(kind=FETCH, states=UNDER_WAY), cursor=cursor)
            found |= {(await runs.request(run.id, FetchOrder)).copy for run in page.runs}
            cursor = page.cursor
            if not cursor:
                return found

    async def _known(self, run: str) -> bool:
        try:
            await self._parts.engine.runs.fetch(run)
        except errors.NotFound:
            return False
        return True

    async def _going(self, wanted: Wanted) -> RunRecord | None:
        runs = self._parts.engine.runs
        which = RunFilter(tenant=wanted.tenant, kind=FETCH, subject=wanted.name, states=UNDER_WAY)
        for run in (await runs.list(which)).runs:
            order = await runs.request(run.id, FetchOrder)
            if order.copy == wanted.run:
                return run
            if order.cloud == wanted.cloud:
                raise errors.Conflict(
                    "image.fetching",
                    f"Run {run.id} fetches another object as {wanted.name}.",
                    field="name",
                    remedy=f"Choose another name, or cancel it with: crossport run cancel {run.id}",
                )
        return None

    async def run(self, context: RunContext, order: FetchOrder) -> FetchReport:
        """Execute one run of the kind fetch. The engine calls this."""
        try:
            image = await context.step(
                "fetch",
                lambda: self._fetched(context, order),
                result=Image,
                retry=AGAIN,
                cancellable=True,
            )
        except errors.Unavailable:
            raise  # whoever resumes the run goes on with what arrived
        except errors.Cancelled:
            await self._tidied(context, order, keep=True)
            raise
        except errors.Error as error:
            await self._tidied(context, order, keep=True)
            raise errors.RolledBack(error.code, error.text, remedy=error.remedy, field=error.field) from error
        await self._tidied(context, order, keep=False)
        return FetchReport(image=image)

    async def _fetched(self, context: RunContext, order: FetchOrder) -> Image:
        parts = self._parts
        wanted = await self._wanted(order)
        clock = parts.clock
        began = moment(clock, context.epoch)
        begun = Phase(name=PHASE, started=began.wall, seconds=0.0)
        await context.emit(Event(kind=EventKind.PHASE_STARTED, text=PHASE, phase=begun))
        await self.prune()
        async with telling(context, clock) as report:
            image = await parts.web.take(wanted, await self._store(order.tenant, order.cloud), report)
        done = Timed(value=image, began=began, ended=moment(clock, context.epoch))
        await context.emit(Event(kind=EventKind.PHASE_FINISHED, text=PHASE, phase=done.phase(PHASE)))
        return image

    async def _store(self, tenant: str, cloud: str) -> ImageStore:
        return able(await self._parts.registry.cloud(tenant, cloud), ImageStore)

    async def _wanted(self, order: FetchOrder) -> Wanted:
        url = (await self._parts.secrets.fetch(order.url)).reveal()
        return Wanted(
            tenant=order.tenant, cloud=order.cloud, name=order.name, image_format=order.format, url=url
        )

    async def _tidied(self, context: RunContext, order: FetchOrder, *, keep: bool) -> None:
        """Forget the URL, and unless ``keep`` says that it may be gone on with, what arrived."""

        async def tidy() -> bool:
            if not keep:
                await self._parts.web.forget(order.copy)
            await self._parts.secrets.forget(order.url)
            return True

        context.protect()
        await context.step("tidy", tidy, result=bool)

    async def _forgotten(self, run: RunRecord) -> bool:
        await self._parts.secrets.forget(f"fetch/{run.id}")
        return True

    def _run_id(self, wanted: Wanted, key: str) -> str:
        """The id that follows from an idempotency key, or a fresh one."""
        text = f"{wanted.tenant}\0fetch/{wanted.cloud}/{wanted.name}/{key}" if key else self._parts.token()
        return hashlib.sha256(text.encode()).hexdigest()[:12]
