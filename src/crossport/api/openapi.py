"""The API's description in OpenAPI 3.1: what FastAPI knows, and what the route table adds to it.

Added are the bodies (which are read by ``api.body``), an example for every request and answer, the problems
that each operation can answer, the bearer token, and per operation its resource, action and the
policies that permit it.
"""

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from crossport.api.body import adapter
from crossport.api.problem import MEDIA_TYPE
from crossport.api.route import Route

__all__ = ["described"]

Permitting = Callable[[str], tuple[str, ...]]
EVERYWHERE = (401, 403, 405, 413, 422, 429, 500)
REFERENCE = "#/components/schemas/{model}"
TEXT = {"type": "string"}
PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "An error (RFC 9457), with a stable code and what to do about it.",
    "required": ["type", "title", "status", "detail", "code", "remedy", "field", "kind", "request"],
    "properties": {
        "type": TEXT,
        "title": TEXT,
        "status": {"type": "integer"},
        "detail": TEXT,
        "code": {**TEXT, "description": "Stable: documented, never reused, never re-worded."},
        "remedy": {**TEXT, "description": "What to do now."},
        "field": {**TEXT, "description": "The input at fault, empty when there is none."},
        "kind": {**TEXT, "description": "The class of error, as the Python client raises it."},
        "request": {**TEXT, "description": "The request's id in the server's log."},
    },
}


def described(app: FastAPI, routes: tuple[Route, ...], permitting: Permitting) -> dict[str, Any]:
    """Return the document for ``routes`` as ``app`` serves them, each with the policies ``permitting`` it."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        openapi_version="3.1.0",
        routes=app.routes,
        separate_input_output_schemas=False,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    bodies = _bodies(routes, schemas)
    schemas["Problem"] = PROBLEM
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for route in routes:
        operation = document["paths"][route.path][route.method.lower()]
        _complete(operation, route, bodies, permitting)
        if route.names:
            operation["responses"][str(route.status)]["links"] = _links(route, routes)
    return document


def _bodies(routes: tuple[Route, ...], schemas: dict[str, Any]) -> dict[Any, Any]:
    """Add the schemas of all request bodies, and return the one of each kind."""
    kinds = list(dict.fromkeys(route.body for route in routes if route.body))
    found, shared = TypeAdapter.json_schemas(
        [(kind, "validation", adapter(kind)) for kind in kinds], ref_template=REFERENCE
    )
    schemas.update(shared.get("$defs", {}))
    return {kind: found[kind, "validation"] for kind in kinds}


def _complete(
    operation: dict[str, Any], route: Route, bodies: dict[Any, Any], permitting: Permitting
) -> None:
    operation["x-resource"], operation["x-action"] = route.resource, route.action
    operation["x-permitted-by"] = [] if route.public else [*permitting(route.operation)]
    operation["security"] = [] if route.public else [{"token": []}]
    if route.body:
        content = {"schema": bodies[route.body], "example": route.sent}
        media = "application/x-www-form-urlencoded" if route.form else "application/json"
        operation["requestBody"] = {"required": True, "content": {media: content}}
    if route.upload:
        content = {"schema": {"type": "string", "format": "binary"}, "example": "the bytes"}
        operation["requestBody"] = {"required": True, "content": {"application/octet-stream": content}}
    answers = operation["responses"]
    for media in answers[str(route.status)].get("content", {}).values():
        media["example"] = route.example
    for status in (
        *(() if route.public else EVERYWHERE),
        *route.raises,
        *((415,) if route.body or route.upload else ()),
    ):
        answers[str(status)] = _problem(status)


def _links(made: Route, routes: tuple[Route, ...]) -> dict[str, Any]:
    """Return links to every operation whose path the answer of ``made`` can fill."""
    parents = {name: f"$request.path.{name}" for name in re.findall(r"{(\w+)}", made.path)}
    known = parents | dict(made.names)
    links: dict[str, Any] = {}
    for route in routes:
        wanted = set(re.findall(r"{(\w+)}", route.path))
        if wanted <= known.keys() and wanted & made.names.keys():
            parameters = {name: known[name] for name in sorted(wanted)}
            links[route.operation] = {"operationId": route.operation, "parameters": parameters}
    return links


def _problem(status: int) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    example = {
        "type": "urn:crossport:problem:area.thing.what",
        "title": phrase,
        "status": status,
        "detail": "What happened.",
        "code": "area.thing.what",
        "remedy": "What to do now.",
        "field": "",
        "kind": "Error",
        "request": "5f1d0c2ab7e94c06",
    }
    schema = {"$ref": REFERENCE.format(model="Problem")}
    return {"description": phrase, "content": {MEDIA_TYPE: {"schema": schema, "example": example}}}
