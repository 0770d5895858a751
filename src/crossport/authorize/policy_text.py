"""Policies as people write them: taken apart, so that what is wrong with one is told with its file and line.

The engine's own messages name policies by number. So every policy is read by itself.
"""

import re
from collections.abc import Iterator

from crossport import errors
from crossport.authorize.cedar import Schema, parsed
from crossport.model.record import record

__all__ = ["Policy", "policies"]

# A comment, a text, the end of a policy; whatever else, character by character.
PIECE = re.compile(r"//[^\n]*|\"(?:\\.|[^\"\\])*\"|;|.", re.DOTALL)
ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
LONGEST_REASON = 300


@record()
class Policy:
    """One policy that was found sound: its id and reason, where it stands (``FILE:LINE``), and its text."""

    id: str
    reason: str
    forbids: bool
    place: str
    text: str


def policies(text: str, file: str, schema: Schema) -> tuple[Policy, ...]:
    """Return the policies in ``text``. Raise Invalid naming the ``file`` and line at fault."""
    return tuple(_read(one, f"{file}:{line}", schema) for line, one in _apart(text))


def _apart(text: str) -> Iterator[tuple[int, str]]:
    """Yield each policy with the line in which it begins; what is left at the end is one, too."""
    parts, line, begun = list[str](), 1, 0
    for piece in PIECE.findall(text):
        if not begun and not piece.isspace() and not piece.startswith("//"):
            begun = line
        if begun:
            parts.append(piece)
        line += piece.count("\n")
        if piece == ";":
            yield begun, "".join(parts)
            parts, begun = [], 0
    if begun:
        yield begun, "".join(parts)


def _read(text: str, place: str, schema: Schema) -> Policy:
    try:
        found = parsed(text)
    except ValueError as error:
        raise _wrong(place, f"This is no policy: {error}.", "Correct it; each ends with ;") from error
    (policy,) = found
    if not policy:
        raise _wrong(place, "This is a template.", "Write names in place of ?principal, ?resource.")
    if misfits := schema.misfits(text):
        raise _wrong(
            place,
            f"{'; '.join(misfits)}.",
            "Policies may speak of what the schema has, and no more.",
        )
    notes: dict[str, str] = policy.get("annotations", {})
    if not ID.fullmatch(notes.get("id") or ""):
        raise _wrong(
            place, "The policy has no @id of small letters, digits, dots.", 'Write @id("night.freeze").'
        )
    reason = (notes.get("reason") or "").strip()
    if not reason or len(reason) > LONGEST_REASON or not reason.isprintable():
        raise _wrong(
            place,
            f"The policy {notes['id']} has no @reason of one line, at most {LONGEST_REASON} characters.",
            "Write for the person who is denied.",
        )
    return Policy(id=notes["id"], reason=reason, forbids=policy["effect"] == "forbid", place=place, text=text)


def _wrong(place: str, text: str, remedy: str) -> errors.Invalid:
    return errors.Invalid("authorization.policy.invalid", text, field=place, remedy=remedy)
