"""Admit a request: the bearer token, then what the policies say.

A token is taken from the Authorization header only, never from a URL, which would end up in logs.
"""

from collections.abc import Awaitable, Callable

from fastapi import Request

from crossport.api.guard import RateLimit
from crossport.api.judge import Judge
from crossport.api.problem import TooMany, Unauthenticated
from crossport.api.route import Route
from crossport.api.token import Tokens

__all__ = ["admit"]


def admit(
    route: Route, tokens: Tokens, limit: RateLimit, judge: Judge
) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency that lets only callers pass whom the policies permit the route."""

    async def check(request: Request) -> None:
        if route.public:
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
        await judge.judge(route, caller, request)

    return check


def _address(request: Request) -> str:
    return request.client.host if request.client else "socket"


def _take(limit: RateLimit, who: str) -> None:
    wait_s = limit.take(who)
    if wait_s:
        raise TooMany(wait_s)
