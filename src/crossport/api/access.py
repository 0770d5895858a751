"""Admit a request: the bearer token, then the right that the route asks for.

A token is taken from the Authorization header only, never from a URL, which would end up in logs.
"""

from collections.abc import Awaitable, Callable

from fastapi import Request

from crossport import errors
from crossport.api.guard import RateLimit
from crossport.api.problem import TooMany, Unauthenticated
from crossport.api.route import Route
from crossport.api.token import Tokens
from crossport.model.access import Right

__all__ = ["admit"]


def admit(route: Route, tokens: Tokens, limit: RateLimit) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency that lets only callers pass who hold the route's right."""

    async def check(request: Request) -> None:
        if route.right is None:
            return
        caller = await tokens.caller(request.headers.get("authorization", ""))
        if caller is None:
            _take(limit, f"address {_address(request)}")
            raise Unauthenticated(
                "request.token.unknown",
                "The token is missing, wrong, expired or revoked.",
                field="Authorization",
                remedy="Send `Authorization: Bearer TOKEN`; the first token is in the control directory.",
            )
        _take(limit, f"token {caller.token}")
        request.state.caller = caller
        if route.right not in caller.rights:
            raise _refused(route, route.right)

    return check


def _address(request: Request) -> str:
    return request.client.host if request.client else "socket"


def _take(limit: RateLimit, who: str) -> None:
    wait_s = limit.take(who)
    if wait_s:
        raise TooMany(wait_s)


def _refused(route: Route, right: Right) -> errors.Refused:
    return errors.Refused(
        "request.right.lacking",
        f"This token may not {route.action} ({route.resource}): it lacks the right {right}.",
        field="Authorization",
        remedy="Use a token with this right; see `crossport token create --help`.",
    )
