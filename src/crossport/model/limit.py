"""How fast copies may be: the bound of a link between two clouds, by time of day, and that of one run."""

from typing import Annotated

from pydantic import Field

from crossport.model.name import CLOUD
from crossport.model.record import record

__all__ = ["LEAST_BPS", "LinkLimit", "LinkLimitStatus", "Rate", "RateWindow", "RunLimit"]

LEAST_BPS = 100_000
"""Below it a single piece would take longer than the other end waits for a sign of life."""
MOST_BPS = 1_000_000_000_000

Rate = Annotated[int, Field(ge=LEAST_BPS, le=MOST_BPS)]
_Cloud = Annotated[str, Field(pattern=CLOUD, max_length=127)]
_Time = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]


@record()
class RateWindow:
    """Another rate between two times of day, ``HH:MM``; from a later to an earlier one it spans midnight.

    Without ``rate_bps`` there is no bound in this time.
    """

    start: _Time
    end: _Time
    rate_bps: Rate | None = None


@record()
class LinkLimit:
    """All copies from ``source`` to ``target`` together send at most ``rate_bps`` bits per second.

    A partner's cloud is called ``beta@partner``; the limit holds for the copies that this site initiates.

    In a window its rate holds instead; times are those of ``zone``. Tenants that copy over the link at the
    same time get equal shares, and what one does not use goes to the others.
    """

    source: _Cloud
    target: _Cloud
    rate_bps: Rate | None = None
    windows: Annotated[tuple[RateWindow, ...], Field(max_length=48)] = ()
    zone: Annotated[str, Field(max_length=64)] = "UTC"


@record()
class LinkLimitStatus:
    """A limit, and the rate that it sets at this moment: None for no bound."""

    limit: LinkLimit
    now_bps: int | None


@record()
class RunLimit:
    """All copies of a run together send at most ``rate_bps`` bits per second; None for no bound."""

    rate_bps: Rate | None
