"""Clouds that a site makes on its own machine, and the images that VMs are made from."""

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from crossport.model.construct import Image
from crossport.model.request import CloudEntry, CloudRequest, CloudStatus

__all__ = ["CloudMaker", "ImageStore", "Making"]


@runtime_checkable
class ImageStore(Protocol):
    """A cloud that takes images in. An ability beside those of `crossport.spi.cloud`, by the same rules."""

    async def images(self) -> tuple[Image, ...]:
        """Return the images that VMs can be made from, by name."""
        ...

    async def add_image(self, name: str, image_format: str, content: AsyncIterator[bytes]) -> Image:
        """Take ``content``, of a stated format, in as an image.

        Nothing is kept unless it was found harmless: raise Refused with the code of what is wrong with it,
        Conflict ``image.exists`` for a name that is used, Blocked when there is no room.
        """
        ...

    async def drop_image(self, name: str) -> None:
        """Delete the image. VMs have copies. Not an error when it is gone."""
        ...


class CloudMaker(Protocol):
    """Makes embedded clouds, each tenant's in a place of its own."""

    async def make(self, tenant: str, request: CloudRequest) -> CloudEntry:
        """Make the cloud and return how it is connected.

        Raise Conflict ``cloud.exists``, Invalid with the field at fault.
        """
        ...

    async def unmake(self, tenant: str, entry: CloudEntry, *, confirmed: bool) -> tuple[str, ...]:
        """Remove the cloud with its images, unless it is not ``confirmed``; say in words what.

        Raise Refused for a cloud that was not made here, Conflict ``cloud.vms.left`` while it has VMs, kept
        sources among them.
        """
        ...


class Making(Protocol):
    """What a site's API serves of this. As in `crossport.spi.control`, every call names its tenant."""

    async def create_cloud(self, tenant: str, request: CloudRequest) -> CloudStatus:
        """Make an embedded cloud and connect it. Raise Conflict (``cloud.name.taken``), Invalid."""
        ...

    async def destroy_cloud(self, tenant: str, name: str, *, confirmed: bool) -> tuple[str, ...]:
        """Remove an embedded cloud for ever, and forget it; unconfirmed, only say what would be removed."""
        ...

    async def images(self, tenant: str, cloud: str) -> tuple[Image, ...]:
        """Return the cloud's images, by name."""
        ...

    async def add_image(
        self, tenant: str, cloud: str, name: str, image_format: str, content: AsyncIterator[bytes]
    ) -> Image:
        """Take an image in. See `ImageStore.add_image`."""
        ...

    async def fetch_image(self, tenant: str, cloud: str, name: str, image_format: str, url: str) -> Image:
        """Take in as an image what a web server has, as far as the operator lets the site fetch.

        Raise Refused (``egress.denied``) when it must not, and what ``ImageStore.add_image`` raises. Behind
        Unavailable the same call goes on with what had arrived.
        """
        ...

    async def drop_image(self, tenant: str, cloud: str, name: str) -> None:
        """Delete an image."""
        ...
