"""A site in memory behind its real API, with one token of each kind: what the tests of the API talk to."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from crossport.api import Application, Limits, Services, Tokens
from crossport.app.clock import SystemClock
from crossport.migration.limits import Limits as RateLimits
from crossport.model.access import Right, Role, TokenRequest
from crossport.model.request import CloudEntry
from crossport.testing.control import MemoryControl, sample_vm
from crossport.testing.document import MemoryDocuments
from crossport.testing.gateway import MemoryGateways
from crossport.testing.making import MemoryMaking

GENEROUS = Limits(rate=10_000, burst=100_000)


class MovableClock(SystemClock):
    """The machine's clock, and however far a test moved it."""

    def __init__(self) -> None:
        self.moved_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.moved_s

    def monotonic(self) -> float:
        return super().monotonic() + self.moved_s


class Counter:
    """Bytes and ids that differ each time, and are the same in each session."""

    def __init__(self) -> None:
        self.count = 0

    def bytes(self, size: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(size, "big")

    def id(self) -> str:
        self.count += 1
        return f"{self.count:016x}"


@dataclass
class Site:
    """What a test needs to talk to the site and to look behind it."""

    application: Application
    control: MemoryControl
    tokens: Tokens
    store: MemoryDocuments
    gateways: MemoryGateways
    clock: MovableClock
    secret: str

    async def token(self, role: Role, *rights: Right, tenant: str = "default", days: int = 1) -> str:
        """Return the text of a new token."""
        request = TokenRequest(name="test", role=role, rights=rights, days=days)
        return (await self.tokens.create(request, tenant=tenant))[1].reveal()

    def client(self, secret: str | None = None) -> httpx.AsyncClient:
        """Return a client that sends ``secret``, or else the token with all rights."""
        headers = {"Authorization": f"Bearer {self.secret if secret is None else secret}"}
        transport = httpx.ASGITransport(self.application.asgi)
        return httpx.AsyncClient(transport=transport, base_url="http://site", headers=headers)


@asynccontextmanager
async def site(*, limits: Limits = GENEROUS, pace_s: float = 0.0) -> AsyncGenerator[Site]:
    """Run a site with the clouds alpha (web, db, odd) and beta."""
    clock, counter, store = MovableClock(), Counter(), MemoryDocuments()
    control = MemoryControl(clock, pace_s=pace_s)
    for name in ("alpha", "beta"):
        await control.add_cloud("default", CloudEntry(name=name, driver="memory"))
    for vm in (sample_vm("web"), sample_vm("db"), sample_vm("odd", blocked="yes")):
        control.put_vm("default", "alpha", vm)
    tokens = Tokens(store, clock, counter.bytes)
    request = TokenRequest(name="first", role=Role.ADMIN, rights=(Right.RETIRE, Right.SITE), days=0)
    _, secret = await tokens.create(request, tenant="default")
    gateways = MemoryGateways(clock)
    rates = RateLimits(lambda: store, clock, "test")
    services = Services(control, gateways, tokens, rates, MemoryMaking(control))
    application = Application(services, clock=clock, new_id=counter.id, limits=limits)
    try:
        yield Site(application, control, tokens, store, gateways, clock, secret.reveal())
    finally:
        await control.close()
