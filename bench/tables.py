"""Tables of figures in Markdown, and how figures are written in them."""

from collections.abc import Iterable

__all__ = ["MEGA", "link_text", "seconds_text", "table"]

MEGA = 1e6


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Return a table whose columns but the first hold figures."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" + "--:|" * (len(header) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def link_text(rate_mbit: int) -> str:
    """Return how fast a link is."""
    return f"{rate_mbit} Mbit/s" if rate_mbit else "no limit"


def seconds_text(value: float | None) -> str:
    """Return a time, or a dash where none was measured."""
    return "-" if value is None else f"{value:.2f} s"
