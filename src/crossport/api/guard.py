"""What stands before every route: an id for each request, limits of size and rate, figures, and the log.

The log has one line per request, with ids and without header, query or body: nothing secret can get in.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossport.api.problem import TooLarge, problem
from crossport.model.record import record
from crossport.spi.clock import Clock
from crossport.units import GIB

__all__ = ["Figures", "Guard", "Limits", "RateLimit"]


@record()
class Limits:
    """What one caller may ask of the server: bytes of a body and of an upload, requests per second, burst."""

    body_size: int = 4 * 1024 * 1024
    upload_size: int = 256 * GIB
    rate: float = 50.0
    burst: int = 200


class RateLimit:
    """A bucket of requests for each caller, which fills again with time. Forgets the longest silent."""

    CALLERS = 10_000

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str) -> int:
        """Return 0 when ``who`` may go on, else the whole seconds to wait."""
        now = self._clock.monotonic()
        level, seen = self._buckets.pop(who, (float(self._limits.burst), now))
        level = min(self._limits.burst, level + (now - seen) * self._limits.rate)
        granted = level >= 1
        self._buckets[who] = (level - 1 if granted else level, now)
        if len(self._buckets) > self.CALLERS:
            self._buckets.popitem(last=False)
        return 0 if granted else math.ceil((1 - level) / self._limits.rate)


class Figures:
    """What the server counts about itself. ``in_flight`` is the number of requests being answered.

    ``last_seen`` is the monotonic time at which the last request ended.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.in_flight = 0
        self.last_seen = 0.0
        self.requests = Counter(
            "crossport_requests_total", "Requests answered", ["operation", "status"], registry=registry
        )
        self.seconds = Histogram(
            "crossport_request_seconds", "Time to the first byte", ["operation"], registry=registry
        )


class Guard:
    """ASGI middleware. ``new_id`` names requests; ``is_upload`` says which, by method and path, are large."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits,
        clock: Clock,
        figures: Figures,
        new_id: Callable[[], str],
        is_upload: Callable[[str, str], bool],
    ) -> None:
        self._app = app
        self._is_upload = is_upload
        self._limits = limits
        self._clock = clock
        self._figures = figures
        self._new_id = new_id
        self._log: Any = structlog.get_logger("crossport.api")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless its body is too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["id"] = self._new_id()
        large = self._is_upload(scope["method"], scope["path"])
        exchange = _Exchange(
            scope, receive, send, self._limits.upload_size if large else self._limits.body_size
        )
        begun = self._clock.monotonic()
        self._figures.in_flight += 1
        try:
            await self._pass_on(exchange)
        finally:
            self._figures.in_flight -= 1
            self._figures.last_seen = self._clock.monotonic()
            self._tell(exchange, self._clock.monotonic() - begun)

    async def _pass_on(self, exchange: "_Exchange") -> None:
        try:
            exchange.refuse_large()
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except TooLarge as error:
            answer = problem(error, exchange.scope["state"]["id"])
            await answer(exchange.scope, exchange.receive, exchange.send)

    def _tell(self, exchange: "_Exchange", seconds: float) -> None:
        state = exchange.scope["state"]
        operation = state.get("operation", "unknown")
        caller = state.get("caller")
        self._figures.requests.labels(operation, str(exchange.status)).inc()
        self._figures.seconds.labels(operation).observe(seconds)
        self._log.info(
            "request",
            request=state["id"],
            operation=operation,
            method=exchange.scope["method"],
            path=exchange.scope["path"],
            status=exchange.status,
            seconds=round(seconds, 4),
            token=caller.token if caller else "",
            tenant=caller.tenant if caller else "",
        )


class _Exchange:
    """One request and its answer, watched: the size of the body, and the status."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, body_size: int) -> None:
        self.scope = scope
        self.status = int(HTTPStatus.INTERNAL_SERVER_ERROR)
        self._receive = receive
        self._send = send
        self._left = body_size

    def refuse_large(self) -> None:
        """Raise TooLarge when the request announces more than may come."""
        for name, value in self.scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._left:
                raise _too_large(self._left)

    async def receive(self) -> Message:
        """Return the next part, counted: a body can be longer than it announced."""
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _too_large(0)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), (b"x-request-id", self.scope["state"]["id"].encode())]
            message = {**message, "headers": headers}
        await self._send(message)


def _too_large(size: int) -> TooLarge:
    limit = f" than {size} bytes" if size else " than allowed"
    return TooLarge("request.body.large", f"The body is larger{limit}.", remedy="Send less at once.")
