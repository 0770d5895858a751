"""The names that people give to what a site keeps, clouds and plans, and how a wrong one is told."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

__all__ = ["NAME", "Name", "reason"]

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
LONGEST = 63

Name = Annotated[str, Field(pattern=NAME, max_length=LONGEST)]


def reason(detail: Mapping[str, Any]) -> str:
    """Return the sentence that tells a person what pydantic found, given one entry of its ``errors()``."""
    if detail["type"] == "string_pattern_mismatch" and detail["ctx"]["pattern"] == NAME:
        return "This is no name: use letters, digits, dots, dashes and underscores, a letter or digit first."
    return f"{detail['msg']}."
