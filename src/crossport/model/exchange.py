"""Small requests and answers of a site's API that are no nouns of the product themselves."""

from typing import Annotated, Literal

from pydantic import Field

from crossport.model.record import record
from crossport.model.request import ResolveAs
from crossport.model.url import WebUrl

__all__ = [
    "AssessmentRequest",
    "Console",
    "Destruction",
    "FetchRequest",
    "ResolveRequest",
    "Retirement",
    "StopRequest",
]


@record()
class StopRequest:
    """How to stop a VM: seconds for a graceful shutdown, and whether to pull the plug afterwards."""

    shutdown_s: Annotated[float, Field(ge=0, le=86400)] = 90.0
    power_off: bool = False


@record()
class Console:
    """The end of a VM's console log."""

    text: str


@record()
class AssessmentRequest:
    """Which cloud to judge. Without a target, only the source's own obstacles are told."""

    source: str
    target: str = ""


@record()
class ResolveRequest:
    """How a person ends a run that needs attention."""

    outcome: ResolveAs


@record()
class Destruction:
    """What is removed with an embedded cloud or a VM; ``done`` tells that it was."""

    things: tuple[str, ...]
    done: bool


@record()
class FetchRequest:
    """What a site shall fetch from the web as an image; ``format`` is never guessed."""

    url: WebUrl
    format: Literal["raw", "qcow2"] = "raw"


@record()
class Retirement:
    """What is deleted when the retained source is retired; ``done`` tells that it was."""

    things: tuple[str, ...]
    done: bool
