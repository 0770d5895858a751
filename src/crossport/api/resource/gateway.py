"""Gateways: let one join, list, drain, remove. They themselves speak with the site by another door."""

from typing import Annotated

from fastapi import Depends

from crossport import errors
from crossport.api import example
from crossport.api.body import body
from crossport.api.parameter import After, GatewayId, Limit, Page, Who, page
from crossport.api.route import Route
from crossport.model.gateway import EnrollRequest, Enrolment, Gateway
from crossport.spi.control import Control
from crossport.spi.gateway import Gateways

__all__ = ["GatewayRoutes"]

REQUEST = EnrollRequest(cloud="alpha", subnet="VMExportSubnet")
ENROLMENT = Enrolment(
    gateway="gw-5f0c9a3b7d21",
    cloud="alpha",
    subnet="VMExportSubnet",
    expires=example.NOON + 600,
    fingerprint="9d" * 32,
    join="crossport-join-1.eyJ…",
)
GATEWAY = Gateway(
    id="gw-5f0c9a3b7d21",
    cloud="alpha",
    subnet="VMExportSubnet",
    joined=example.NOON,
    expires=example.NOON + 30 * 86400,
    connected=True,
    release="0.1.0",
    jobs=2,
)


class GatewayRoutes:
    """Serves ``/v1/gateways``."""

    def __init__(self, gateways: Gateways, control: Control) -> None:
        self._gateways = gateways
        self._control = control

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        many, one = "/v1/gateways", "/v1/gateways/{gateway}"
        shown, sent = example.shown(GATEWAY), example.shown(REQUEST)
        return (
            Route("GET", many, "gateway.list", self.list, example.page_of(GATEWAY)),
            Route(
                "POST",
                many,
                "gateway.enroll",
                self.enroll,
                example.shown(ENROLMENT),
                201,
                EnrollRequest,
                sent,
                raises=(404, 409),
            ),
            Route("GET", one, "gateway.show", self.show, shown, raises=(404,)),
            Route("POST", one + "/drain", "gateway.drain", self.drain, shown, raises=(404,)),
            Route("DELETE", one, "gateway.remove", self.remove, status=204, raises=(404,)),
        )

    async def list(self, who: Who, after: After = "", limit: Limit = 100) -> Page[Gateway]:
        """List the gateways in clouds of the tenant, by id."""
        found = await self._gateways.gateways(who.tenant)
        return page(found, tuple(one.id for one in found), after, limit)

    async def enroll(
        self, who: Who, request: Annotated[EnrollRequest, Depends(body(EnrollRequest))]
    ) -> Enrolment:
        """Let one new gateway join within ten minutes. The text to join with is shown this once."""
        if request.cloud not in {cloud.name for cloud in await self._control.clouds(who.tenant)}:
            raise errors.NotFound(
                "cloud.unknown",
                f"There is no cloud {request.cloud}.",
                field="cloud",
                remedy="See `crossport cloud list`.",
            )
        return await self._gateways.enroll(who.tenant, request)

    async def show(self, who: Who, gateway: GatewayId) -> Gateway:
        """Show one gateway, and whether it is connected to this node now."""
        return await self._gateways.gateway(who.tenant, gateway)

    async def drain(self, who: Who, gateway: GatewayId) -> Gateway:
        """Let it begin no new copy; those that run go on."""
        return await self._gateways.drain(who.tenant, gateway)

    async def remove(self, who: Who, gateway: GatewayId) -> None:
        """Trust it no longer and end its connection: copies that still run there end."""
        await self._gateways.remove(who.tenant, gateway)
