"""How one root of a site's role documents follows another: both sign that it does. Pure.

It is done as The Update Framework updates its root role (specification, 5.3 "Update the root role"): whoever
pinned an older root goes from each to the next, and believes none that the one before did not sign. Every
document carries the steps, so that somebody who slept through several still finds his way.
"""

import base64
import binascii

from crossport import errors
from crossport.model import codec
from crossport.model.keyring import key_id
from crossport.model.record import record
from crossport.model.role import ROOTS_MAX, RootStep
from crossport.model.signature import is_signed, signing_bytes
from crossport.spi.signer import Signer

__all__ = ["followed", "last_number", "root_known_as", "stepped", "with_step"]

PAYLOAD_TYPE = "application/vnd.crossport.root+json"


@record()
class _SignedStep:
    """A step (base64 of its JSON), signed by the root before it and by the one after it (base64)."""

    step: str
    before: str
    after: str


def stepped(step: RootStep, before: Signer, after: Signer) -> str:
    """Return the step as role documents carry it (base64)."""
    content = codec.encoded(step).encode()
    signed = signing_bytes(PAYLOAD_TYPE, content)
    kept = _SignedStep(
        step=_text(content), before=_text(before.sign(signed)), after=_text(after.sign(signed))
    )
    return _text(codec.encoded(kept).encode())


def with_step(roots: tuple[str, ...], step: str) -> tuple[str, ...]:
    """Return the steps with another one behind them; the oldest are dropped when there are too many."""
    return (*roots, step)[-ROOTS_MAX:]


def last_number(roots: tuple[str, ...]) -> int:
    """Return how many steps a site has made, by the last of its own; 0 for none."""
    return _opened(roots[-1])[1].number if roots else 0


def followed(roots: tuple[str, ...], site: str, pinned: bytes) -> bytes:
    """Return the root (DER) to which the steps lead from a ``pinned`` one; that one, if none begins there.

    Raise Refused ``roles.root.forged`` for a step from there on that is not signed by both roots, is of
    another site, or does not follow the one before it.
    """
    root, number = pinned, 0
    for text in roots:
        kept, step, content = _opened(text)
        if not number and _der(step.before) != root:
            continue  # a step that came before the one that was pinned
        after = _der(step.after)
        signed = signing_bytes(PAYLOAD_TYPE, content)
        well = is_signed(root, signed, _der(kept.before)) and is_signed(after, signed, _der(kept.after))
        if not well or step.site != site or _der(step.before) != root or number not in (0, step.number - 1):
            raise _forged()
        root, number = after, step.number
    return root


def root_known_as(roots: tuple[str, ...], id_: str) -> bytes | None:
    """Return the root (DER) with this id from which a step leads on, None where there is none."""
    befores = (_der(_opened(text)[1].before) for text in roots)
    return next((one for one in befores if key_id(one) == id_), None)


def _opened(text: str) -> tuple[_SignedStep, RootStep, bytes]:
    """Return a step with its signatures, and its JSON that they are over. Nothing of it is proven."""
    try:
        kept = codec.decoded(_der(text), _SignedStep)
        content = _der(kept.step)
        return kept, codec.decoded(content, RootStep), content
    except errors.Invalid as error:
        raise _forged() from error


def _der(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise _forged() from error


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _forged() -> errors.Refused:
    return errors.Refused(
        "roles.root.forged",
        "The role document is not believed. A step from its earlier root to the next is not signed by both.",
        field="roles",
        remedy="No key in it counts. Get the newest document from the site itself, and find out where this "
        "one came from.",
    )
