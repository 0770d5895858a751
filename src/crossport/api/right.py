"""Who may do what: three roles, and two rights that no role includes.

A token carries one role and, when they were given to it by name, the rights ``retire`` and ``site``.
"""

from enum import StrEnum

from crossport.model.record import record

__all__ = ["Caller", "Right", "Role", "rights_of"]


class Right(StrEnum):
    """What a route asks of its caller."""

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
    """A usual set of rights."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


@record()
class Caller:
    """Who makes a request: the token by its id, in whose name, and what it may do."""

    token: str
    tenant: str
    rights: frozenset[Right]


def rights_of(role: Role, extra: tuple[Right, ...] = ()) -> frozenset[Right]:
    """Return what a token of ``role`` may do, with the rights that were given to it by name."""
    included = {
        Role.VIEWER: (Right.READ,),
        Role.OPERATOR: (Right.READ, Right.OPERATE),
        Role.ADMIN: (Right.READ, Right.OPERATE, Right.ADMINISTER),
    }[role]
    return frozenset(included + extra)
