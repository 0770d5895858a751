"""How a guest shows that it is well: declared probes, several successes in a row."""

from enum import StrEnum

from crossport.model.record import record

__all__ = ["Health", "HealthChecks", "Probe", "ProbeKind", "ProbeResult"]


class ProbeKind(StrEnum):
    """What is tried."""

    TCP = "tcp"
    HTTP = "http"
    CONSOLE = "console"
    """A text that must appear on the serial console."""


@record()
class Probe:
    """One question to the guest. HTTP succeeds on a status below 400 that contains ``expect``."""

    kind: ProbeKind
    port: int = 0
    path: str = "/"
    expect: str = ""


@record()
class HealthChecks:
    """Probes that must all succeed ``successes`` times in a row within ``timeout_s``."""

    probes: tuple[Probe, ...] = ()
    successes: int = 2
    interval_s: float = 1.0
    timeout_s: float = 180.0


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
