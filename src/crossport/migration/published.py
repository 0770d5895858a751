"""Which published images of its cloud a copy may take content from, opened for the gateway that writes."""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from crossport import errors
from crossport.model.artifact import Artifact, DiskRef, Role
from crossport.model.construct import Image
from crossport.model.run import Act, Created
from crossport.spi.cloud import Cloud, Publisher
from crossport.spi.run import Ledger

__all__ = ["IMAGES", "KIND", "Opened", "PublishedImages", "chosen"]

IMAGES = 4
"""How many images are looked into for one disk, unless a setting says otherwise."""
KIND = "images"
"""Of the ledger's entry."""

log = structlog.get_logger("crossport.migration")


@dataclass(frozen=True, slots=True)
class Opened:
    """Images that were opened, or why they could not be: ``fault``, empty where there is nothing to tell."""

    refs: tuple[DiskRef, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class PublishedImages:
    """Opens at most ``most`` images for each disk, and closes them; they are in the ledger first."""

    ledger: Ledger
    most: int

    async def opened(self, act: Act, cloud: str, driver: Cloud, artifact: Artifact) -> Opened:
        """Return images that the run may read at ``cloud``, none where that cannot be: a copy needs none."""
        if not self.most or artifact.role is not Role.DISK or not isinstance(driver, Publisher):
            return Opened()
        try:
            ids = chosen(await driver.published(), artifact.ref.size, self.most)
            if not ids:
                return Opened()
            await self.ledger.intend(Created(run=act.run, cloud=cloud, kind=KIND, name=KIND))
            return Opened(await driver.open_images(act, ids))
        except errors.Error as error:
            log.warning("images not opened", run=act.run, cloud=cloud, code=error.code, text=error.text)
            return Opened(fault=f"{error.text} [{error.code}]")

    async def closed(self, act: Act, cloud: str, driver: Cloud) -> None:
        """Close what the run has open at ``cloud``. What fails is left to whoever cleans up by the ledger."""
        entries = await self.ledger.entries(act.run, cloud)
        if isinstance(driver, Publisher) and any(one.kind == KIND for one in entries):
            try:
                await driver.close_images(act)
            except errors.Error as error:
                log.warning("images not closed", run=act.run, cloud=cloud, code=error.code, text=error.text)


def chosen(images: Sequence[Image], size: int, most: int) -> tuple[str, ...]:
    """Return the ids of those of which a disk of ``size`` bytes most likely has something.

    A VM's disk is as large as its image, or was made larger; ``images`` have the newest first.
    """
    fitting = [image for image in images if 0 < image.size <= size]
    return tuple(image.id for image in sorted(fitting, key=lambda image: image.size != size)[:most])
