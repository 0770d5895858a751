"""The one way in which the product's nouns are declared: frozen, slotted, by keyword, strict in JSON."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

__all__ = ["record"]

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def record(*, kw_only: bool = True) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen dataclass whose JSON form refuses unknown fields."""

    def declare(kind: type[Any]) -> type[T]:
        kind.__pydantic_config__ = {"extra": "forbid"}
        return dataclass(frozen=True, slots=True, kw_only=kw_only)(kind)

    return declare
