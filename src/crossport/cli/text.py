"""Tables and texts as data, and how they look where there is no terminal: aligned, without colours."""

from dataclasses import dataclass, replace

__all__ = ["Table", "aligned", "fields", "harmless", "styled"]

GAP = "  "


@dataclass(frozen=True, slots=True)
class Table:
    """A table for people. ``right`` names the columns with figures; a row's texts may have line breaks."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    right: frozenset[str] = frozenset()


def fields(title: str, *pairs: tuple[str, str]) -> Table:
    """Return a table of names and values; pairs without a value are left out."""
    return Table(("", ""), tuple(pair for pair in pairs if pair[1]), title)


def harmless(text: str) -> str:
    """Return ``text`` without what could drive a terminal: only line breaks and tabs stay.

    Names, reasons and logs come from clouds and guests, which may mean ill.
    """
    if text.isprintable():
        return text
    kept = text.replace("\r\n", "\n")
    return "".join(each for each in kept if each in "\n\t" or each.isprintable())


def aligned(table: Table) -> str:
    """Return the table as plain text, harmless."""
    rows = tuple(tuple(map(harmless, row)) for row in table.rows)
    table = replace(table, title=harmless(table.title), rows=rows)
    if not table.rows:
        return f"{table.title or 'Result'}: none\n"
    shown = [table.headers, *table.rows] if any(table.headers) else list(table.rows)
    widths = [max(len(row[column]) for row in shown) for column in range(len(table.headers))]
    lines = [_line(table, row, widths) for row in shown]
    head = f"{table.title}\n" if table.title else ""
    return head + "\n".join(lines) + "\n"


def _line(table: Table, row: tuple[str, ...], widths: list[int]) -> str:
    cells = [
        text.rjust(width) if header in table.right and header else text.ljust(width)
        for header, text, width in zip(table.headers, row, widths, strict=True)
    ]
    indent = GAP if table.title else ""
    return (indent + GAP.join(cells)).rstrip()


STYLES = {
    "go": "green",
    "done": "green",
    "running": "cyan",
    "fix": "yellow",
    "waiting": "yellow",
    "decision": "yellow",
    "warning": "yellow",
    "refuse": "red",
    "blocker": "red",
    "attention": "bold red",
    "rolled-back": "red",
    "cancelled": "magenta",
    "blocked": "red",
}


def styled(text: str) -> str:
    """Return the colour in which a word that says how things stand is shown, empty for none."""
    return STYLES.get(text, "")
