"""Clouds: connect, list, ask, forget; and what a VM can be mapped to there."""

from typing import Annotated

from fastapi import Depends

from crossport import errors
from crossport.api import example
from crossport.api.body import body
from crossport.api.parameter import After, CloudName, Limit, Page, Who, page
from crossport.api.route import Route
from crossport.model.construct import Constructs
from crossport.model.request import CloudEntry, CloudStatus
from crossport.spi.control import Control

__all__ = ["Clouds"]


class Clouds:
    """Serves ``/v1/clouds``."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        many, one = "/v1/clouds", "/v1/clouds/{cloud}"
        sent, status = example.shown(example.CLOUD), example.shown(example.CLOUD_STATUS)
        listed, built = example.page_of(example.CLOUD), example.shown(example.CONSTRUCTS)
        return (
            Route("GET", many, "cloud.list", self.list, listed),
            Route(
                "POST",
                many,
                "cloud.add",
                self.add,
                status,
                201,
                CloudEntry,
                sent,
                raises=(409, 503),
                names={"cloud": "$response.body#/entry/name"},
            ),
            Route("GET", one, "cloud.show", self.show, sent, raises=(404,)),
            Route("DELETE", one, "cloud.remove", self.remove, status=204, raises=(404, 409)),
            Route("GET", one + "/status", "cloud.check", self.check, status, raises=(404, 503)),
            Route("GET", one + "/constructs", "cloud.offer", self.constructs, built, raises=(404, 503)),
        )

    async def list(self, who: Who, after: After = "", limit: Limit = 100) -> Page[CloudEntry]:
        """List the clouds of the tenant, by name."""
        clouds = await self._control.clouds(who.tenant)
        return page(clouds, tuple(cloud.name for cloud in clouds), after, limit)

    async def add(self, who: Who, entry: Annotated[CloudEntry, Depends(body(CloudEntry))]) -> CloudStatus:
        """Connect a cloud and keep it. Adding the same one again changes nothing."""
        return await self._control.add_cloud(who.tenant, entry)

    async def show(self, who: Who, cloud: CloudName) -> CloudEntry:
        """Show how a cloud is connected, without asking it."""
        for entry in await self._control.clouds(who.tenant):
            if entry.name == cloud:
                return entry
        raise errors.NotFound(
            "cloud.unknown",
            f"There is no cloud {cloud}.",
            field="cloud",
            remedy="See `crossport cloud list`.",
        )

    async def check(self, who: Who, cloud: CloudName) -> CloudStatus:
        """Ask the cloud now whether it answers and what it can do."""
        return await self._control.check_cloud(who.tenant, cloud)

    async def constructs(self, who: Who, cloud: CloudName) -> Constructs:
        """Show what a VM can be mapped to there: flavors, networks, security groups, keys, quota."""
        return await self._control.constructs(who.tenant, cloud)

    async def remove(self, who: Who, cloud: CloudName) -> None:
        """Forget a cloud. Nothing in the cloud itself is touched."""
        await self._control.remove_cloud(who.tenant, cloud)
