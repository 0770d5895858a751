"""The files of this checkout as the style rules see them."""

import ast
import gc
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ["ROOT", "Exemption", "Source", "Violation", "exemptions", "python_sources", "text_files"]

ROOT = Path(__file__).resolve().parents[2]

CODE_FOLDERS = ("src", "tests", "bench", "scripts", "lab")
CODE_AND_PAGES = (".css", ".html", ".js", ".jsx", ".md", ".py", ".sh", ".ts", ".tsx", ".txt")
SETTINGS = (".cfg", ".csv", ".ini", ".json", ".service", ".socket", ".toml", ".yaml", ".yml")
UNWATCHED_FOLDERS = frozenset({"node_modules", "dist", "site", "__pycache__"})


@dataclass(frozen=True, slots=True)
class Source:
    """A Python file: its path from the top of the checkout, its text, and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def shipped(self) -> bool:
        """Whether users get it, as opposed to tests, benchmarks and scripts."""
        return self.path.startswith("src/")

    @property
    def package(self) -> str:
        """The layer it belongs to: ``model`` for ``src/crossport/model/vm.py``; else nothing."""
        parts = Path(self.path).parts
        return Path(parts[2]).stem if parts[:2] == ("src", "crossport") else ""


class Violation(NamedTuple):
    """A place that breaks a rule. ``name`` is the function, class or word at fault."""

    path: str
    line: int
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.name}: {self.text}"


class Exemption(NamedTuple):
    """One line of exceptions.txt: this ``name`` in this ``path`` may break this ``rule``."""

    rule: str
    path: str
    name: str
    reason: str


def files() -> Iterator[Path]:
    """Yield what belongs to the checkout, without hidden folders and what tools made."""
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if name not in UNWATCHED_FOLDERS and (not name.startswith(".") or name in (".ci", ".github"))
        )
        yield from (Path(folder, name) for name in sorted(names))


def python_sources() -> list[Source]:
    """Return the product's code, its tests, benchmarks and scripts, parsed."""
    found: list[Source] = []
    # The parser of CPython 3.11 takes a finalizer that runs in its midst for a fault of its own (gh-106905).
    gc.collect()
    gc.disable()
    try:
        for file in files():
            path = str(file.relative_to(ROOT))
            if file.suffix == ".py" and path.startswith(CODE_FOLDERS):
                text = file.read_text()
                found.append(Source(path, text, ast.parse(text, path)))
    finally:
        gc.enable()
    return found


def text_files() -> dict[str, str]:
    """Return every text file but uv.lock, by its path from the top of the checkout."""
    return {
        str(file.relative_to(ROOT)): file.read_text()
        for file in files()
        if file.suffix in CODE_AND_PAGES + SETTINGS or file.name in ("Makefile", "run", "set-up")
    }


def exemptions() -> list[Exemption]:
    """Return the lines of exceptions.txt; a line without a reason is an error."""
    found: list[Exemption] = []
    for line in (ROOT / "tests/style/exceptions.txt").read_text().splitlines():
        entry, _, reason = line.partition("#")
        if not entry.strip():
            continue
        if not reason.strip():
            raise ValueError(f"exceptions.txt: this line gives no reason: {line}")
        rule, place = entry.split()
        path, _, name = place.partition("::")
        found.append(Exemption(rule, path, name, reason.strip()))
    return found
