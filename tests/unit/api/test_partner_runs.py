"""Runs of partners over the API: what the operator sees of one that reserved a VM here, and how it ends."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.unit.api.site import Site, site

from crossport.identity.messages import Messages
from crossport.migration.partner.calls import Reserve
from crossport.migration.partner.foreign import foreign_id
from crossport.model import codec
from crossport.model.partner import Partner, PartnerState, TenantRule
from crossport.testing.document import MemoryDocuments

RUN = foreign_id("north", "run-1")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as one:
        yield one


async def reserve(one: Site) -> str:
    """Let the partner north reserve the VM web, and return that VM's id."""
    (vm,) = [vm for vm in await one.opened.control.vms("default", "alpha") if vm.name == "web"]
    north = Partner(
        name="north",
        authorities=(one.opened.identity.authority_pem,),
        address="https://north.example:1",
        root="",
        roles="",
        state=PartnerState.ACCEPTED,
        tenants=(TenantRule(theirs="acme", ours="default", clouds=("alpha",)),),
        since=0.0,
        changed=0.0,
        refreshed=0.0,
    )
    ask = Reserve(tenant="acme", cloud="alpha", step="reserve", vm=vm.id)
    messages = Messages("north", MemoryDocuments, one.clock, lambda: secrets.token_hex(16))
    content = messages.written("test", ask.OPERATION, codec.encoded(ask), run="run-1", epoch=1)
    await one.opened.partners.operations.answering(ask.OPERATION)(north, content)
    return vm.id


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_the_operator_sees_partners_runs_and_ends_one_that_nobody_ends(served: Site):
    vm = await reserve(served)
    async with served.client() as client:
        (seen,) = (await client.get("/v1/partner-runs", params={"partner": "north"})).json()["items"]
        assert (seen["id"], seen["run"], seen["vm"], seen["state"]) == (RUN, "run-1", vm, "going-on")
        assert seen["stands"] == [f"VM {vm} is reserved for it"]
        assert (await client.get("/v1/partner-runs", params={"partner": "south"})).json()["items"] == []
        assert (await client.get(f"/v1/partner-runs/{RUN}")).json() == seen
        path = f"/v1/partner-runs/{RUN}/clean"
        assert code(await client.post(path, json={})) == (409, "partner.run.going-on")
        assert (await client.post(path, json={"gone": True})).json() == {"removed": [], "left": []}
        after = (await client.get(f"/v1/partner-runs/{RUN}")).json()
        assert (after["over"], after["stands"]) == (True, [])
        assert code(await client.get("/v1/partner-runs/p-0")) == (404, "partner.run.unknown")


async def test_a_cloud_that_a_partner_uses_is_not_removed(served: Site):
    await reserve(served)
    async with served.client() as client:
        assert code(await client.delete("/v1/clouds/alpha")) == (409, "cloud.in-use")
        await client.post(f"/v1/partner-runs/{RUN}/clean", json={"gone": True})
        assert (await client.delete("/v1/clouds/alpha")).status_code == 204


async def test_what_is_over_is_forgotten_with_the_runs_of_the_site(served: Site):
    await reserve(served)
    await served.opened.engine.forget_ended()
    async with served.client() as client:
        await client.post(f"/v1/partner-runs/{RUN}/clean", json={"gone": True})
        await served.opened.engine.forget_ended()
        assert (await client.get(f"/v1/partner-runs/{RUN}")).status_code == 200
        served.opened.engine._clock.moved_s += 91 * 86400  # type: ignore[attr-defined]
        await served.opened.engine.forget_ended()
        assert (await client.get(f"/v1/partner-runs/{RUN}")).status_code == 404
