"""What a new gateway carries from its site to its machine: one line of text with everything in it.

Whoever has it can join once, until it expires; so it goes through standard input or a private file, never
through arguments.
"""

from typing import Annotated

from pydantic import Field

from crossport import errors
from crossport.identity.carried import Carried
from crossport.identity.tls import fingerprint
from crossport.model.record import record

__all__ = ["Invitation", "Nodes", "packed", "unpacked"]

Nodes = dict[str, tuple[str, ...]]
"""The site's nodes by name, each with its addresses: ``HOST:PORT``, or ``unix:/path`` on its own machine."""


@record()
class Invitation:
    """Which gateway is invited by which site, and where that is reached. ``authority`` is its CA as PEM."""

    gateway: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=63)]
    site: str
    authority: str
    token: str
    nodes: Nodes


_VERSION = 1


def _unreadable(why: str) -> errors.Invalid:
    return errors.Invalid(
        "gateway.join.unreadable",
        f"This is nothing to join a site with. {why}",
        field="join",
        remedy="Take the whole line that `crossport gateway enroll` wrote.",
    )


def _newer(version: int) -> errors.Invalid:
    return errors.Invalid(
        "gateway.join.newer",
        f"It is of version {version}; this release reads {_VERSION}.",
        field="join",
        remedy="Install the site's release of Crossport here.",
    )


_LINE = Carried(Invitation, "crossport-join-", _VERSION, _unreadable, _newer)


def packed(invitation: Invitation) -> str:
    """Return the invitation as one line."""
    return _LINE.packed(invitation)


def unpacked(text: str, expected: str = "") -> Invitation:
    """Read a line of `packed`.

    ``expected`` is the authority's fingerprint as the site told it. Raise Invalid for anything else, Refused
    (``gateway.join.authority``) when the line names another authority.
    """
    invitation = _LINE.unpacked(text)
    try:
        found = fingerprint(invitation.authority)
    except ValueError as error:
        raise _unreadable("It is damaged.") from error
    if expected and found != expected.lower().removeprefix("sha256:"):
        raise errors.Refused(
            "gateway.join.authority",
            f"It names an authority with the fingerprint {found}, not {expected}.",
            field="authority",
            remedy="Somebody may have exchanged it on its way. Enroll again and compare both ends.",
        )
    return invitation
