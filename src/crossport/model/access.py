"""Who may ask a site for what: roles, rights, and tokens without their secret part."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from crossport.model.record import record

__all__ = ["NewToken", "Right", "Role", "ShownToken", "TokenRequest", "rights_of"]


class Right(StrEnum):
    """What an operation asks of its caller."""

    READ = "read"
    """See clouds, VMs, runs and plans of the tenant; ask for assessments and dry runs."""
    OPERATE = "operate"
    """Start, stop and migrate VMs, decide about runs, keep and run plans."""
    ADMINISTER = "administer"
    """Connect clouds, and hand out tokens of the own tenant."""
    RETIRE = "retire"
    """Delete a retained source. No role includes it."""
    SITE = "site"
    """Hand out tokens of any tenant, and read the site's metrics. No role includes it."""


class Role(StrEnum):
    """A usual set of rights: to read, to operate too, to administer too."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


def rights_of(role: Role, extra: tuple[Right, ...] = ()) -> frozenset[Right]:
    """Return what a token of ``role`` may do, with the rights that were given to it by name."""
    included = {
        Role.VIEWER: (Right.READ,),
        Role.OPERATOR: (Right.READ, Right.OPERATE),
        Role.ADMIN: (Right.READ, Right.OPERATE, Right.ADMINISTER),
    }[role]
    return frozenset(included + extra)


@record()
class TokenRequest:
    """What a new token shall be allowed to do. An empty tenant is the caller's own; 0 days never expire."""

    name: Annotated[str, Field(max_length=200)]
    role: Role
    tenant: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$", max_length=63)] = ""
    rights: tuple[Right, ...] = ()
    days: Annotated[int, Field(ge=0, le=3650)] = 90


@record()
class ShownToken:
    """A token without anything secret. Times are Unix seconds; ``expires`` 0 is never."""

    id: str
    name: str
    tenant: str
    role: Role
    rights: tuple[Right, ...]
    created: float
    expires: float


@record()
class NewToken:
    """A token that was just made. ``secret`` is the text to send, and is not kept anywhere."""

    token: ShownToken
    secret: str
