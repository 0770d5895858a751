"""Admit a request: the bearer token, then what the policies say.

A token is taken from the Authorization header only, never from a URL, which would end up in logs.
"""

from collections.abc import Awaitable, Callable

from fastapi import Request

from crossport.api.caller import Callers
from crossport.api.ceiling import Looks, check_ceilings
from crossport.api.guard import RateLimit
from crossport.api.judge import Judge
from crossport.api.problem import TooMany, Unauthenticated
from crossport.api.route import Route

__all__ = ["admit"]

UNLIMITED = frozenset({"site.health"})
"""What a monitor asks, from an address that strangers may share: they must not make the site look dead."""


def admit(
    route: Route, callers: Callers, limit: RateLimit, judge: Judge, looks: Looks
) -> Callable[[Request], Awaitable[None]]:
    """Return a dependency that lets only callers pass whom the policies permit the route."""

    async def check(request: Request) -> None:
        if route.public:
            if route.operation not in UNLIMITED:
                _take(limit, f"address {_address(request)}")
            return
        try:
            caller = await callers.caller(request)
        except Unauthenticated:
            _take(limit, f"address {_address(request)}")
            raise
        _take(limit, f"token {caller.token}")
        request.state.caller = caller
        clouds = await check_ceilings(caller, route, request, looks)
        await judge.judge(route, caller, request, clouds)

    return check


def _address(request: Request) -> str:
    return request.client.host if request.client else "socket"


def _take(limit: RateLimit, who: str) -> None:
    wait_s = limit.take(who)
    if wait_s:
        raise TooMany(wait_s)
