"""Who may do what: three roles, and two rights that no role includes.

A token carries one role and, when they were given to it by name, the rights ``retire`` and ``site``.
"""

from crossport.model.access import Right, Role, rights_of
from crossport.model.record import record

__all__ = ["Caller", "rights_of"]


@record()
class Caller:
    """Who makes a request: the token by its id, in whose name, and what it may do."""

    token: str
    tenant: str
    rights: frozenset[Right]
    role: Role | None = None
