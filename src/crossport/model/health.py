"""How a guest shows that it is well: declared probes, several successes in a row."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from crossport.model.record import record

__all__ = ["LONGEST_COMMAND", "Health", "HealthChecks", "Probe", "ProbeKind", "ProbeResult"]

LONGEST_COMMAND = 512
"""A shell that edits lines takes about 1000 characters, and control characters mean something to it."""


class ProbeKind(StrEnum):
    """What is tried."""

    TCP = "tcp"
    HTTP = "http"
    CONSOLE = "console"
    """A text that must appear on the serial console."""
    COMMAND = "command"
    """A line that is typed at the root shell on the guest's serial console."""


@record()
class Probe:
    """One question to the guest. HTTP succeeds on a status below 400 that contains ``expect``.

    A ``command`` succeeds with exit status 0 and ``expect`` in what it prints. It is typed on one line, which
    must be finished (quotes closed, not sent to the background). Who declares it acts as root in the guest.
    """

    kind: ProbeKind
    port: int = 0
    path: str = "/"
    expect: str = ""
    command: Annotated[str, Field(pattern=r"^[ -~]*$", max_length=LONGEST_COMMAND)] = ""


@record()
class HealthChecks:
    """Probes that must all succeed ``successes`` times in a row within ``timeout_s``."""

    probes: tuple[Probe, ...] = ()
    successes: Annotated[int, Field(ge=1)] = 2
    interval_s: Annotated[float, Field(gt=0)] = 1.0
    timeout_s: Annotated[float, Field(gt=0)] = 180.0


@record()
class ProbeResult:
    """What one probe saw, in words a person can act on."""

    probe: Probe
    good: bool
    text: str


@record()
class Health:
    """The verdict over all probes; ``seconds`` until it was reached."""

    good: bool
    results: tuple[ProbeResult, ...]
    seconds: float
