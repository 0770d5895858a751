"""`crossport limit`: how fast copies may be from one cloud to another."""

from typing import Annotated

from cyclopts import App, Parameter

from crossport.cli.parameter import Many, rate
from crossport.cli.session import Here
from crossport.cli.text import Table, fields
from crossport.client import calls
from crossport.model.limit import LinkLimit, LinkLimitStatus, RateWindow
from crossport.units import rate_text

__all__ = ["app", "bound_text"]

app = App(name="limit", help="Limit how fast copies are between two clouds.")


@app.command(name="list")
def list_(*, session: Here) -> None:
    """List the limits of links, and what holds now.

    For example:

      crossport limit list
    """
    limits = session.all(calls.limits)
    rows = tuple(
        (
            each.limit.source,
            each.limit.target,
            bound_text(each.limit.rate_bps),
            _windows(each.limit),
            bound_text(each.now_bps),
        )
        for each in limits
    )
    session.out.result(tuple(limits), Table(("SOURCE", "TARGET", "RATE", "WINDOWS", "NOW"), rows))


@app.command(name="set")
def set_(
    source: str,
    target: str,
    bound: Annotated[str, Parameter(name="RATE")],
    /,
    *,
    between: Annotated[Many, Parameter(help="At a time of day, HH:MM-HH:MM=RATE; repeatable.")] = (),
    zone: Annotated[str, Parameter(help="The time zone of these times, like Europe/Berlin.")] = "UTC",
    session: Here,
) -> None:
    """Let all copies from one cloud to another together send at most RATE. What is under way follows at once.

    Tenants that copy at the same time get equal shares; what one does not use goes to the others.

    For example:

      crossport limit set alpha beta 500M

      crossport limit set alpha beta none --between 08:00-18:00=100M --zone Europe/Berlin

    Parameters
    ----------
    source
        The cloud that is copied from.
    target
        The cloud that is copied to.
    bound
        Bits per second: 100M, 1.5G, 800k, or none.
    """
    limit = LinkLimit(
        source=source,
        target=target,
        rate_bps=rate(bound, "RATE"),
        windows=tuple(_window(text) for text in between),
        zone=zone,
    )
    status: LinkLimitStatus = session.send(calls.set_limit(limit))
    session.out.result(
        status,
        fields(
            "",
            ("from", source),
            ("to", target),
            ("rate", bound_text(limit.rate_bps)),
            ("windows", _windows(limit)),
            ("now", bound_text(status.now_bps)),
        ),
    )


@app.command
def remove(source: str, target: str, /, *, session: Here) -> None:
    """Take a link's limit away.

    For example:

      crossport limit remove alpha beta

    Parameters
    ----------
    source
        The cloud that is copied from.
    target
        The cloud that is copied to.
    """
    session.send(calls.remove_limit(source, target))
    session.out.result({"removed": [source, target]}, fields("", ("removed", f"{source} to {target}")))


def bound_text(rate_bps: int | None) -> str:
    """Return a bound as people read it."""
    return "none" if rate_bps is None else rate_text(rate_bps)


def _windows(limit: LinkLimit) -> str:
    windows = (f"{each.start}-{each.end} {bound_text(each.rate_bps)}" for each in limit.windows)
    return f"{', '.join(windows)} ({limit.zone})" if limit.windows else ""


def _window(text: str) -> RateWindow:
    times, _, bound = text.partition("=")
    start, _, end = times.partition("-")
    return RateWindow(start=start, end=end, rate_bps=rate(bound, "--between"))
