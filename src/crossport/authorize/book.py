"""The policies that hold at a site: those of the package, and those that the operator added in a folder.

One that is wrong lets no site start: a policy that forbids and is not read would be one that permits.
"""

import stat
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

from crossport import errors
from crossport.authorize.cedar import Schema
from crossport.authorize.policy_text import Policy, policies
from crossport.model.record import record

__all__ = ["PolicyBook", "opened"]

SUFFIX = ".cedar"
SHIPPED = f"policies{SUFFIX}"
SIZE = 1 << 20


@record()
class PolicyBook:
    """Policies that fit the schema, by id. ``schema`` is its text."""

    schema: str
    policies: Mapping[str, Policy]


def opened(folder: Path | None = None) -> PolicyBook:
    """Return the shipped policies with those of the files ``*.cedar`` in ``folder``.

    Raise Invalid naming the file, the line, and what to do.
    """
    shipped = files("crossport.authorize")
    text = shipped.joinpath("schema.cedarschema").read_text("utf-8")
    schema = Schema(text)
    found = policies(shipped.joinpath(SHIPPED).read_text("utf-8"), SHIPPED, schema)
    for file in _files(folder) if folder else ():
        found += policies(_text(file), str(file), schema)
    return PolicyBook(schema=text, policies=_by_id(found))


def _by_id(found: Iterable[Policy]) -> dict[str, Policy]:
    known = dict[str, Policy]()
    for policy in found:
        if policy.id in known:
            raise _wrong(
                policy.place,
                f"The id {policy.id} is that of {known[policy.id].place}.",
                "Choose another id: no policy takes the place of another.",
            )
        known[policy.id] = policy
    return known


def _files(folder: Path) -> tuple[Path, ...]:
    """Return the files to read. Every other file is refused: its rules would not be in force."""
    try:
        found = sorted(folder.iterdir())
        _check_mode(folder)
    except OSError as error:
        raise _wrong(
            str(folder), f"It cannot be read: {error.strerror}.", "Correct the setting policies."
        ) from error
    others = [one for one in found if one.suffix != SUFFIX or not one.is_file()]
    if others:
        raise _wrong(str(others[0]), f"It is no file *{SUFFIX}.", "Rename it, or take it away.")
    if not found:
        raise _wrong(str(folder), f"It has no file *{SUFFIX}.", "Take the setting away, or write one.")
    return tuple(found)


def _text(file: Path) -> str:
    try:
        _check_mode(file)
        content = file.read_bytes()
        if len(content) > SIZE:
            raise _wrong(str(file), f"It has {len(content)} bytes.", f"Write at most {SIZE}.")
        return content.decode()
    except OSError as error:
        raise _wrong(str(file), f"It cannot be read: {error.strerror}.", "Let the site read it.") from error
    except UnicodeDecodeError as error:
        raise _wrong(str(file), "It is no text in UTF-8.", "Save it as such.") from error


def _check_mode(path: Path) -> None:
    if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _wrong(
            str(path), "Others than its owner can write it, and so decide who may do what.", "chmod go-w it."
        )


def _wrong(place: str, text: str, remedy: str) -> errors.Invalid:
    return errors.Invalid("authorization.file.invalid", text, field=place, remedy=remedy)
