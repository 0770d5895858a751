"""The table of routes and the description made of it: nothing is served that does not say what it needs."""

import re
from typing import Any

import httpx
import jsonschema
import pytest
from fastapi.routing import APIRoute
from tests.unit.api.site import Site

from crossport.model.access import Role

OPERATION = re.compile(r"[a-z]+\.[a-z-]+")


def operations(site: Site) -> list[tuple[str, str, dict[str, Any]]]:
    paths = site.application.description()["paths"]
    return [
        (path, method, operation) for path, methods in paths.items() for method, operation in methods.items()
    ]


async def test_every_route_that_is_served_declares_its_resource_and_action(site: Site):
    declared = {(route.method, route.path) for route in site.application.routes}
    served = {
        (method, route.path)
        for route in site.application.asgi.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert served == declared
    assert all(OPERATION.fullmatch(route.operation) for route in site.application.routes)
    assert len({route.operation for route in site.application.routes}) == len(declared)
    public = [route.path for route in site.application.routes if route.public]
    assert public == ["/healthz", "/v1/sign-in", "/v1/token"]


async def test_every_route_but_the_health_refuses_a_request_without_a_token(site: Site):
    async with site.client("nonsense") as client:
        for route in site.application.routes:
            path = re.sub(r"\{\w+\}", "x1", route.path)
            status = (await client.request(route.method, path, json={})).status_code
            assert status == {"/healthz": 200, "/v1/sign-in": 200, "/v1/token": 415}.get(path, 401), route


async def test_a_viewer_can_only_call_what_asks_for_reading(site: Site):
    async with site.client(await site.token(Role.VIEWER)) as client:
        for route in site.application.routes:
            path = re.sub(r"\{\w+\}", "x1", route.path)
            answer = await client.request(route.method, path, json={})
            refused = answer.status_code == 403 and answer.json()["code"] == "request.right.lacking"
            reads = "right.read" in site.authorizer.permitting(route.operation)
            assert refused != (route.public or reads), (route, answer.text)


async def test_every_operation_has_examples_that_fit_its_own_schema(site: Site):
    document = site.application.description()
    for path, method, operation in operations(site):
        media = [*operation.get("requestBody", {}).get("content", {}).values()]
        for answer in operation["responses"].values():
            media += [
                content for kind, content in answer.get("content", {}).items() if kind != "text/event-stream"
            ]
        for content in media:
            assert "example" in content, (path, method)
            schema = {**content.get("schema", {}), "components": document["components"]}
            jsonschema.validate(content["example"], schema)


async def test_every_operation_names_its_policies_and_its_problems(site: Site):
    for path, method, operation in operations(site):
        assert {"x-resource", "x-action", "x-permitted-by"} <= operation.keys(), (path, method)
        assert operation["summary"], (path, method)
        problems = {status for status in operation["responses"] if status >= "400"}
        assert path in ("/healthz", "/v1/sign-in", "/v1/token") or {"401", "403", "429"} <= problems, (
            path,
            method,
        )


async def test_the_description_is_served_to_who_may_read(client: httpx.AsyncClient, site: Site):
    answer = await client.get("/v1/openapi.json")
    assert answer.json() == site.application.description()
    assert answer.json()["openapi"].startswith("3.1")


@pytest.mark.parametrize(
    ("path", "allowed"),
    [("/v1/clouds", "GET, POST"), ("/v1/clouds/alpha", "DELETE, GET"), ("/v1/runs/x/cancel", "POST")],
)
async def test_a_wrong_method_is_told_all_methods_of_the_path(
    client: httpx.AsyncClient, path: str, allowed: str
):
    answer = await client.request("PATCH", path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    assert answer.json()["status"] == 405
