"""A page of the documentation as a script: the files it shows, the commands it shows, and what they print.

A fenced block ``console`` holds lines that begin with ``$ ``, each followed by what it prints. A comment
before a block says more: ``<!-- file: NAME -->`` makes any block the content of a file, ``<!-- exit: N -->``
is the exit status of the block's last command. A line ``…`` stands for any lines. Output that is not shown is
not compared; what differs from run to run (ids, dates, times, rates) may differ.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Command", "File", "Shown", "difference", "ids", "mentioned", "normal", "parts"]

GAP = "…"
FENCE = re.compile(
    r"(?:^<!-- (?P<note>file|exit): (?P<value>\S+) -->\n+)?^```(?P<kind>[a-z]*)\n(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
INDENTED = re.compile(r"^ {4,}(?:\$ )?(?P<command>(?:\.venv/bin/)?crossport .*|make [a-z-]+)", re.MULTILINE)
IN_BLOCK = re.compile(r"^(?:\$ )?(?P<command>(?:\.venv/bin/)?crossport .*|make [a-z-]+)", re.MULTILINE)
INLINE = re.compile(r"`(?P<command>crossport [^`\n]+)`")
ID = re.compile(r"\b[0-9a-f]{12,16}\b")
VARYING = (
    (re.compile(r"(?:\b[0-9a-f]{12,16}|(?<=-test))-[0-9a-f]{8}\b"), "ID"),
    (ID, "ID"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "DIGEST"),
    (re.compile(r"\bxp_\S+"), "TOKEN"),
    (re.compile(r"\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d:\d\d)?"), "DATE"),
    (re.compile(r"[+-]?\b\d+(?:\.\d+)? (?:s|min|h|B|KiB|MiB|GiB|[KMG]?bit/s|%)(?!\w)"), "N"),
    (re.compile(r"[─━-]{3,}"), ""),
    (re.compile(r"\s+"), " "),
)
PROGRESS = re.compile(r"^\s*(?:copy|verify): ")


@dataclass(frozen=True, slots=True)
class File:
    """A file that the page shows before it is used."""

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Command:
    """One command, the status it ends with, and the lines it prints; none when they are not shown."""

    line: int
    text: str
    status: int
    output: tuple[str, ...]


@dataclass(slots=True)
class Shown:
    """A command while its block is read."""

    text: list[str]
    output: list[str] = field(default_factory=list[str])


def parts(page: str) -> Iterator[File | Command]:
    """Yield what a page does, in its order."""
    for block in FENCE.finditer(page):
        if block["note"] == "file":
            yield File(block["value"], block["body"])
        elif block["kind"] == "console":
            line = page.count("\n", 0, block.start("body")) + 1
            yield from _commands(block["body"], line, int(block["value"] or 0))


def mentioned(page: str) -> Iterator[str]:
    """Yield the commands in blocks that nothing runs: they must be run somewhere else."""
    for block in FENCE.finditer(page):
        if block["kind"] != "console" and block["note"] != "file":
            yield from (found["command"].rstrip() for found in IN_BLOCK.finditer(block["body"]))
    for found in INDENTED.finditer(FENCE.sub("", page)):
        yield re.sub(r"\s+# .*", "", found["command"]).rstrip("\\ ")


def normal(lines: tuple[str, ...] | list[str]) -> list[str]:
    """Return the lines without what differs from run to run."""
    made: list[str] = []
    for line in lines:
        if PROGRESS.match(line):
            continue
        for pattern, word in VARYING:
            line = pattern.sub(word, line)  # noqa: PLW2901 - each pattern works on what the one before left
        if line.strip():
            made.append(line.strip())
    return made


def difference(shown: tuple[str, ...], printed: list[str]) -> str:
    """Return the first line that is shown but was not printed; nothing when all were, in order."""
    if not shown:
        return ""
    wanted, got, gap = normal(shown), normal(printed), False
    at = 0
    for line in wanted:
        if line == GAP:
            gap = True
            continue
        if gap:
            at = next((place for place in range(at, len(got)) if got[place] == line), len(got))
        if at >= len(got) or got[at] != line:
            return f"shown: {line!r}, printed: {got[at] if at < len(got) else 'nothing more'!r}"
        at, gap = at + 1, False
    return "" if gap or at == len(got) else f"printed, not shown: {got[at]!r}"


def ids(lines: tuple[str, ...] | list[str]) -> list[str]:
    """Return the ids in the lines, each once, in order: those shown stand for those printed."""
    return list(dict.fromkeys(found for line in lines for found in ID.findall(line)))


def _commands(body: str, line: int, status: int) -> Iterator[Command]:
    shown: list[tuple[int, Shown]] = []
    for number, text in enumerate(body.splitlines(), line):
        if text.startswith("$ "):
            shown.append((number, Shown([text.removeprefix("$ ")])))
        elif shown[-1][1].text[-1].endswith("\\"):
            shown[-1][1].text.append(text)
        else:
            shown[-1][1].output.append(text)
    last = len(shown) - 1
    for place, (number, each) in enumerate(shown):
        yield Command(number, "\n".join(each.text), status if place == last else 0, tuple(each.output))
