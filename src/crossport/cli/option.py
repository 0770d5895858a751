"""The options that every command takes, picked out of the arguments wherever they stand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from crossport import errors

__all__ = ["Options", "picked"]

VALUED = ("--server", "--ca", "--token-file", "--home")


@dataclass(slots=True)
class Options:
    """What was said for the whole command line."""

    as_json: bool = False
    values: dict[str, str] = field(default_factory=dict[str, str])


def picked(arguments: Sequence[str]) -> tuple[Options, list[str]]:
    """Return the common options, and the arguments without them. What follows ``--`` is left alone."""
    options, rest = Options(), list[str]()
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if word == "--":
            rest += [word, *words]
        elif word == "--json":
            options.as_json = True
        elif name in VALUED:
            options.values[name] = value if equals else _next(name, words)
        else:
            rest.append(word)
    return options, rest


def _next(name: str, words: Iterator[str]) -> str:
    value = next(words, None)
    if value is None:
        raise errors.Invalid("cli.option.value", "This option needs a value.", field=name, remedy="Add it.")
    return value
