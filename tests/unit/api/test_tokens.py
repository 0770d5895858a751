"""Tokens: hashed at rest, scoped to tenant and rights, expiring, revocable."""

import hashlib

import httpx
import pytest
from tests.unit.api.site import Site

from crossport.api import Token
from crossport.model import codec
from crossport.model.access import Right, Role


async def status(site: Site, secret: str, path: str = "/v1/site") -> int:
    async with site.client(secret) as client:
        return (await client.get(path)).status_code


async def test_a_token_is_not_kept_in_clear(site: Site):
    (kept,) = await site.store.list("token", Token)
    assert site.secret not in codec.encoded(kept.value)
    assert kept.value.digest == hashlib.sha256(site.secret.encode()).hexdigest()


async def test_a_token_expires(site: Site):
    secret = await site.token(Role.VIEWER, days=1)
    assert await status(site, secret) == 200
    site.clock.moved_s += 86401
    assert await status(site, secret) == 401


async def test_a_revoked_token_is_worthless_at_once(site: Site, client: httpx.AsyncClient):
    made = (await client.post("/v1/tokens", json={"name": "ci", "role": "viewer"})).json()
    assert await status(site, made["secret"]) == 200
    assert (await client.delete(f"/v1/tokens/{made['token']['id']}")).status_code == 204
    assert await status(site, made["secret"]) == 401


@pytest.mark.parametrize("wrong", ["{0}x", "xp_{0}", "xp__", "", " ", "XP_{1}", "xp_A{1}"])
async def test_a_token_that_is_almost_right_is_wrong(site: Site, wrong: str):
    assert await status(site, wrong.format(site.secret, site.secret.removeprefix("xp_"))) == 401


async def test_a_token_in_the_url_is_not_taken(site: Site):
    transport = httpx.ASGITransport(site.application.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://site") as client:
        assert (
            await client.get(f"/v1/site?token={site.secret}&access_token={site.secret}")
        ).status_code == 401


async def test_nobody_hands_out_more_than_the_own_token_may(site: Site):
    async with site.client(await site.token(Role.ADMIN)) as client:
        wish = {"name": "x", "role": "viewer"}
        assert (await client.post("/v1/tokens", json=wish)).status_code == 201
        for more in ({"rights": ["retire"]}, {"rights": ["site"]}):
            answer = await client.post("/v1/tokens", json=wish | more)
            assert (answer.status_code, answer.json()["code"]) == (403, "token.rights.exceeded")
        answer = await client.post("/v1/tokens", json=wish | {"tenant": "other"})
        assert (answer.status_code, answer.json()["code"]) == (403, "request.policy.forbids")
        assert answer.json()["detail"] == (
            "This token may not create (token). It is another tenant's. (Policy tenant.isolation.)"
        )


async def test_tenants_do_not_see_each_other(site: Site):
    async with site.client() as mine, site.client(await site.token(Role.ADMIN, tenant="other")) as other:
        wish = {"vm": "web", "source": "alpha", "target": "beta"}
        run = (await mine.post("/v1/migrations", json=wish)).json()["id"]
        for path in ("/v1/clouds", "/v1/runs", "/v1/plans"):
            assert (await other.get(path)).json()["items"] == []
        assert (await other.get(f"/v1/runs/{run}")).status_code == 404
        assert [token["tenant"] for token in (await other.get("/v1/tokens")).json()["items"]] == ["other"]
        foreign = (await mine.get("/v1/site")).json()["token"]
        assert (await other.delete(f"/v1/tokens/{foreign}")).status_code == 404


async def test_a_request_cannot_name_another_tenant(site: Site):
    async with site.client() as client:
        body = {"vm": "web", "source": "alpha", "target": "beta", "tenant": "other"}
        assert (await client.post("/v1/migrations", json=body)).json()["tenant"] == "default"


async def test_retiring_is_a_right_of_its_own(site: Site):
    async with site.client(await site.token(Role.ADMIN)) as admin:
        run = (
            await admin.post("/v1/migrations", json={"vm": "web", "source": "alpha", "target": "beta"})
        ).json()
        await admin.get(f"/v1/runs/{run['id']}/events")
        path = f"/v1/runs/{run['id']}/retirement"
        assert (await admin.get(path)).json()["done"] is False
        assert (await admin.post(path)).status_code == 403
        async with site.client(await site.token(Role.OPERATOR, Right.RETIRE)) as retirer:
            assert (await retirer.post(path)).json()["done"] is True
            assert (await retirer.post(path)).json()["things"] == []
