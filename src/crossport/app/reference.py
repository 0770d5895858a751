"""Print a page of the reference that is made from code: ``python -m crossport.app.reference PAGE``.

Pages: ``openapi`` (the API's description), ``plan`` (the JSON schema of plan files), ``cli`` (every command's
help, in Markdown), ``settings`` (every setting with its type and default, in Markdown).
"""

import asyncio
import dataclasses
import inspect
import io
import json
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from cyclopts import App

from crossport.api import Application, Tokens
from crossport.app import settings as of_settings
from crossport.app.clock import SystemClock
from crossport.app.compose import services_of
from crossport.app.settings import PREFIX, Count, HookSetting, Limit, Settings
from crossport.app.site import SiteSettings, open_site
from crossport.authorize import PolicyAuthorizer, opened
from crossport.cli.dispatch import application
from crossport.cli.output import Output
from crossport.cli.plan_file import schema
from crossport.cli.table import overview

__all__ = ["cli", "main", "openapi", "plan", "settings"]

WIDTH = 100


def openapi() -> str:
    """Return the API's description."""
    with tempfile.TemporaryDirectory() as folder:
        description = asyncio.run(_described(Path(folder)))
    return json.dumps(description, indent=1, ensure_ascii=False) + "\n"


async def _described(folder: Path) -> dict[str, Any]:
    """Return what a site says of its API."""
    clock = SystemClock()
    async with open_site(SiteSettings(name="reference", state_dir=folder / "control"), clock) as site:
        tokens = Tokens(site.engine.documents, clock, secrets.token_bytes)
        services = services_of(site, tokens, PolicyAuthorizer(opened()))
        return Application(services, clock=clock, new_id=str).description()


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


def settings() -> str:
    """Return every setting: its name in the file and in the environment, its type, its default."""
    rows = [_setting(one) for one in dataclasses.fields(Settings)]
    hooks = [_setting(one, environment=False) for one in dataclasses.fields(HookSetting)]
    head = "| setting | environment | type | default |\n|---|---|---|---|"
    parts = ["# Settings\n\nMade from the program by `make docs`.", _prose(of_settings), _prose(Settings)]
    parts += ["\n".join([head, *rows]), "## `[hooks.NAME]`", _prose(HookSetting)]
    return "\n\n".join([*parts, "\n".join([head, *hooks])]) + "\n"


def _prose(thing: object) -> str:
    return (inspect.getdoc(thing) or "").replace("``", "`")


def _setting(one: "dataclasses.Field[Any]", *, environment: bool = True) -> str:
    variable = f"`{PREFIX}{one.name.upper()}`" if environment and one.name != "hooks" else "only in the file"
    default = "" if one.default is dataclasses.MISSING else f"`{json.dumps(one.default)}`"
    return f"| `{one.name}` | {variable} | {_kind(one.type)} | {default} |"


def _kind(of: Any) -> str:
    """Say in a person's words what a setting takes."""
    match get_origin(of), get_args(of):
        case (origin, (first, *_)) if origin is Annotated:
            return _kind(first) + (", 0 or more" if of in (Limit, Count) else " above 0")
        case (origin, _) if origin is tuple:
            return "texts"
        case (None, _) if issubclass(of, StrEnum):
            return " or ".join(f"`{one}`" for one in of)
        case (None, _):
            return {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}[
                of
            ]
        case _:
            return "table, see below"


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
    pages = {"openapi": openapi, "plan": plan, "cli": cli, "settings": settings}
    with redirect_stdout(sys.stderr):
        text = pages[page]()
    sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1])
