"""A call of the API as data: what is sent, and what kind of record comes back."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from crossport.model.record import record

__all__ = ["Call", "Page", "path"]

T = TypeVar("T")


@record()
class Page(Generic[T]):
    """One page of a list. ``next`` goes into ``after`` for the page behind it; empty at the end."""

    items: tuple[T, ...]
    next: str = ""


@record(kw_only=False)
class Call(Generic[T]):
    """One request. ``kind`` is the class of the answer, None for no answer; ``body`` a record of the model,
    ``form`` what is sent as an HTML form instead.

    ``key`` makes a call that starts something safe to repeat. ``patience_s`` bounds the waiting for the
    answer.
    """

    method: str
    path: str
    kind: Any
    body: object | None = None
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    form: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    key: str = ""
    patience_s: float = 60.0


def path(*parts: str) -> str:
    """Return the path of the API whose segments are ``parts``, whatever characters they contain."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)
