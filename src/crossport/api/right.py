"""Who may do what: three roles, and two rights that no role includes.

A token carries one role and, when they were given to it by name, the rights ``retire`` and ``site``.
"""

from crossport.model.access import Right, Role, rights_of
from crossport.model.federation import Ceilings, Subject, TrustRule
from crossport.model.grant import Holder
from crossport.model.record import record

__all__ = ["Caller", "rights_of"]


@record()
class Caller:
    """Who makes a request: the token by its id, in whose name, and what it may do.

    Whom an identity provider knows has a ``subject``, the ``rule`` that admitted it (``trust``, by its name),
    ``ceilings``, and an end, ``until``.
    """

    token: str
    tenant: str
    rights: frozenset[Right]
    role: Role | None = None
    subject: Subject | None = None
    rule: str = ""
    trust: TrustRule | None = None
    ceilings: Ceilings = Ceilings()
    until: float = 0.0

    @property
    def holder(self) -> Holder | None:
        """Who holds the grant of a run that this caller begins; None for one whose right does not end so."""
        if self.subject is None or self.trust is None:
            return None
        return Holder(tenant=self.tenant, subject=self.subject, rule=self.trust, ceilings=self.ceilings)
