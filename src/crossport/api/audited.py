"""The audit log at the door: who asked for what, and what came of it; and who was refused, and why.

Whatever changes something is written down before it is done, and is not done otherwise. Of a body only what
cannot be secret is told: no value of a table (a cloud's settings), no address behind its path.
"""

import dataclasses
import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import Enum
from typing import Any, cast
from urllib.parse import urlsplit

from fastapi import Request

from crossport import errors
from crossport.api.right import Caller
from crossport.api.route import Route
from crossport.audit.recorded import failed, recorded
from crossport.model.audit import AuditEntry
from crossport.model.authorization import Decision
from crossport.spi.audit import Audit

__all__ = ["Auditing"]

OWN = "audited"
"""The name under which the framework hands the request in, where the route itself does not ask for it."""
SAFE = frozenset({"GET", "HEAD"})


class Auditing:
    """Wraps the admission and the call of each route. ``reads``: those that change nothing are told too."""

    def __init__(self, audit: Audit, *, reads: bool) -> None:
        self._audit = audit
        self._reads = reads

    def admission(
        self, route: Route, admit: Callable[[Request], Awaitable[None]]
    ) -> Callable[[Request], Awaitable[None]]:
        """Return ``admit``, whose refusals are written down before they are told.

        Who has no name is told of only where something was to be changed: anybody can knock.
        """

        async def check(request: Request) -> None:
            try:
                await admit(request)
            except errors.Refused as error:
                if _caller(request) or route.method not in SAFE:
                    await self._audit.note(_entry(route, request), failed(error))
                raise

        return check

    def call(self, route: Route) -> Callable[..., Any]:
        """Return what answers the route: its own call, between intent and outcome where that is wanted."""
        call = route.call
        if (route.public and not route.body) or inspect.isasyncgenfunction(call):
            return call
        if route.method in SAFE and not self._reads:
            return call

        signature = inspect.signature(call)
        asked = [one.name for one in signature.parameters.values() if one.annotation is Request]
        # The framework hands the request to one parameter only.
        name = asked[0] if asked else OWN

        @functools.wraps(call)
        async def told(*args: Any, **kwargs: Any) -> Any:
            request = kwargs[name] if asked else kwargs.pop(name)
            facts = {name: text for key, value in kwargs.items() for name, text in _facts(key, value)}
            entry = _entry(route, request, facts)
            async with recorded(self._audit, entry):
                return await call(*args, **kwargs)

        if not asked:
            own = inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=Request)
            parameters = [*signature.parameters.values(), own]
            vars(told)["__signature__"] = signature.replace(parameters=parameters)
        return told


def _caller(request: Request) -> Caller | None:
    return getattr(request.state, "caller", None)


def _entry(route: Route, request: Request, facts: Mapping[str, str] | None = None) -> AuditEntry:
    caller = _caller(request)
    address = request.client.host if request.client else "socket"
    return AuditEntry(
        action=route.operation,
        actor=f"token {caller.token}" if caller else f"address {address}",
        tenant=caller.tenant if caller else "",
        subject=f"{request.method} {request.url.path}",
        run=request.path_params.get("run", ""),
        facts={"request": request.state.id, "address": address, **_decided(request), **(facts or {})},
    )


def _decided(request: Request) -> dict[str, str]:
    """Return which policies let the request pass or not; nothing before they were asked."""
    decision: Decision | None = getattr(request.state, "decision", None)
    if not decision:
        return {}
    return {
        "decision": "allowed" if decision.allowed else "denied",
        "policies": ", ".join(decision.policies or decision.lacking),
    }


def _facts(name: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield what of a request may be told, by the names of its fields."""
    for inner, each in _parts(name, value):
        yield from _facts(inner, each)
    if isinstance(value, Mapping):
        yield name, ", ".join(sorted(map(str, cast("Mapping[object, object]", value))))
    elif text := _text(value):
        yield name, text


def _parts(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, tuple):
        for at, each in enumerate(cast("tuple[object, ...]", value)):
            yield f"{name}.{at}", each
    elif dataclasses.is_dataclass(value) and not isinstance(value, Caller):
        for each in dataclasses.fields(value):
            if each.repr:
                yield _joined(name, each.name), getattr(value, each.name)


def _text(value: object) -> str:
    """Return what a single value says; nothing for the framework's own, and what says the same as no word."""
    match value:
        case Enum():
            return str(value.value)
        case str():
            return _without_query(value)
        case bool() | int() | float():
            return str(value) if value else ""
        case _:
            return ""


def _joined(name: str, inner: str) -> str:
    """Return the name of a field; a body's own name tells nothing."""
    return inner if name in {"", "request"} else f"{name}.{inner}"


def _without_query(text: str) -> str:
    """Return an address without what may be a secret in it."""
    if "://" not in text:
        return text
    parts = urlsplit(text)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
