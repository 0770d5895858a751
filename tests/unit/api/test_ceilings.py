"""Ceilings: what a caller that is bounded to clouds and VMs may ask for, over the routes that there are."""

import pytest
from fastapi import Request
from tests.unit.api.site import Site

from crossport import errors
from crossport.api.ceiling import OPEN, RESOURCES, check_ceilings
from crossport.api.right import Caller
from crossport.api.route import Route
from crossport.model.access import Right
from crossport.model.federation import Ceilings
from crossport.model.run import RunRecord, RunState

BETA = Ceilings(clouds=("alpha", "beta"))
WEB = Ceilings(clouds=("alpha", "beta"), vms=("web",))


JSON = [(b"content-type", b"application/json")]
SHOP = Ceilings(projects=("alpha/shop", "beta/shop"))


class Runs:
    """Runs that say what they are about; where other things lie the site itself tells."""

    def __init__(self, site: Site) -> None:
        control = site.opened.control
        self.vm, self.constructs, self.dry_run = control.vm, control.constructs, control.dry_run

    async def run(self, tenant: str, run: str) -> RunRecord:
        source, target, vm, *projects = run.split("-")
        labels = {"source": source, "target": target}
        labels |= zip(("source_project", "target_project"), projects, strict=False)
        return RunRecord(
            id=run,
            kind="migrate",
            tenant=tenant,
            state=RunState.RUNNING,
            subject=vm,
            created=0.0,
            labels=labels,
        )


async def code(site: Site, ceilings: Ceilings, operation: str, body: str = "", **path: str) -> str:
    """Return the code with which an operation is refused, empty when it is not."""
    (route,) = [each for each in site.application.routes if each.operation == operation]

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body.encode()}

    request = Request({"type": "http", "path_params": path, "headers": JSON}, receive)
    caller = Caller(token="t", tenant="default", rights=frozenset(Right), ceilings=ceilings)
    try:
        await check_ceilings(caller, route, request, Runs(site))
    except errors.Refused as error:
        return error.code
    return ""


BEYOND, CLOSED = "identity.ceiling.exceeded", "identity.ceiling.operation"


async def test_every_cloud_and_vm_that_a_request_names_must_be_within(site: Site):
    wish = '{{"vm": "{}", "source": "{}", "target": "{}"}}'
    for operation in ("migration.start", "migration.try"):
        assert await code(site, WEB, operation, wish.format("web", "alpha", "beta")) == ""
        assert await code(site, WEB, operation, wish.format("web", "alpha", "gamma")) == BEYOND
        assert await code(site, WEB, operation, wish.format("web", "gamma", "beta")) == BEYOND
        assert await code(site, WEB, operation, wish.format("db", "alpha", "beta")) == BEYOND
        assert await code(site, BETA, operation, wish.format("db", "alpha", "beta")) == ""
        assert await code(site, WEB, operation, "no JSON") == CLOSED
        assert await code(site, WEB, operation, "[]") == CLOSED
    assert await code(site, WEB, "vm.stop", "{}", cloud="beta", vm="web") == ""
    assert await code(site, WEB, "vm.stop", "{}", cloud="beta", vm="db") == BEYOND
    assert await code(site, WEB, "vm.stop", '{"cloud": "beta"}', cloud="gamma", vm="web") == BEYOND
    assert await code(site, WEB, "vm.create", '{"name": "db"}', cloud="beta") == BEYOND
    assert await code(site, WEB, "vm.create", '{"name": "web"}', cloud="beta") == ""


async def test_a_run_is_within_when_its_clouds_and_its_vm_are(site: Site):
    for operation in ("run.show", "run.cancel", "run.commit", "source.retire", "run.resolve", "run.limit"):
        assert await code(site, WEB, operation, '{"vm": "web"}', run="alpha-beta-web") == ""
        assert await code(site, WEB, operation, '{"vm": "web"}', run="alpha-beta-db") == BEYOND
        assert await code(site, WEB, operation, '{"source": "beta"}', run="gamma-beta-web") == BEYOND


async def test_what_lies_in_another_project_of_the_same_cloud_is_beyond(site: Site):
    await site.of_project("ledger", "bank")
    wish = '{{"vm": "{}", "source": "alpha", "target": "beta"}}'
    for vm, said in (("web", ""), ("ledger", BEYOND)):
        for operation in ("migration.start", "migration.try"):
            assert await code(site, SHOP, operation, wish.format(vm)) == said
        for operation in ("vm.show", "vm.console", "vm.start", "vm.stop", "vm.preview", "vm.delete"):
            assert await code(site, SHOP, operation, "{}", cloud="alpha", vm=vm) == said
    bank = Ceilings(projects=("alpha/shop", "beta/bank"))
    assert await code(site, bank, "migration.start", wish.format("web")) == BEYOND
    for operation in ("vm.create", "cloud.offer"):
        assert await code(site, SHOP, operation, '{"name": "new"}', cloud="beta") == ""
        assert await code(site, bank, operation, '{"name": "new"}', cloud="beta") == BEYOND
    for operation in ("cloud.show", "cloud.check", "vm.list"):
        assert await code(site, SHOP, operation, cloud="beta") == ""
        assert await code(site, SHOP, operation, cloud="gamma") == BEYOND


async def test_a_run_is_within_when_both_its_projects_are_and_closed_when_they_are_not_known(site: Site):
    for operation in ("run.show", "run.cancel", "grant.revoke", "source.retire"):
        assert await code(site, SHOP, operation, run="alpha-beta-web-shop-shop") == ""
        assert await code(site, SHOP, operation, run="alpha-beta-web-bank-shop") == BEYOND
        assert await code(site, SHOP, operation, run="alpha-beta-web-shop-bank") == BEYOND
        assert await code(site, SHOP, operation, run="alpha-beta-web") == CLOSED


async def test_what_touches_all_projects_of_a_cloud_is_closed_to_who_is_bounded_to_some(site: Site):
    for operation in ("cloud.remove", "cloud.destroy", "image.list", "image.upload", "migration.assess"):
        assert await code(site, SHOP, operation, '{"source": "beta"}', cloud="beta") == CLOSED, operation


async def test_what_touches_a_whole_cloud_is_closed_to_who_is_bounded_to_vms(site: Site):
    assert await code(site, BETA, "cloud.destroy", cloud="beta") == ""
    assert await code(site, WEB, "cloud.destroy", cloud="beta") == CLOSED
    assert await code(site, WEB, "vm.list", cloud="beta") == ""
    assert await code(site, WEB, "vm.list", cloud="gamma") == BEYOND


@pytest.mark.parametrize("ceilings", [BETA, Ceilings(vms=("web",)), SHOP], ids=["clouds", "vms", "projects"])
async def test_every_other_operation_is_closed(site: Site, ceilings: Ceilings):
    def closed(route: Route) -> bool:
        return not route.public and route.operation not in OPEN and route.resource not in RESOURCES

    names = [route.operation for route in site.application.routes if closed(route)]
    assert {"token.create", "plan.run", "gateway.enroll", "key.revoke", "rule.add"} <= set(names)
    assert {await code(site, ceilings, name, '{"source": "beta", "cloud": "beta"}') for name in names} == {
        CLOSED
    }
    assert {await code(site, ceilings, name) for name in OPEN} == {""}


async def test_who_has_no_ceilings_is_not_bounded(site: Site):
    assert {await code(site, Ceilings(), route.operation) for route in site.application.routes} == {""}
