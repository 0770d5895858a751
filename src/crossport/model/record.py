"""The one way in which the product's nouns are declared: frozen, slotted, by keyword, strict in JSON."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, TypeVar, dataclass_transform

__all__ = ["record", "sparse"]

T = TypeVar("T")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def record(*, kw_only: bool = True) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen dataclass whose JSON form refuses unknown fields."""

    def declare(kind: type[Any]) -> type[T]:
        kind.__pydantic_config__ = {"extra": "forbid"}
        return dataclass(frozen=True, slots=True, kw_only=kw_only)(kind)

    return declare


def sparse(value: Any) -> dict[str, Any]:
    """Return a record, and the records within, as dicts without the fields that say the same as no word.

    A reader of the release before refuses fields that it does not know, because they may restrict what it
    is about to do. So it takes whatever makes no use of a field that came later, and refuses the rest. A
    default is therefore never changed, and one that restricts nothing is what was meant before.
    """
    told = dict[str, Any]()
    for each in fields(value):
        said = getattr(value, each.name)
        default = each.default if each.default_factory is MISSING else each.default_factory()
        if default is MISSING or said != default:
            told[each.name] = sparse(said) if is_dataclass(said) else said
    return told
