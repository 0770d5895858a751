"""Clouds that a site makes on its own machine, and the images that VMs are made from."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from crossport import errors
from crossport.model.construct import Image
from crossport.model.exchange import FetchRequest
from crossport.model.request import CloudEntry, CloudRequest, CloudStatus
from crossport.model.run import RunRecord
from crossport.model.vm import VM

__all__ = [
    "CloudMaker",
    "ImageStore",
    "Making",
    "image_exists",
    "image_unknown",
    "own_place",
    "place_in",
    "vms_left",
]


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


def image_unknown(image: str) -> errors.NotFound:
    """Return the error of an image that is not there, or not for who asks."""
    return errors.NotFound(
        "image.unknown",
        f"There is no image {image}.",
        field="image",
        remedy="List them with: crossport image list CLOUD",
    )


def image_exists(name: str) -> errors.Conflict:
    """Return the error of a name that an image has already."""
    return errors.Conflict(
        "image.exists",
        f"There is an image {name} already.",
        field="name",
        remedy="Choose another name, or delete that image first.",
    )


class CloudMaker(Protocol):
    """Makes embedded clouds, each tenant's in a place of its own."""

    async def make(self, tenant: str, request: CloudRequest) -> CloudEntry:
        """Make the cloud and return how it is connected.

        Raise Conflict ``cloud.exists``, Invalid with the field at fault.
        """
        ...

    async def unmake(self, tenant: str, entry: CloudEntry, *, confirmed: bool) -> tuple[str, ...]:
        """Remove the cloud with its images, unless it is not ``confirmed``; say in words what.

        Raise Refused for a cloud that was not made here, `vms_left` while it has VMs, kept sources among
        them.
        """
        ...


def place_in(folder: Path, tenant: str) -> Path:
    """Return where in ``folder`` a maker keeps the tenant's clouds."""
    if not tenant.strip("."):  # what else a tenant's name may have is safe in a path
        raise errors.Invalid(
            "tenant.name.wrong",
            f"The tenant's name {tenant!r} cannot name a directory.",
            field="tenant",
            remedy="Use a token of a tenant whose name has a letter or a digit.",
        )
    return folder / tenant


def own_place(place: Path, entry: CloudEntry, driver: str) -> Path:
    """Return where the cloud lies; raise Refused when no maker for ``driver`` made it in ``place``."""
    root = Path(entry.settings.get("path", ""))
    if entry.driver != driver or root.parent != place:
        raise errors.Refused(
            "cloud.not-made-here",
            f"{entry.name} was not made by this site.",
            field="cloud",
            remedy=f"Forget it, without touching it, with: crossport cloud remove {entry.name}",
        )
    return root


def vms_left(name: str, vms: tuple[VM, ...]) -> errors.Conflict:
    """Return the error for the cloud ``name`` that is not removed because of its ``vms``."""
    names = (vm.name + (" (a kept source)" if vm.fenced else "") for vm in vms)
    return errors.Conflict(
        "cloud.vms.left",
        f"{name} has VMs: {', '.join(names)}.",
        field="cloud",
        remedy=f"Migrate them, or delete them with: crossport vm delete VM --from {name}; "
        "kept sources with: crossport source retire RUN",
    )


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

    async def fetch_image(
        self, tenant: str, cloud: str, name: str, request: FetchRequest, key: str
    ) -> RunRecord:
        """Take in as an image what a web server has, as far as the operator lets the site fetch: by a run.

        Return the run that does so already, if there is one; ``key`` makes the call repeatable. Raise Refused
        (``egress.denied``) when it must not, Conflict when the name is used.
        """
        ...

    async def drop_image(self, tenant: str, cloud: str, name: str) -> None:
        """Delete an image."""
        ...
