"""Who may do what: three roles, and two rights that no role includes.

A token carries one role and, when they were given to it by name, the rights ``retire`` and ``site``.
"""

from crossport.model.access import Right, Role, rights_of
from crossport.model.federation import Ceilings, Subject
from crossport.model.record import record

__all__ = ["Caller", "rights_of"]


@record()
class Caller:
    """Who makes a request: the token by its id, in whose name, and what it may do.

    Whom an identity provider knows has a ``subject``, the ``rule`` that admitted it, ``ceilings``, and an
    end, ``until``.
    """

    token: str
    tenant: str
    rights: frozenset[Right]
    role: Role | None = None
    subject: Subject | None = None
    rule: str = ""
    ceilings: Ceilings = Ceilings()
    until: float = 0.0
