"""The site itself: whether it is well, who the caller is, its metrics, and the description of this API."""

from collections.abc import Callable
from typing import Any

from fastapi.responses import PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from crossport import __version__
from crossport.api import example
from crossport.api.parameter import Who
from crossport.api.route import Route
from crossport.model.access import Right
from crossport.model.greeting import Greeting
from crossport.model.record import record

__all__ = ["Healthy", "SiteRoutes"]


@record()
class Healthy:
    """The server answers."""

    status: str = "ok"


class SiteRoutes:
    """Serves ``/healthz``, ``/metrics``, ``/v1/site`` and ``/v1/openapi.json``."""

    def __init__(self, registry: CollectorRegistry, description: Callable[[], dict[str, Any]]) -> None:
        self._registry = registry
        self._description = description

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        greeting = Greeting(version=__version__, tenant="default", token="3f9a1c7e20b4", rights=(Right.READ,))  # noqa: S106
        return (
            Route("GET", "/healthz", "site.health", self.health, example.shown(Healthy()), public=True),
            Route(
                "GET",
                "/metrics",
                "site.metrics",
                self.metrics,
                "up 1.0",
                response=PlainTextResponse,
            ),
            Route("GET", "/v1/site", "site.show", self.show, example.shown(greeting)),
            Route("GET", "/v1/openapi.json", "site.describe", self.describe, {"openapi": "3.1.0"}),
        )

    async def health(self) -> Healthy:
        """Say that the server answers. Needs no token, and tells nothing else."""
        return Healthy()

    async def metrics(self) -> Response:
        """Return the site's figures for Prometheus."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def show(self, who: Who) -> Greeting:
        """Say which version serves, and what the caller may do."""
        return Greeting(
            version=__version__,
            tenant=who.tenant,
            token=who.token,
            rights=tuple(sorted(who.rights)),
            issuer=who.subject.issuer if who.subject else "",
            subject=who.subject.sub if who.subject else "",
            rule=who.rule,
            role=who.role,
            until=who.until,
            ceilings=who.ceilings,
        )

    async def describe(self) -> dict[str, Any]:
        """Return this API's description in OpenAPI 3.1."""
        return self._description()
