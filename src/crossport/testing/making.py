"""Embedded clouds that exist in memory only, for tests of clients: made, filled with images, destroyed."""

import hashlib
from collections.abc import AsyncIterator

from crossport import errors
from crossport.model.construct import Image
from crossport.model.request import CloudEntry, CloudRequest, CloudStatus
from crossport.spi.control import Control

__all__ = ["MemoryMaking"]

DRIVER = "local"


class MemoryMaking:
    """Implements ``spi.making.Making`` beside a control that keeps clouds in memory."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._images: dict[tuple[str, str], dict[str, Image]] = {}

    async def create_cloud(self, tenant: str, request: CloudRequest) -> CloudStatus:
        if request.name in [entry.name for entry in await self._control.clouds(tenant)]:
            raise errors.Conflict(
                "cloud.name.taken",
                f"A cloud called {request.name} exists.",
                field="name",
                remedy="Choose another name, or remove that cloud first.",
            )
        settings = {"path": f"/clouds/{tenant}/{request.name}"}
        return await self._control.add_cloud(
            tenant, CloudEntry(name=request.name, driver=DRIVER, settings=settings)
        )

    async def destroy_cloud(self, tenant: str, name: str, *, confirmed: bool) -> tuple[str, ...]:
        status = await self._control.check_cloud(tenant, name)
        if status.entry.driver != DRIVER:
            raise errors.Refused("cloud.not-made-here", f"{name} was not made by this site.", field="cloud")
        if vms := await self._control.vms(tenant, name):
            raise errors.Conflict(
                "cloud.vms.left", f"{name} has VMs: {', '.join(vm.name for vm in vms)}.", field="cloud"
            )
        images = self._images.get((tenant, name), {})
        if confirmed:
            await self._control.remove_cloud(tenant, name)
            self._images.pop((tenant, name), None)
        return (f"cloud {name}", *(f"image {one}" for one in sorted(images)))

    async def images(self, tenant: str, cloud: str) -> tuple[Image, ...]:
        await self._control.check_cloud(tenant, cloud)
        return tuple(one for _, one in sorted(self._images.get((tenant, cloud), {}).items()))

    async def add_image(
        self, tenant: str, cloud: str, name: str, image_format: str, content: AsyncIterator[bytes]
    ) -> Image:
        await self._control.check_cloud(tenant, cloud)
        mine = self._images.setdefault((tenant, cloud), {})
        if name in mine:
            raise errors.Conflict(
                "image.exists", f"There is an image {name} already.", field="name", remedy="Choose another."
            )
        size, digest = 0, hashlib.sha256()
        async for piece in content:
            size += len(piece)
            digest.update(piece)
        mine[name] = Image(id=digest.hexdigest()[:12], name=name, format=image_format, size=size)
        return mine[name]

    async def fetch_image(self, tenant: str, cloud: str, name: str, image_format: str, url: str) -> Image:
        await self._control.check_cloud(tenant, cloud)
        if name in self._images.get((tenant, cloud), {}):
            raise errors.Conflict(
                "image.exists", f"There is an image {name} already.", field="name", remedy="Choose another."
            )
        raise errors.Refused(
            "egress.denied",
            f"This may not be fetched: {url[:200]}.",
            field="url",
            remedy="A site in memory fetches nothing.",
        )

    async def drop_image(self, tenant: str, cloud: str, name: str) -> None:
        await self._control.check_cloud(tenant, cloud)
        self._images.get((tenant, cloud), {}).pop(name, None)
