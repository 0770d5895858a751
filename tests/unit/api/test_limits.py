"""Rate limits by way of the API: who may set them, what is refused, and what is shown."""

import httpx
from tests.unit.api.site import Site

from crossport.model.access import Right, Role

LIMIT = {"source": "alpha", "target": "beta", "rate_bps": 50_000_000}


async def test_a_limit_is_set_listed_and_removed(client: httpx.AsyncClient):
    window = {"start": "00:00", "end": "24:00", "rate_bps": 1_000_000}
    told = (await client.post("/v1/limits", json=LIMIT | {"windows": [window]})).json()
    assert told["now_bps"] == 1_000_000
    assert (await client.get("/v1/limits")).json()["items"] == [told]
    assert (await client.delete("/v1/limits/alpha/beta")).status_code == 204
    again = await client.delete("/v1/limits/alpha/beta")
    assert (again.status_code, again.json()["code"]) == (404, "limit.unknown")


async def test_what_contradicts_itself_or_is_out_of_bounds_names_its_field(client: httpx.AsyncClient):
    for change, field in (
        ({"target": "alpha"}, "target"),
        ({"zone": "Mars/Olympus"}, "zone"),
        ({"rate_bps": 10}, "rate_bps"),
        ({"rate_bps": None}, "rate_bps"),
        ({"windows": [{"start": "8", "end": "09:00"}]}, "windows.0.start"),
        ({"windows": [{"start": "08:00", "end": "08:00"}]}, "windows.0"),
    ):
        answer = await client.post("/v1/limits", json=LIMIT | change)
        assert (answer.status_code, answer.json()["field"]) == (422, field), change


async def test_links_are_for_the_site_to_limit_and_for_all_to_see(site: Site):
    async with site.client(await site.token(Role.ADMIN)) as admin:
        assert (await admin.post("/v1/limits", json=LIMIT)).status_code == 403
        assert (await admin.delete("/v1/limits/alpha/beta")).status_code == 403
        assert (await admin.get("/v1/limits")).status_code == 200
    async with site.client(await site.token(Role.VIEWER, Right.SITE)) as owner:
        assert (await owner.post("/v1/limits", json=LIMIT)).status_code == 200


async def test_a_run_is_limited_by_its_own_tenant_while_it_lasts(site: Site, client: httpx.AsyncClient):
    request = {"vm": "web", "source": "alpha", "target": "beta", "commit": "manual"}
    run = (await client.post("/v1/migrations", json=request)).json()["id"]
    bound = {"rate_bps": 1_000_000}
    assert (await client.post(f"/v1/runs/{run}/limit", json=bound)).json() == bound
    assert (await client.get(f"/v1/runs/{run}/limit")).json() == bound
    async with site.client(await site.token(Role.OPERATOR, tenant="other")) as stranger:
        assert (await stranger.post(f"/v1/runs/{run}/limit", json=bound)).status_code == 404
    async with site.client(await site.token(Role.VIEWER)) as viewer:
        assert (await viewer.post(f"/v1/runs/{run}/limit", json=bound)).status_code == 403
    await client.post(f"/v1/runs/{run}/cancel")
    await client.get(f"/v1/runs/{run}/events")
    late = await client.post(f"/v1/runs/{run}/limit", json=bound)
    assert (late.status_code, late.json()["code"]) == (409, "run.finished")
