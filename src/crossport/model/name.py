"""Texts with a form that people give: names of what a site keeps, moments; and how a wrong one is told."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, Field

__all__ = ["NAME", "Moment", "Name", "reason", "seconds_of"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
LONGEST = 63
_MOMENT = r"^(\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d))?$"
_NO_MOMENT = "This is no moment: write 2026-12-31T22:30+01:00, with its distance from UTC, or Z."

Name = Annotated[str, Field(pattern=NAME, max_length=LONGEST)]


def seconds_of(moment: str) -> float:
    """Return the Unix seconds of a Moment, 0 for an empty one."""
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0


def _checked(moment: str) -> str:
    try:
        seconds_of(moment)
    except (ValueError, OverflowError):
        raise ValueError(_NO_MOMENT) from None
    return moment


Moment = Annotated[str, Field(pattern=_MOMENT), AfterValidator(_checked)]
"""A date and time of day with its distance from UTC, or empty."""


def reason(detail: Mapping[str, Any]) -> str:
    """Return the sentence that tells a person what pydantic found, given one entry of its ``errors()``."""
    if detail["type"] == "string_pattern_mismatch" and detail["ctx"]["pattern"] == NAME:
        return "This is no name: use letters, digits, dots, dashes and underscores, a letter or digit first."
    if detail["type"] == "value_error" or detail.get("ctx", {}).get("pattern") == _MOMENT:
        return _NO_MOMENT
    return f"{detail['msg']}."
