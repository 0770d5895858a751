"""What the command line says about itself, and what it says to wrong words."""

import re
from importlib import import_module

import pytest
from cyclopts import App
from tests.unit.cli.desk import Desk

from crossport import __version__
from crossport.cli.option import picked
from crossport.cli.output import Output
from crossport.cli.table import COMMANDS

# The demonstration is mounted when it is there; its own tests cover its words.
MOUNTED = [command for command in COMMANDS if command.name != "demo"]


def pages() -> list[tuple[str, ...]]:
    """Return the words of every command there is."""
    found: list[tuple[str, ...]] = []
    for command in MOUNTED:
        module, _, name = command.target.partition(":")
        target = getattr(import_module(module), name)
        if isinstance(target, App):
            names = [one for one in target if not one.startswith("-")]
            found += [(command.name, one) for one in names]
        else:
            found.append((command.name,))
    return found


def test_the_overview_names_every_command(alone: Desk):
    told = alone.type("--help")
    assert alone.code == 0
    for command in COMMANDS:
        assert re.search(rf"^  {command.name} +{re.escape(command.about)}$", told, re.MULTILINE)


def test_without_a_command_the_overview_is_shown_and_the_status_is_usage(alone: Desk):
    assert alone.type("--help") == alone.type()
    assert alone.code == 2


@pytest.mark.parametrize(("words", "status"), [(["cloud"], 2), (["cloud", "--help"], 0)])
def test_a_group_shows_its_commands(alone: Desk, words: list[str], status: int):
    assert "Connect a cloud and keep it." in alone.type(*words)
    assert alone.code == status


@pytest.mark.parametrize("words", pages(), ids=" ".join)
def test_every_command_explains_itself_with_an_example_of_its_own(alone: Desk, words: tuple[str, ...]):
    told = alone.type(*words, "--help")
    assert alone.code == 0
    assert "For example:" in told
    assert f"crossport {' '.join(words)}" in told.partition("For example:")[2]


def test_the_version_is_told(alone: Desk):
    assert __version__ in alone.type("version")
    assert __version__ in alone.type("--version")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["clod"], 'Unknown command "clod"'),
        (["cloud", "ad"], 'Did you mean "add"'),
        (["migrate", "web"], "--from is missing."),
        (["migrate", "--from", "a", "--to", "b"], "VM is missing."),
        (
            ["migrate", "web", "--from", "a", "--to", "b", "--map-network", "lan"],
            "--map-network: 'lan' is not",
        ),
        (["migrate", "web", "--from", "a", "--to", "b", "--check", "udp:1"], "--check: 'udp:1' is no check"),
        (
            ["migrate", "web", "--from", "a", "--to", "b", "--check", "command:a\nb"],
            "is no command that can be typed",
        ),
        (
            ["migrate", "web", "--from", "a", "--to", "b", "--check", "command:=x"],
            "is no command that can be typed",
        ),
        (["migrate", "web", "--from", "a", "--to", "b", "--hook", "x"], "--hook: 'x' is no hook"),
        (["migrate", "web", "--from", "a", "--to", "b", "--mode", "hot"], "hot"),
        (["vm", "list", "alpha", "--server"], "--server: This option needs a value."),
        (["vm", "list", "alpha", "--server", "https://192.0.2.7"], "client.token.unnamed"),
        (["vm", "list", "alpha", "--server", "http://x"], "is not an https address"),
        (["image", "export", "x.ova"], "images: A VM has at least one"),
        (["image", "export", "x.ova", "a.raw", "--memory", "-5"], "--memory: A VM has at least one"),
        (["image", "export", "x.ova", "a.raw", "--version", "3"], "--version"),
        (["plan", "put", "nowhere.yaml"], "nowhere.yaml cannot be read"),
    ],
)
def test_wrong_words_are_told_with_a_remedy_and_status_2(alone: Desk, words: list[str], told: str):
    assert alone.type(*words) == ""
    assert told in alone.stderr.getvalue()
    assert "Remedy: " in alone.stderr.getvalue()
    assert alone.code == 2


def test_a_server_that_does_not_start_shows_the_end_of_its_log(alone: Desk):
    alone.type("cloud", "list")
    assert alone.code == 8
    assert "ended with status 1" in alone.stderr.getvalue()


def test_common_options_stand_anywhere_but_behind_two_dashes():
    options, rest = picked(["--json", "vm", "--home=/x", "list", "--server", "https://s", "--", "--json"])
    assert (options.as_json, options.values) == (True, {"--home": "/x", "--server": "https://s"})
    assert rest == ["vm", "list", "--", "--json"]


@pytest.mark.parametrize(
    ("terminal", "environment", "colour"),
    [(True, {}, True), (True, {"NO_COLOR": "1"}, False), (False, {}, False), (True, {"TERM": "dumb"}, False)],
)
def test_colours_appear_on_a_terminal_that_wants_them(
    alone: Desk, terminal: bool, environment: dict[str, str], colour: bool
):
    alone.environment = environment
    told = alone.type("doctor", terminal=terminal)
    assert ("\x1b[31m" in told) == colour
    assert Output(alone.stdout, alone.stderr, environment).colour == colour


def test_completion_names_the_commands(alone: Desk):
    for shell in ("bash", "zsh", "fish"):
        assert "migrate" in alone.type("completion", shell)
