"""Keep a caller that has ceilings below them: every cloud and VM that a request names must be within.

What names none is refused, unless it only shows what everybody of the tenant may see. So a new operation is
closed to such callers until somebody thought about it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from fastapi import Request
from pydantic_core import from_json

from crossport import errors
from crossport.api.right import Caller
from crossport.api.route import Route
from crossport.model.federation import Ceilings
from crossport.model.record import record
from crossport.model.run import RunRecord

__all__ = ["FindRun", "check_ceilings"]

OPEN = frozenset({"site.show", "site.describe", "cloud.list", "run.list", "grant.list"})
RESOURCES = frozenset({"cloud", "grant", "image", "migration", "run", "source", "vm"})
"""What an operation may be about: it says by path or body which cloud, VM or run it touches."""

FindRun = Callable[[str, str], Awaitable[RunRecord]]


@record()
class _Touched:
    """What a request names."""

    clouds: tuple[str, ...]
    vms: tuple[str, ...]
    runs: tuple[str, ...]


async def check_ceilings(
    caller: Caller, route: Route, request: Request, find_run: FindRun
) -> tuple[str, ...]:
    """Return the clouds that a caller with ceilings touches; raise Refused when that goes beyond them.

    ``find_run`` is `Control.run`. Nobody looks what a caller without ceilings touches.
    """
    if caller.ceilings == Ceilings() or route.operation in OPEN:
        return ()
    if route.resource not in RESOURCES:
        raise _refused_operation(route)
    touched = await _touched(caller, route, request, find_run)
    if not touched.clouds:
        raise _refused_operation(route)
    _check("cloud", touched.clouds, caller.ceilings.clouds)
    if caller.ceilings.vms and not touched.vms and route.method != "GET":
        raise _refused_operation(route)
    _check("vm", touched.vms, caller.ceilings.vms)
    if caller.ceilings.runs and not touched.runs:
        raise _refused_operation(route)
    _check("run", touched.runs, caller.ceilings.runs)
    return touched.clouds


async def _touched(caller: Caller, route: Route, request: Request, find_run: FindRun) -> _Touched:
    named = dict(request.path_params)
    if "run" in named:
        run = await find_run(caller.tenant, str(named["run"]))
        ends = {"source": run.labels.get("source"), "target": run.labels.get("target")}
        named = {**ends, "vm": run.subject, "run": run.id}
    elif route.body and route.operation == "vm.create":
        named["vm"] = (await _body(request)).get("name")
    elif route.body and "cloud" not in named:
        named = await _body(request)
    clouds, vms, runs = (
        tuple(str(named[key]) for key in keys if named.get(key))
        for keys in (("cloud", "source", "target"), ("vm",), ("run",))
    )
    return _Touched(clouds=clouds, vms=vms, runs=runs)


async def _body(request: Request) -> dict[str, Any]:
    """Return what was sent; nothing for what is no JSON object, which the route itself refuses."""
    try:
        found: Any = from_json(await request.body())
    except ValueError:
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _check(what: str, named: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    for name in named:
        if allowed and name not in allowed:
            raise errors.Refused(
                "identity.ceiling.exceeded",
                f"Your token is only for {', '.join(allowed)}, not for the {what} {name[:80]}.",
                field=what,
                remedy="Ask the site's operator for a rule, or whoever made the token, for wider ceilings.",
            )


def _refused_operation(route: Route) -> errors.Refused:
    return errors.Refused(
        "identity.ceiling.operation",
        f"Your token is bounded, and {route.action} ({route.resource}) is not limited to what it is for.",
        field="Authorization",
        remedy="Use a token without ceilings.",
    )
