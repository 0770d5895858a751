"""JSON of our own models, strict in both directions: unknown fields and wrong types are refused.

It is the only serialisation that runs, ledger and wire use. Pickle is refused everywhere.
"""

from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from crossport import errors
from crossport.model.name import reason

__all__ = ["decoded", "encoded", "from_plain", "plain"]

T = TypeVar("T")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def encoded(value: object, kind: Any = None) -> str:
    """Return ``value`` as JSON text. ``kind`` is needed where the type says more than the value."""
    return _adapter(kind or type(value)).dump_json(value).decode()


def decoded(text: str | bytes, kind: type[T]) -> T:
    """Return the ``kind`` that ``text`` holds; raise Invalid with the field at fault."""
    try:
        result: T = _adapter(kind).validate_json(text)
    except ValidationError as error:
        raise _invalid(error) from error
    return result


def plain(value: object, kind: Any = None) -> Any:
    """Return ``value`` as dicts, lists, texts and numbers."""
    return _adapter(kind or type(value)).dump_python(value, mode="json")


def from_plain(value: object, kind: type[T]) -> T:
    """Return the ``kind`` that plain ``value`` describes; raise Invalid with the field at fault."""
    try:
        result: T = _adapter(kind).validate_python(value)
    except ValidationError as error:
        raise _invalid(error) from error
    return result


def _invalid(error: ValidationError) -> errors.Invalid:
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return errors.Invalid(
        "input.field.invalid", reason(first), field=field, remedy="Correct this field and try again."
    )
