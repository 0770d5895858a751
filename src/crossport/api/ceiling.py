"""Keep a caller that has ceilings below them: every cloud, VM and project that a request touches is within.

What names none is refused, unless it only shows what everybody of the tenant may see. So a new operation is
closed to such callers until somebody thought about it.
"""

from typing import Any, Protocol, cast

from fastapi import Request
from pydantic_core import from_json

from crossport import errors
from crossport.api.body import body
from crossport.api.right import Caller
from crossport.api.route import Route
from crossport.model.construct import Constructs
from crossport.model.federation import Ceilings
from crossport.model.record import record
from crossport.model.request import DryRun
from crossport.model.run import MigrationRequest, RunRecord
from crossport.model.vm import VM

__all__ = ["Looks", "check_ceilings"]

OPEN = frozenset({"site.show", "site.describe", "cloud.list", "run.list", "grant.list"})
RESOURCES = frozenset({"cloud", "grant", "image", "migration", "run", "source", "vm"})
"""What an operation may be about: it says by path or body which cloud, VM or run it touches."""

OF_CLOUD = frozenset({"cloud.check", "cloud.show", "vm.list"})
"""What is about a cloud and none of its projects. The list of VMs is told of the caller's projects alone."""
DEFAULT = frozenset({"cloud.offer", "vm.create"})
"""What is done in the project that a cloud takes when none is named."""


class Looks(Protocol):
    """What tells where something lies: a part of `crossport.spi.control.Control`."""

    async def run(self, tenant: str, run: str) -> RunRecord:
        """Return one run."""
        ...

    async def vm(self, tenant: str, cloud: str, vm: str) -> VM:
        """Return one VM."""
        ...

    async def constructs(self, tenant: str, cloud: str) -> Constructs:
        """Return what a VM can be mapped to."""
        ...

    async def dry_run(self, tenant: str, request: MigrationRequest) -> DryRun:
        """Say what a migration would do."""
        ...


@record()
class _Touched:
    """What a request names."""

    clouds: tuple[str, ...]
    vms: tuple[str, ...]
    runs: tuple[str, ...]
    run: RunRecord | None = None


async def check_ceilings(caller: Caller, route: Route, request: Request, looks: Looks) -> tuple[str, ...]:
    """Return the clouds that a caller with ceilings touches; raise Refused when that goes beyond them.

    Nobody looks what a caller without ceilings touches, nor where it lies for one without projects.
    """
    if caller.ceilings == Ceilings() or route.operation in OPEN:
        return ()
    if route.resource not in RESOURCES:
        raise _refused_operation(route)
    touched = await _touched(caller, route, request, looks)
    if not touched.clouds:
        raise _refused_operation(route)
    _check("cloud", touched.clouds, caller.ceilings.clouds)
    if caller.ceilings.vms and not touched.vms and route.method != "GET":
        raise _refused_operation(route)
    _check("vm", touched.vms, caller.ceilings.vms)
    if caller.ceilings.runs and not touched.runs:
        raise _refused_operation(route)
    _check("run", touched.runs, caller.ceilings.runs)
    if caller.ceilings.projects:
        await _check_projects(caller, route, request, touched, looks)
    return touched.clouds


async def _check_projects(
    caller: Caller, route: Route, request: Request, touched: _Touched, looks: Looks
) -> None:
    """Raise Refused unless all lies in projects of the caller. A cloud without one of them is beyond."""
    allowed = caller.ceilings.projects
    clouds = tuple(sorted({each.partition("/")[0] for each in allowed}))
    _check("cloud", touched.clouds, clouds)
    if route.operation in OF_CLOUD:
        return
    ends = await _places(caller.tenant, route, request, touched, looks)
    if not ends or not all(project for _, project in ends):
        raise _refused_operation(route)
    _check("project", tuple(f"{cloud}/{project}" for cloud, project in ends), allowed)


async def _places(
    tenant: str, route: Route, request: Request, touched: _Touched, looks: Looks
) -> tuple[tuple[str, str], ...]:
    """Return clouds with the projects of them that are touched; none when that is not limited to projects.

    What was not noted when a run began is empty: its VMs may be gone by now.
    """
    if touched.run:
        told = touched.run.labels
        return tuple((told.get(end, ""), told.get(f"{end}_project", "")) for end in ("source", "target"))
    cloud = str(request.path_params.get("cloud", ""))
    if cloud and "vm" in request.path_params:
        return ((cloud, (await looks.vm(tenant, cloud, str(request.path_params["vm"]))).project),)
    if route.operation in DEFAULT:
        return ((cloud, (await looks.constructs(tenant, cloud)).project),)
    if route.body is MigrationRequest:
        found = await looks.dry_run(tenant, await body(MigrationRequest)(request))
        return (found.source, found.vm.project), (found.target, found.target_project)
    return ()


async def _touched(caller: Caller, route: Route, request: Request, looks: Looks) -> _Touched:
    named, run = dict(request.path_params), None
    if "run" in named:
        run = await looks.run(caller.tenant, str(named["run"]))
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
    return _Touched(clouds=clouds, vms=vms, runs=runs, run=run)


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
