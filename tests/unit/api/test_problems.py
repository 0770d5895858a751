"""Every error is a problem: a stable code, the field at fault, the remedy, and nothing secret."""

from pathlib import Path

import httpx
import pytest
import structlog
from tests.unit.api.site import Site
from tests.unit.api.site import site as running_site

from crossport.api import Limits

MIGRATION = {"vm": "web", "source": "alpha", "target": "beta"}


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (MIGRATION | {"colour": 1}, 422, "request.body.invalid", "colour"),
        (MIGRATION | {"shutdown_s": "90"}, 422, "request.body.invalid", "shutdown_s"),
        (MIGRATION | {"rules": {"networks": {"app": 3}}}, 422, "request.body.invalid", "rules.networks.app"),
        (MIGRATION | {"target": "gamma"}, 404, "cloud.unknown", "target"),
        (MIGRATION | {"vm": "nix"}, 404, "vm.unknown", "vm"),
        (MIGRATION | {"vm": "odd"}, 409, "disk.backing", ""),
    ],
    ids=["unknown-field", "text-for-number", "deep-field", "unknown-cloud", "unknown-vm", "blocked"],
)
async def test_bad_input_is_refused_with_the_field_and_a_remedy(
    client: httpx.AsyncClient, body: object, status: int, code: str, field: str
):
    answer = await client.post("/v1/migrations", json=body)
    told = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, told["status"], told["code"], told["field"]) == (status, status, code, field)
    assert told["remedy"]
    assert told["type"] == f"urn:crossport:problem:{code}"
    assert (await client.get("/v1/runs")).json()["items"] == []


@pytest.mark.parametrize(
    ("path", "code", "field"),
    [
        ("/v1/runs?limit=0", "request.parameter.invalid", "limit"),
        ("/v1/runs?state=happy", "request.parameter.invalid", "state"),
        ("/v1/clouds/-", "request.parameter.invalid", "cloud"),
        ("/v1/runs/run-9/events", "run.unknown", "run"),
    ],
)
async def test_a_bad_address_names_the_parameter(client: httpx.AsyncClient, path: str, code: str, field: str):
    told = (await client.get(path)).json()
    assert (told["code"], told["field"]) == (code, field)


async def test_a_body_that_is_not_json_is_refused(client: httpx.AsyncClient):
    answer = await client.post("/v1/migrations", content="vm: web", headers={"content-type": "text/yaml"})
    assert (answer.status_code, answer.json()["code"]) == (415, "request.media-type")


async def test_an_unforeseen_error_tells_its_id_only_and_the_log_has_the_rest(site: Site):
    async def fail(_: str) -> None:
        raise ZeroDivisionError("secret detail")

    site.opened.control.clouds = fail  # type: ignore[method-assign, assignment]
    transport = httpx.ASGITransport(site.application.asgi, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {site.secret}"}
    with structlog.testing.capture_logs() as log:
        async with httpx.AsyncClient(transport=transport, base_url="http://site", headers=headers) as client:
            answer = await client.get("/v1/clouds")
    assert (answer.status_code, answer.json()["code"]) == (500, "server.failed")
    assert "secret detail" not in answer.text
    assert any(
        line["event"] == "request.failed" and line["request"] == answer.json()["request"] for line in log
    )


async def test_a_large_body_is_refused_whether_or_not_it_announces_its_size(tmp_path: Path):
    async with running_site(tmp_path, limits=Limits(body_size=1000)) as site, site.client() as client:

        async def parts():
            for _ in range(20):
                yield b" " * 100

        announced = await client.post("/v1/migrations", content=b" " * 2000)
        unannounced = await client.post(
            "/v1/migrations", content=parts(), headers={"content-type": "application/json"}
        )
        for answer in (announced, unannounced):
            assert (answer.status_code, answer.json()["code"]) == (413, "request.body.large")


async def test_too_many_requests_are_told_when_to_come_again(tmp_path: Path):
    async with running_site(tmp_path, limits=Limits(rate=0.5, burst=3)) as site, site.client() as client:
        statuses = [(await client.get("/v1/site")).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        late = await client.get("/v1/site")
        assert (late.headers["retry-after"], late.json()["kind"]) == ("2", "Unavailable")
        site.clock.moved_s += 2
        assert (await client.get("/v1/site")).status_code == 200


async def test_guessing_tokens_is_slowed_down(tmp_path: Path):
    async with (
        running_site(tmp_path, limits=Limits(rate=0.5, burst=3)) as site,
        site.client("xp_" + "A" * 43) as client,
    ):
        statuses = [(await client.get("/v1/site")).status_code for _ in range(4)]
        assert statuses == [401, 401, 401, 429]


async def test_the_log_tells_ids_and_no_secret(site: Site, client: httpx.AsyncClient):
    entry = await site.found("c")
    settings = {**entry.settings, "key": "hush"}
    with structlog.testing.capture_logs() as log:
        answer = await client.post(
            "/v1/clouds?password=hush", json={"name": "c", "driver": "memory", "settings": settings}
        )
    decided, line = log
    assert {**decided, "micros": 0, "token": "", "log_level": ""} == {
        "event": "decision",
        "request": line["request"],
        "operation": "cloud.add",
        "allowed": True,
        "policies": ("right.administer",),
        "tenant": "default",
        "of": "default",
        "clouds": ["c"],
        "micros": 0,
        "token": "",
        "log_level": "",
    }
    assert line["request"] == answer.headers["x-request-id"]
    assert (line["operation"], line["tenant"], line["status"]) == ("cloud.add", "default", 201)
    assert "hush" not in str(log)
    assert site.secret not in str(log)
