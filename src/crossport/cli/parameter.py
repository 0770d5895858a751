"""Kinds of option that several commands take, and how their texts are read."""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated

from cyclopts import Parameter

from crossport import errors
from crossport.model.health import LONGEST_COMMAND, Probe, ProbeKind
from crossport.model.run import PHASES, Hook

__all__ = ["Many", "hooks", "moment", "pairs", "probes", "rate"]

Many = Annotated[tuple[str, ...], Parameter(negative=(), show_default=False)]


def pairs(texts: Iterable[str], option: str, example: str = "lan=office") -> dict[str, str]:
    """Return the table that texts like ``example`` make; raise Invalid naming the option."""
    table: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise _invalid(option, f"{text!r} is not of the form A=B.", f"Write for instance {example}.")
        table[name] = value
    return table


def probes(texts: Iterable[str]) -> tuple[Probe, ...]:
    """Return the probes of texts like ``tcp:22``, ``http:80:/health:ok``, ``console:ok``, ``command:true``.

    Of ``command:TEXT=EXPECT`` the last equals sign counts, so that TEXT may hold others.
    """
    return tuple(map(_probe, texts))


def hooks(texts: Iterable[str]) -> tuple[Hook, ...]:
    """Return the hooks that texts like ``before:instantiation:snapshot-db`` describe."""
    return tuple(map(_hook, texts))


def moment(text: str, now: float, option: str) -> float:
    """Return the Unix seconds of a date and time, or of the next time of day; without a zone it is ours."""
    here = datetime.fromtimestamp(now).astimezone()
    try:
        if "T" not in text and " " not in text:
            day = datetime.fromisoformat(f"{here.date().isoformat()}T{text}")
            at = (day if day.tzinfo else day.astimezone()).timestamp()
            return at if at > now else at + timedelta(days=1).total_seconds()
        at_date = datetime.fromisoformat(text)
        return (at_date if at_date.tzinfo else at_date.astimezone()).timestamp()
    except ValueError:
        raise _invalid(
            option, f"{text!r} is no time.", "Write 22:30, 2026-12-31T22:30 or 2026-12-31T22:30+01:00."
        ) from None


def rate(text: str, option: str) -> int | None:
    """Return the bits per second that ``100M``, ``1.5G`` or ``800k`` say; None for ``none``."""
    if text == "none":
        return None
    said = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)([kMG]?)", text)
    if said is None:
        raise _invalid(option, f"{text!r} is no rate.", "Write bits per second, like 100M or 1.5G, or none.")
    return round(float(said[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[said[2]])


def _probe(text: str) -> Probe:
    kind, _, rest = text.partition(":")
    if kind == "console" and rest:
        return Probe(kind=ProbeKind.CONSOLE, expect=rest)
    if kind == "command":
        return _command(rest)
    port, _, path = rest.partition(":")
    if kind not in ("tcp", "http") or not port.isdigit() or not 0 < int(port) < 65536:
        raise _invalid(
            "--check",
            f"{text!r} is no check.",
            "Write tcp:PORT, http:PORT:/PATH[:TEXT], console:TEXT or command:TEXT[=EXPECT].",
        )
    if kind == "tcp":
        return Probe(kind=ProbeKind.TCP, port=int(port))
    path, _, expect = path.partition(":")
    return Probe(kind=ProbeKind.HTTP, port=int(port), path=path or "/", expect=expect)


def _command(text: str) -> Probe:
    command, equals, expect = text.rpartition("=")
    if not equals:
        command, expect = text, ""
    if (
        not command.strip()
        or len(command) > LONGEST_COMMAND
        or not (command.isascii() and command.isprintable())
    ):
        raise _invalid(
            "--check",
            f"{text[:60]!r} is no command that can be typed.",
            f"Write command:TEXT[=EXPECT], on one line of up to {LONGEST_COMMAND} plain ASCII characters.",
        )
    return Probe(kind=ProbeKind.COMMAND, command=command, expect=expect)


def _hook(text: str) -> Hook:
    when, _, rest = text.partition(":")
    phase, _, name = rest.partition(":")
    if when not in ("before", "after") or phase not in PHASES or not name:
        raise _invalid(
            "--hook", f"{text!r} is no hook.", f"Write before:PHASE:NAME; phases: {', '.join(PHASES)}."
        )
    return Hook(name=name, phase=phase, after=when == "after")


def _invalid(option: str, text: str, remedy: str) -> errors.Invalid:
    return errors.Invalid("cli.option.form", text, field=option, remedy=remedy)
