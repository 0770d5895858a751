"""Tell the person at the terminal what happens: headings, commands, results, and what takes a while.

On a terminal a line that is being worked on moves; in a file every line is written once.
"""

import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.markup import escape

from crossport.units import seconds_text

__all__ = ["Voice"]

WIDTH = 100
"""Columns where the output goes to a file."""


class Voice:
    """Writes to ``out``."""

    def __init__(self, out: TextIO) -> None:
        self.console = Console(file=out, highlight=False, soft_wrap=True)
        if not self.console.is_terminal:
            self.console.width = WIDTH

    def heading(self, text: str) -> None:
        """Begin a part."""
        self.console.print(f"\n[bold]{escape(text)}[/bold]")

    def say(self, text: str) -> None:
        """Write one line of the story."""
        self.console.print(f"  {escape(text)}")

    def good(self, text: str) -> None:
        """Write down a thing that was seen to be as it should."""
        self.console.print(f"  [green]✓[/green] {escape(text)}")

    def bad(self, text: str) -> None:
        """Write down a thing that is not as it should be."""
        self.console.print(f"  [red]✗[/red] {escape(text)}")

    def harm(self, text: str) -> None:
        """Write down what is done to the product on purpose."""
        self.console.print(f"\n  [bold red]![/bold red] {escape(text)}")

    def command(self, words: Iterable[str]) -> None:
        """Show a command as a person would type it."""
        self.console.print(f"\n  [bold cyan]$ {escape(' '.join(words))}[/bold cyan]")

    def claim(self, good: bool, text: str) -> None:
        """Write down what was seen, as it should be or not."""
        (self.good if good else self.bad)(text)

    def commands(self, rows: Iterable[tuple[str, str]]) -> None:
        """Write commands to try, each with what it is for above it."""
        for purpose, command in rows:
            self.console.print(f"\n  [dim]# {escape(purpose)}[/dim]\n  {escape(command)}")

    @contextmanager
    def working(self, text: str) -> Generator[None]:
        """Show that ``text`` is being worked on, then that it is done and how long it took."""
        began = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(f"{escape(text)} …"):
                yield
        else:
            yield
        self.good(f"{text} ({seconds_text(time.monotonic() - began)})")
