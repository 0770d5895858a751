"""Read a request's JSON into a record, strictly: no unknown fields, no texts for numbers."""

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from crossport import errors
from crossport.api.problem import UnsupportedMedia
from crossport.model.name import reason

__all__ = ["adapter", "body", "content", "form", "said"]

T = TypeVar("T")

EXACT = 2**53
"""Below it every whole number has a float of its own."""


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what validates and describes ``kind``."""
    return TypeAdapter(kind)


def body(kind: type[T]) -> Callable[[Request], Awaitable[T]]:
    """Return a dependency that reads a ``kind``; it raises Invalid with the field at fault."""

    async def read(request: Request) -> T:
        _need_media(request, "application/json", "JSON")
        try:
            value = _whole(await _parsed(request))
        except ValueError as error:
            raise errors.Invalid(
                "request.body.json", f"The body is not JSON: {error}.", remedy="Correct it and send it again."
            ) from error
        try:
            result: T = adapter(kind).validate_json(to_json(value), strict=True)
        except ValidationError as error:
            raise _invalid(error) from error
        return result

    return read


def form(kind: type[T]) -> Callable[[Request], Awaitable[T]]:
    """Return a dependency that reads a ``kind`` of texts from an HTML form.

    Fields that it does not know it passes over (RFC 6749, section 3.2). It raises Invalid with the field at
    fault, also for one that is given twice.
    """

    async def read(request: Request) -> T:
        _need_media(request, "application/x-www-form-urlencoded", "a form")
        try:
            fields = parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=32)
        except ValueError as error:
            raise _twice("", f"The body is no form: {error}.") from error
        if len(dict(fields)) != len(fields):
            field = next(name for name, _ in fields if [each for each, _ in fields].count(name) > 1)
            raise _twice(field, "This field is given twice.")
        try:
            known = {each.name for each in dataclasses.fields(cast("Any", kind))}
            told = {name: text for name, text in fields if name in known}
            result: T = adapter(kind).validate_json(to_json(told), strict=True)
        except ValidationError as error:
            raise _invalid(error) from error
        return result

    return read


def _twice(field: str, text: str) -> errors.Invalid:
    return errors.Invalid(
        "request.form.malformed", text, field=field, remedy="Send each field of the form once, in UTF-8."
    )


async def said(request: Request) -> dict[str, Any]:
    """Return the body's fields, before anything about them is checked; none of what is no JSON object."""
    try:
        value = await _parsed(request)
    except ValueError:
        return {}  # whoever reads the body tells what is wrong with it
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


async def _parsed(request: Request) -> Any:
    """Return the body's JSON, parsed once for all who ask; raise ValueError."""
    state = request.state
    if not hasattr(state, "parsed"):
        state.parsed = from_json(await request.body(), allow_inf_nan=False)
    return state.parsed


def content(request: Request) -> AsyncIterator[bytes]:
    """Return the body of an upload, piece by piece; raise UnsupportedMedia unless it is declared as bytes."""
    _need_media(request, "application/octet-stream", "bytes")
    return request.stream()


def _need_media(request: Request, wanted: str, word: str) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != wanted:
        raise UnsupportedMedia(
            "request.media-type",
            f"The body is {media_type or 'of no declared type'}, not {word}.",
            field="Content-Type",
            remedy=f"Send {wanted}.",
        )


def _whole(value: Any) -> Any:
    """Return ``value`` with 2.0 as 2: JSON knows one kind of number, a strict integer field two."""
    match value:
        case float() if value.is_integer() and abs(value) < EXACT:
            return int(value)
        case list():
            return [_whole(item) for item in cast("list[Any]", value)]
        case dict():
            return {key: _whole(item) for key, item in cast("dict[str, Any]", value).items()}
        case _:
            return value


def _invalid(error: ValidationError) -> errors.Invalid:
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return errors.Invalid(
        "request.body.invalid",
        reason(first),
        field=field,
        remedy="Correct this field and send it again.",
    )
