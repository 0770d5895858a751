"""Print a page of the reference that is made from code: ``python -m crossport.app.reference PAGE``.

Pages: ``openapi`` (the API's description), ``plan`` (the JSON schema of plan files), ``cli`` (every command's
help, in Markdown).
"""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout

from cyclopts import App

from crossport.api import Application, Tokens
from crossport.app.clock import SystemClock
from crossport.cli.dispatch import application
from crossport.cli.output import Output
from crossport.cli.plan_file import schema
from crossport.cli.table import overview
from crossport.testing.control import MemoryControl
from crossport.testing.document import MemoryDocuments

__all__ = ["cli", "main", "openapi", "plan"]

WIDTH = 100


def openapi() -> str:
    """Return the API's description."""
    clock = SystemClock()
    tokens = Tokens(MemoryDocuments(), clock, bytes)
    description = Application(MemoryControl(clock), tokens, clock=clock, new_id=str).description()
    return json.dumps(description, indent=1, ensure_ascii=False) + "\n"


def plan() -> str:
    """Return the JSON schema of plan files."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def cli() -> str:
    """Return the help of every command."""
    text = io.StringIO()
    app = application(Output(text, text, {}))
    parts = ["# Commands\n\nMade from the program by `make docs`.\n", _block("crossport", overview())]
    parts += [_block("crossport " + " ".join(words), _help(app, words)) for words in _commands(app)]
    return "\n".join(parts)


def _commands(app: App, chain: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command, in the order in which they were declared."""
    for name in app:
        if name.startswith("-") or name == "demo":
            continue
        words = (*chain, name)
        yield words
        yield from _commands(app[name], words)


def _help(app: App, words: tuple[str, ...]) -> str:
    from rich.console import Console  # noqa: PLC0415 - as everywhere: only who shows something pays for it

    text = io.StringIO()
    app.help_print(list(words), console=Console(file=text, width=WIDTH, no_color=True, highlight=False))
    return text.getvalue()


def _block(title: str, text: str) -> str:
    lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return f"## {title}\n\n```text\n{lines}\n```\n"


def main(page: str) -> None:
    """Print one page."""
    pages = {"openapi": openapi, "plan": plan, "cli": cli}
    with redirect_stdout(sys.stderr):
        text = pages[page]()
    sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1])
