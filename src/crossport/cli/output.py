"""What a command writes: records as JSON, or tables and texts for people; errors with their remedy.

With JSON, standard output holds the result alone and everything else goes to standard error. Colours and
lines appear on a terminal only, and never where NO_COLOR is set.
"""

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO, cast

from crossport import errors
from crossport.cli.text import Table, aligned, harmless, styled
from crossport.units import seconds_text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

__all__ = ["Output"]

QUIET_S = 2.0
"""How long a command may take without a word."""


class Output:
    """Where a command's results and messages go."""

    def __init__(
        self, stdout: TextIO, stderr: TextIO, environment: Mapping[str, str], *, as_json: bool = False
    ) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.as_json = as_json
        self._environment = environment

    @property
    def live(self) -> bool:
        """Whether a person sees standard output on a terminal, and wants no JSON."""
        return self.stdout.isatty() and not self.as_json and self._environment.get("TERM") != "dumb"

    @property
    def colour(self) -> bool:
        """Whether colours are wanted on standard output."""
        return self.live and not self._environment.get("NO_COLOR")

    def console(self) -> "Console":
        """Return the terminal for rich output."""
        from rich.console import Console  # noqa: PLC0415 - costs 0.1 s that plain output saves

        return Console(file=self.stdout, no_color=not self.colour, highlight=False, force_terminal=self.live)

    def result(self, value: object, *tables: Table) -> None:
        """Write the result: ``value`` as JSON, or the tables for people."""
        if self.as_json:
            self.json(value)
            return
        for number, table in enumerate(tables):
            if number:
                self.stdout.write("\n")
            self.table(table)

    def json(self, value: object) -> None:
        """Write a record, or plain data, as one JSON document."""
        from crossport.model import codec  # noqa: PLC0415

        if isinstance(value, list | tuple):
            plain: Any = [codec.plain(one) for one in cast("tuple[object, ...]", value)]
        else:
            plain = codec.plain(value)
        self.stdout.write(json.dumps(plain, indent=2, ensure_ascii=False) + "\n")

    def json_line(self, value: object) -> None:
        """Write a record as one line of JSON: for streams."""
        from crossport.model import codec  # noqa: PLC0415

        self.stdout.write(codec.encoded(value) + "\n")
        self.stdout.flush()

    def table(self, table: Table) -> None:
        """Write a table for people."""
        if self.live and table.rows:
            console = self.console()
            if table.title:
                console.print(harmless(table.title), style="bold", markup=False)
            console.print(rich_table(table))
        else:
            self.stdout.write(aligned(table))

    @contextmanager
    def waiting(self) -> "Generator[None]":
        """Show on a terminal that something takes its time, once it does."""
        if not self.live:
            yield
            return
        from rich.live import Live  # noqa: PLC0415

        with Live(Waiting(), console=self.console(), refresh_per_second=4, transient=True):
            yield

    def say(self, text: str) -> None:
        """Write a message: not a part of the result."""
        stream = self.stderr if self.as_json else self.stdout
        stream.write(harmless(text) + "\n")
        stream.flush()

    def warn(self, text: str) -> None:
        """Write a message to standard error."""
        self.stderr.write(harmless(text) + "\n")
        self.stderr.flush()

    def error(self, error: errors.Error) -> None:
        """Tell an error: the field at fault, the reason, the remedy; with JSON as an object."""
        if self.as_json:
            told = {
                "code": error.code,
                "text": error.text,
                "remedy": error.remedy,
                "field": error.field,
                "kind": type(error).__name__,
                "exit": error.exit_code,
            }
            self.stderr.write(json.dumps({"error": told}, ensure_ascii=False) + "\n")
            return
        where = f"{error.field}: " if error.field else ""
        self.warn(f"Error: {where}{error.text}")
        if error.remedy:
            self.warn(f"Remedy: {error.remedy}")
        self.warn(f"Code: {error.code}")


class Waiting:
    """Nothing at first, then a line with the seconds that went by."""

    def __init__(self) -> None:
        from rich.spinner import Spinner  # noqa: PLC0415

        self._spinner = Spinner("line")
        self._begun: float | None = None

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[RenderableType]":
        now = console.get_time()
        self._begun = now if self._begun is None else self._begun
        if now - self._begun >= QUIET_S:
            self._spinner.update(text=f"at work for {seconds_text(now - self._begun)}")
            yield self._spinner


def rich_table(table: Table) -> Any:
    """Return the table as rich shows it, harmless."""
    from rich import box  # noqa: PLC0415
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    shown = RichTable(
        box=box.SIMPLE_HEAD if any(table.headers) else None,
        show_header=any(table.headers),
        header_style="bold",
        show_edge=False,
        pad_edge=False,
    )
    for header in table.headers:
        # Folded, not cut: an id of which the end is missing is no id.
        shown.add_column(
            header, justify="right" if header in table.right and header else "left", overflow="fold"
        )
    for row in table.rows:
        # Texts come from clouds and guests: nothing in them is markup.
        shown.add_row(*(Text(harmless(text), style=styled(text)) for text in row))
    return shown
