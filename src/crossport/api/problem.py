"""Every error leaves the API as problem+json (RFC 9457), with a stable code and what to do about it.

Members beyond the RFC: ``code`` (stable), ``remedy``, ``field``, ``kind`` (the class of
``crossport.errors``, so that a client raises the same one) and ``request`` (the id in the server's log).
Where a token is not given, ``error`` and ``error_description`` are those of OAuth.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from crossport import errors
from crossport.model.name import reason

__all__ = [
    "MEDIA_TYPE",
    "GrantRefused",
    "TooLarge",
    "TooMany",
    "Unauthenticated",
    "UnsupportedMedia",
    "install",
    "problem",
]

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:crossport:problem:"


class Unauthenticated(errors.Refused):
    """No token, or one that is wrong, expired or revoked."""

    status = 401


class GrantRefused(errors.Refused):
    """A token is not given. ``error`` says why in the words of OAuth (RFC 6749, section 5.2)."""

    status = 400

    def __init__(self, error: str, why: errors.Error) -> None:
        super().__init__(why.code, why.text, remedy=why.remedy, field=why.field)
        self.error = error


class TooLarge(errors.Invalid):
    """The request's body is larger than this server takes."""

    status = 413


class UnsupportedMedia(errors.Invalid):
    """The body is not JSON."""

    status = 415


class TooMany(errors.Unavailable):
    """The token, or the address, made too many requests. ``retry_after_s`` says when to come again."""

    status = 429

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            "request.rate.exceeded",
            "Too many requests were made with this token or from this address.",
            remedy=f"Wait {retry_after_s} s.",
        )
        self.retry_after_s = retry_after_s


def problem(error: errors.Error, request_id: str, status: int = 0) -> JSONResponse:
    """Return the answer that tells ``error``, with its own HTTP status unless another one is given."""
    status = status or error.status
    content: dict[str, Any] = {
        "type": TYPE_PREFIX + error.code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": error.text,
        "code": error.code,
        "remedy": error.remedy,
        "field": error.field,
        "kind": _kind(type(error)),
        "request": request_id,
    }
    if isinstance(error, GrantRefused):
        content |= {"error": error.error, "error_description": error.text}
    return JSONResponse(content, status, _headers(error), MEDIA_TYPE)


def install(app: FastAPI, methods: Callable[[str], tuple[str, ...]]) -> None:
    """Let ``app`` answer every error as a problem. ``methods`` says what a path answers."""

    async def on_http(request: Request, error: Exception) -> JSONResponse:
        answer = await _on_http(request, error)
        if answer.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            # The framework names the methods of the first route of this path only.
            answer.headers["Allow"] = ", ".join(methods(request.url.path))
        return answer

    app.add_exception_handler(errors.Error, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(Exception, _on_bug)
    app.add_exception_handler(HTTPException, on_http)


def _kind(kind: type[errors.Error]) -> str:
    """Return the name of the class of ``crossport.errors`` that ``kind`` is or derives from."""
    return next(one.__name__ for one in kind.__mro__ if one.__module__ == errors.__name__)


def _headers(error: errors.Error) -> dict[str, str]:
    if isinstance(error, TooMany):
        return {"Retry-After": str(error.retry_after_s)}
    return {"WWW-Authenticate": "Bearer, DPoP"} if error.status == HTTPStatus.UNAUTHORIZED else {}


def _id(request: Request) -> str:
    return cast("str", getattr(request.state, "id", ""))


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    """Tell a foreseen error; those that are the server's fault go to the log with their trace."""
    known = cast("errors.Error", error)
    if known.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        structlog.get_logger("crossport.api").error("request.broken", code=known.code, exc_info=error)
    return problem(known, _id(request))


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    """Tell no more than the id under which the log has the rest."""
    structlog.get_logger("crossport.api").error("request.failed", request=_id(request), exc_info=error)
    broken = errors.Broken(
        "server.failed",
        "The server met something that nobody foresaw.",
        remedy="See its log.",
    )
    return problem(broken, _id(request))


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    """Name the first parameter at fault."""
    first: Mapping[str, Any] = cast("RequestValidationError", error).errors()[0]
    where, *path = (str(part) for part in first["loc"])
    field = ".".join(path) or where
    text = reason(first)
    return problem(
        errors.Invalid("request.parameter.invalid", text, field=field, remedy=f"Correct it in the {where}."),
        _id(request),
    )


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    """Translate what the framework itself refuses: unknown paths and methods."""
    http = cast("HTTPException", error)
    kind: type[errors.Error]
    match http.status_code:
        case HTTPStatus.NOT_FOUND:
            kind, code = errors.NotFound, "request.path.unknown"
            text, remedy = f"There is nothing at {request.url.path}.", "See /v1/openapi.json."
        case HTTPStatus.METHOD_NOT_ALLOWED:
            kind, code = errors.Invalid, "request.method.unknown"
            text, remedy = f"{request.method} is not possible here.", "See the Allow header."
        case _:
            kind, code = errors.Invalid, "request.invalid"
            text, remedy = str(http.detail), "Correct the request."
    answer = problem(kind(code, text, remedy=remedy), _id(request), http.status_code)
    answer.headers.update(http.headers or {})
    return answer
