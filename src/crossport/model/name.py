"""Texts with a form that people give: names of what a site keeps, moments; and how a wrong one is told."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from crossport.model.url import WEB_URL

__all__ = ["CLOUD", "NAME", "Moment", "Name", "parted", "reason", "seconds_of"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
CLOUD = NAME[:-1] + r"(?:@[A-Za-z0-9][A-Za-z0-9._-]*)?$"
"""A cloud of this site, or of a partner: ``beta@south``."""
LONGEST = 63
_DAY = (
    r"(?:20\d\d-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)"
    r"|02-(?:0[1-9]|1\d|2[0-8]))|20(?:[02468][048]|[13579][26])-02-29)"
)
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d)?(?:Z|[+-](?:0\d|1[0-4]):[0-5]\d)"
# All of what a calendar has, so that what fits the published schema is accepted.
_MOMENT = rf"^(?:{_DAY}T{_TIME})?$"
_NO_MOMENT = "This is no moment: write 2026-12-31T22:30+01:00, with its distance from UTC, or Z."

Name = Annotated[str, Field(pattern=NAME, max_length=LONGEST)]


def parted(cloud: str) -> tuple[str, str]:
    """Return a cloud's own name and its site, from ``beta@south``; the site is empty for one's own."""
    name, _, site = cloud.partition("@")
    return name, site


def seconds_of(moment: str) -> float:
    """Return the Unix seconds of a Moment, 0 for an empty one."""
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0


Moment = Annotated[str, Field(pattern=_MOMENT)]
"""A date and time of day with its distance from UTC, or empty."""


def reason(detail: Mapping[str, Any]) -> str:
    """Return the sentence that tells a person what pydantic found, given one entry of its ``errors()``."""
    if detail["type"] == "string_pattern_mismatch" and detail["ctx"]["pattern"] in {NAME, CLOUD}:
        return "This is no name: use letters, digits, dots, dashes and underscores, a letter or digit first."
    if detail.get("ctx", {}).get("pattern") == _MOMENT:
        return _NO_MOMENT
    if detail.get("ctx", {}).get("pattern") == WEB_URL:
        return "This is no URL that can be fetched: write https://host/path, without user name and password."
    return f"{detail['msg']}."
