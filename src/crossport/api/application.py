"""Put the API together: the routes of every resource, each behind the policies, and the guard before all."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse
from prometheus_client import CollectorRegistry

from crossport import __version__
from crossport.api import openapi, problem
from crossport.api.access import admit
from crossport.api.audited import Auditing
from crossport.api.caller import Callers
from crossport.api.guard import Figures, Guard, Limits, RateLimit
from crossport.api.judge import Judge
from crossport.api.resource.audit import AuditRoutes
from crossport.api.resource.cloud import Clouds
from crossport.api.resource.exchange import ExchangeRoutes
from crossport.api.resource.federation import FederationRoutes
from crossport.api.resource.gateway import GatewayRoutes
from crossport.api.resource.grant import GrantRoutes
from crossport.api.resource.import_policy import ImportPolicyRoutes
from crossport.api.resource.key import KeyRoutes
from crossport.api.resource.limit import RateLimits
from crossport.api.resource.making import MakingRoutes
from crossport.api.resource.migration import Migrations
from crossport.api.resource.partner import PartnerRoutes
from crossport.api.resource.partner_run import PartnerRunRoutes
from crossport.api.resource.plan import Plans
from crossport.api.resource.run import Runs
from crossport.api.resource.sign_in import SignInRoutes
from crossport.api.resource.site import SiteRoutes
from crossport.api.resource.token import TokenRoutes
from crossport.api.resource.vm import VMs
from crossport.api.route import Route
from crossport.api.token import Tokens
from crossport.identity.federation import Federation
from crossport.spi.audit import Audit, AuditBook, Heads
from crossport.spi.authorize import Authorizer
from crossport.spi.clock import Clock
from crossport.spi.control import Control
from crossport.spi.gateway import Gateways
from crossport.spi.grant import RunGrants
from crossport.spi.import_policy import ImportBook
from crossport.spi.limit import RateBook
from crossport.spi.making import Making
from crossport.spi.role import RoleKeys
from crossport.spi.trust import PartnerRuns, Trust

__all__ = ["Application", "Services"]

LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Services:
    """What the API makes reachable. ``audit_reads``: what changes nothing is in the audit log, too."""

    control: Control
    gateways: Gateways
    tokens: Tokens
    rates: RateBook
    making: Making
    keys: RoleKeys
    trust: Trust
    served: PartnerRuns
    imports: ImportBook
    federation: Federation
    grants: RunGrants
    audit: Audit
    authorizer: Authorizer
    book: AuditBook
    heads: Heads
    audit_reads: bool = False


class Application:
    """One site's API. ``asgi`` is what a server runs, ``routes`` the table."""

    def __init__(
        self,
        services: Services,
        *,
        clock: Clock,
        new_id: Callable[[], str],
        limits: Limits = LIMITS,
        registry: CollectorRegistry | None = None,
    ) -> None:
        registry = registry or CollectorRegistry()
        self._figures = Figures(registry)
        self.asgi = FastAPI(
            title="Crossport",
            version=__version__,
            summary="Moves virtual machines between clouds.",
            openapi_url=None,
            separate_input_output_schemas=False,
            redirect_slashes=False,
        )
        self.routes = _table(services, registry, self.description)
        self._description: dict[str, Any] | None = None
        self._authorizer = services.authorizer
        self._authorizer.require(route.operation for route in self.routes if not route.public)
        limit, judge = RateLimit(limits, clock), Judge(services.authorizer, clock)
        callers = Callers(services.tokens, services.federation)
        auditing = Auditing(services.audit, reads=services.audit_reads)
        for route in self.routes:
            admitted = auditing.admission(route, admit(route, callers, limit, judge, services.control))
            _serve(self.asgi, route, admitted, auditing.call(route))
        problem.install(self.asgi, self.methods)
        self.asgi.add_middleware(
            Guard,
            limits=limits,
            clock=clock,
            figures=self._figures,
            new_id=new_id,
            is_upload=self._is_upload,
        )

    @property
    def in_flight(self) -> int:
        """Return how many requests are being answered now."""
        return self._figures.in_flight

    @property
    def last_seen(self) -> float:
        """Return the monotonic time at which the last request ended, 0 before the first."""
        return self._figures.last_seen

    def description(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if self._description is None:
            self._description = openapi.described(self.asgi, self.routes, self._authorizer.permitting)
        return self._description

    def _is_upload(self, method: str, path: str) -> bool:
        return any(r.upload and r.method == method and _matches(r.path, path) for r in self.routes)

    def methods(self, path: str) -> tuple[str, ...]:
        """Return the methods that ``path`` answers, for the Allow header."""
        return tuple(sorted({route.method for route in self.routes if _matches(route.path, path)}))


def _table(
    services: Services, registry: CollectorRegistry, description: Callable[[], dict[str, Any]]
) -> tuple[Route, ...]:
    control = services.control
    return (
        *SiteRoutes(registry, description).routes(),
        *SignInRoutes(services.federation.book).routes(),
        *Clouds(control).routes(),
        *MakingRoutes(services.making).routes(),
        *VMs(control).routes(),
        *Migrations(control, services.grants).routes(),
        *Runs(control).routes(),
        *Plans(control, services.grants).routes(),
        *GrantRoutes(services.grants).routes(),
        *GatewayRoutes(services.gateways, control).routes(),
        *RateLimits(services.rates, control).routes(),
        *KeyRoutes(services.keys).routes(),
        *PartnerRoutes(services.trust).routes(),
        *PartnerRunRoutes(services.served).routes(),
        *ImportPolicyRoutes(services.imports).routes(),
        *FederationRoutes(services.federation.book).routes(),
        *ExchangeRoutes(services.federation).routes(),
        *TokenRoutes(services.tokens).routes(),
        *AuditRoutes(services.book, services.heads).routes(),
    )


def _serve(app: FastAPI, route: Route, admitted: Callable[..., Any], call: Callable[..., Any]) -> None:
    async def named(request: Request) -> None:
        request.state.operation = route.operation

    dependencies = [Depends(named), Depends(admitted)]
    if route.before:
        dependencies.append(Depends(route.before))
    options: dict[str, Any] = {}
    if route.response:
        options["response_class"] = route.response
    if route.stream:
        options["response_class"] = EventSourceResponse
    if route.status == HTTPStatus.NO_CONTENT:
        options["response_class"] = Response
    app.add_api_route(
        route.path,
        call,
        methods=[route.method],
        status_code=route.status,
        operation_id=route.operation,
        tags=[route.resource],
        dependencies=dependencies,
        **options,
    )


def _matches(template: str, path: str) -> bool:
    pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
    return re.fullmatch(pattern, path) is not None
