"""What the policies are asked about a request, and what a denial tells: the log is read, which has both."""

from typing import Any
from urllib.parse import quote

import httpx
import structlog
from tests.unit.api.site import Site

from crossport.model.access import Role

WISH = {"vm": "web", "source": "alpha", "target": "beta"}
TOKEN = {"name": "x", "role": "viewer"}
ODD = '") or true; permit(principal, action, resource); //'


async def decided(client: httpx.AsyncClient, method: str, path: str, body: object = None) -> dict[str, Any]:
    """Return the logged decision about a request."""
    with structlog.testing.capture_logs() as log:
        await client.request(method, path, json=body)
    (line,) = [line for line in log if line["event"] == "decision"]
    return line  # type: ignore[return-value]


async def test_the_clouds_come_from_path_and_body(client: httpx.AsyncClient):
    for method, path, body, clouds in (
        ("GET", "/v1/clouds/alpha/vms", None, ["alpha"]),
        ("POST", "/v1/dry-runs", WISH, ["alpha", "beta"]),
        ("POST", "/v1/dry-runs", {"source": ODD, "target": ["beta"]}, [ODD]),
        ("POST", "/v1/dry-runs", {"source": "x" * 100_000}, ["x" * 128]),
        ("POST", "/v1/dry-runs", "no object", []),
        ("GET", "/v1/runs", None, []),
    ):
        line = await decided(client, method, path, body)
        assert (line["allowed"], line["clouds"]) == (True, clouds)


async def test_a_thing_is_of_the_own_tenant_unless_a_token_is_made_for_another(client: httpx.AsyncClient):
    for path, body, of in (
        ("/v1/dry-runs", WISH | {"tenant": "other"}, "default"),
        ("/v1/tokens", TOKEN, "default"),
        ("/v1/tokens", TOKEN | {"tenant": "other"}, "other"),
    ):
        assert (await decided(client, "POST", path, body))["of"] == of


async def test_a_denial_is_logged_with_what_it_lacked_and_told_with_a_reason(site: Site):
    async with site.client(await site.token(Role.VIEWER)) as viewer:
        line = await decided(viewer, "POST", "/v1/runs/x1/cancel")
        assert (line["allowed"], line["policies"]) == (False, ())
        problem = (await viewer.post("/v1/runs/x1/cancel")).json()
    assert problem["code"] == "request.right.lacking"
    assert problem["detail"] == (
        "This token may not cancel (run). "
        "It takes the right operate, which the roles operator and admin include."
    )


async def test_a_name_of_any_spelling_is_judged_like_another(site: Site):
    async with site.client(await site.token(Role.VIEWER)) as viewer:
        for name in (ODD.replace("/", ""), '"', "\\", "\x00", "\u202e", "*", "x" * 5000):
            path = "/v1/runs/" + quote(name)
            assert (await viewer.get(path)).status_code in (404, 422), name
            assert (await viewer.post(f"{path}/cancel")).status_code == 403, name


async def test_a_text_that_is_no_unicode_is_refused(client: httpx.AsyncClient):
    body = b'{"vm": "web", "source": "\\ud800", "target": "beta"}'
    answer = await client.post("/v1/dry-runs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (422, "request.body.json")
