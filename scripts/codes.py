"""Print the page of all stable codes: every error and finding, read from the code that raises it.

A code means one thing: two places that use one code with different kinds of error are refused. An error
and a finding may share one, because a finding is the error seen beforehand.
"""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crossport.certify.refusal import REFUSALS

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "crossport"
ERRORS = {
    "Blocked",
    "Broken",
    "Cancelled",
    "Conflict",
    "Invalid",
    "NeedsAttention",
    "NotFound",
    "Refused",
    "RolledBack",
    "Unavailable",
}
LEFT_OUT = ("testing/", "api/example.py")
HEAD = """# Codes of errors and findings

Every deliberate error and every finding has a code that stays: it is never reused and never re-worded, so
scripts may match it. `{…}` stands for a part that varies. The last column is an example of the text.

| code | kind | text |
|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Code:
    """One place that uses a code."""

    code: str
    kind: str
    text: str
    place: str


def main() -> int:
    """Print the page; return 1 with the reason on standard error when a code has two meanings."""
    found = [code for path in sorted(SOURCE.rglob("*.py")) for code in codes_in(path)]
    found += [Code(code, "Refused", row.text, "certify/refusal.py") for code, row in REFUSALS.items()]
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    for code in found:
        if code.kind in ERRORS:
            kinds[code.code].add(code.kind)
    double = {name: sorted(ways) for name, ways in kinds.items() if len(ways) > 1}
    for name, ways in sorted(double.items()):
        places = ", ".join(sorted(code.place for code in found if code.code == name))
        sys.stderr.write(f"{name} is used as {' and '.join(ways)}: {places}\n")
    sys.stdout.write(page(found))
    return 1 if double else 0


def page(found: list[Code]) -> str:
    """Return the table, one line a code."""
    first = {code.code: code for code in reversed(found)}
    rows = [
        f"| `{code.code}` | {code.kind} | {' '.join(code.text.replace('|', '/').split())} |\n"
        for _, code in sorted(first.items())
    ]
    return HEAD + "".join(rows)


def codes_in(path: Path) -> Iterator[Code]:
    """Yield the codes that a module uses with a text next to them."""
    name = path.relative_to(SOURCE).as_posix()
    if name.startswith(LEFT_OUT):
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            code = _code(node, name)
            if code is not None:
                yield code


def _code(call: ast.Call, place: str) -> Code | None:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in ERRORS and len(call.args) >= 2:
        code, text = _text(call.args[0]), _text(call.args[1])
        return Code(code, name, text, place) if "." in code else None
    if name == "_blocker" and len(call.args) >= 3:
        return Code(_text(call.args[0]), "blocker", _text(call.args[2]), place)
    if name == "Finding" and len(call.args) >= 4:
        severity = call.args[1]
        kind = severity.attr.lower() if isinstance(severity, ast.Attribute) else "finding"
        code = _text(call.args[0])
        return Code(code, kind, _text(call.args[3]), place) if "." in code else None
    return None


def _text(node: ast.expr) -> str:
    """The literal, with … for what is computed."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) for part in parts)
        case _:
            return "{…}"


if __name__ == "__main__":
    sys.exit(main())
