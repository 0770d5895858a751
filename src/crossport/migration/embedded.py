"""Embedded clouds of a site: made and connected, filled with images, destroyed and forgotten."""

from collections.abc import AsyncIterator

from crossport import errors
from crossport.migration.fetch import Wanted
from crossport.migration.fetches import FETCH, Fetches
from crossport.migration.local_site import able
from crossport.migration.plans import MIGRATE
from crossport.migration.registry import CloudRegistry
from crossport.model.construct import Image
from crossport.model.exchange import FetchRequest
from crossport.model.request import CloudEntry, CloudRequest, CloudStatus
from crossport.model.run import RunRecord, RunState
from crossport.spi.control import Control
from crossport.spi.making import CloudMaker, ImageStore

__all__ = ["SiteMaking", "need_unused"]


async def need_unused(control: Control, tenant: str, name: str) -> None:
    """Raise Conflict ``cloud.in-use`` while a run of the tenant uses the cloud."""
    for state in (RunState.RUNNING, RunState.QUEUED, RunState.WAITING, RunState.ATTENTION):
        for run in await control.runs(tenant, state=state, kind="", after="", limit=1000):
            if run.kind in {MIGRATE, FETCH} and name in (run.labels.get("source"), run.labels.get("target")):
                raise errors.Conflict(
                    "cloud.in-use",
                    f"Run {run.id} uses {name}.",
                    field="cloud",
                    remedy="Wait until it is finished, or cancel it.",
                )


class SiteMaking:
    """Implements `crossport.spi.making.Making`. ``control`` knows the runs, ``fetches`` brings images in."""

    def __init__(
        self, registry: CloudRegistry, maker: CloudMaker, control: Control, fetches: Fetches
    ) -> None:
        self._fetches = fetches
        self._registry = registry
        self._maker = maker
        self._control = control

    async def create_cloud(self, tenant: str, request: CloudRequest) -> CloudStatus:
        """Make an embedded cloud and connect it."""
        if request.name in [entry.name for entry in await self._registry.entries(tenant)]:
            raise errors.Conflict(
                "cloud.name.taken",
                f"There is already a cloud {request.name}.",
                field="name",
                remedy="Choose another name, or remove that one first.",
            )
        entry = await self._maker.make(tenant, request)
        try:
            return await self._registry.add(tenant, entry)
        except errors.Error:
            await self._maker.unmake(tenant, entry, confirmed=True)
            raise

    async def destroy_cloud(self, tenant: str, name: str, *, confirmed: bool) -> tuple[str, ...]:
        """Remove an embedded cloud and forget it."""
        entry = await self._entry(tenant, name)
        await need_unused(self._control, tenant, name)
        await self._registry.need_unused(tenant, name)
        things = await self._maker.unmake(tenant, entry, confirmed=confirmed)
        if confirmed:
            await self._registry.remove(tenant, name)
        return things

    async def _entry(self, tenant: str, name: str) -> CloudEntry:
        for entry in await self._registry.entries(tenant):
            if entry.name == name:
                return entry
        raise errors.NotFound(
            "cloud.unknown",
            f"There is no cloud {name}.",
            field="cloud",
            remedy="See `crossport cloud list`.",
        )

    async def images(self, tenant: str, cloud: str) -> tuple[Image, ...]:
        """Return the cloud's images, by name."""
        return await (await self._store(tenant, cloud)).images()

    async def add_image(
        self, tenant: str, cloud: str, name: str, image_format: str, content: AsyncIterator[bytes]
    ) -> Image:
        """Take an image in."""
        return await (await self._store(tenant, cloud)).add_image(name, image_format, content)

    async def fetch_image(
        self, tenant: str, cloud: str, name: str, request: FetchRequest, key: str
    ) -> RunRecord:
        """Take in what a web server has, by a run."""
        wanted = Wanted(tenant=tenant, cloud=cloud, name=name, image_format=request.format, url=request.url)
        return await self._fetches.start(wanted, key)

    async def drop_image(self, tenant: str, cloud: str, name: str) -> None:
        """Delete an image."""
        await (await self._store(tenant, cloud)).drop_image(name)

    async def _store(self, tenant: str, cloud: str) -> ImageStore:
        return able(await self._registry.cloud(tenant, cloud), ImageStore)
