"""The parameters that many routes share, each described once."""

from typing import Annotated, Generic, TypeVar, cast

from fastapi import Depends, Header, Path, Query, Request
from pydantic import BaseModel, ConfigDict

from crossport.api.right import Caller
from crossport.api.route import ID
from crossport.model.name import NAME

__all__ = [
    "After",
    "CloudName",
    "GatewayId",
    "Key",
    "Limit",
    "Page",
    "PartnerName",
    "TenantName",
    "PlanName",
    "RunId",
    "TokenId",
    "VmName",
    "Who",
    "page",
]

T = TypeVar("T")

LIMIT = 100
LIMIT_MAX = 500
"""Items of one page, unless asked otherwise, and at most."""


def _caller(request: Request) -> Caller:
    return cast("Caller", request.state.caller)


def _key(
    request: Request,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            pattern=r"^[A-Za-z0-9._:-]{1,128}$",
            description="Names this request: sent twice with the same key it is done once.",
        ),
    ] = None,
) -> str:
    return key or cast("str", request.state.id)


Who = Annotated[Caller, Depends(_caller)]
Key = Annotated[str, Depends(_key)]
CloudName = Annotated[str, Path(pattern=NAME, max_length=63, description="The cloud's name.")]
PlanName = Annotated[str, Path(pattern=NAME, max_length=63, description="The plan's name.")]
VmName = Annotated[
    str, Path(pattern=r"^[^/.][^/]*$", max_length=255, description="The VM's id, or its unambiguous name.")
]
RunId = Annotated[str, Path(pattern=ID, max_length=128, description="The run's id.")]
GatewayId = Annotated[str, Path(pattern=NAME, max_length=63, description="The gateway's id.")]
PartnerName = Annotated[str, Path(pattern=NAME, max_length=63, description="The partner's name.")]
TenantName = Annotated[str, Path(pattern=NAME, max_length=63, description="A tenant of the partner.")]
TokenId = Annotated[str, Path(pattern=r"^[0-9a-f]+$", max_length=64, description="The token's id.")]
After = Annotated[
    str, Query(max_length=255, description="Begin behind this place: the ``next`` of the page before.")
]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="How many items at most.")]


class Page(BaseModel, Generic[T]):
    """One page of a list. ``next`` goes into ``after`` for the page behind it; empty at the end."""

    model_config = ConfigDict(extra="forbid")

    items: tuple[T, ...]
    next: str = ""


def page(items: tuple[T, ...], keys: tuple[str, ...], after: str, limit: int) -> Page[T]:
    """Return the ``limit`` items whose key follows ``after``. ``keys`` are those of ``items``, ascending."""
    behind = [(key, item) for key, item in zip(keys, items, strict=True) if key > after]
    chosen = behind[:limit]
    rest = len(behind) > limit
    return Page(items=tuple(item for _, item in chosen), next=chosen[-1][0] if rest else "")
