"""How a site answers whoever asks who serves there, and who the caller is."""

from crossport.model.access import Right, Role
from crossport.model.federation import Ceilings
from crossport.model.record import record

__all__ = ["Greeting"]


@record()
class Greeting:
    """Who serves, and what the caller may do there.

    For whom an identity provider knows it says who that is there, by which trust rule it is who here, and
    when its token ends (Unix seconds). ``ceilings`` bound what it may touch of what its role allows.
    """

    version: str
    tenant: str
    token: str
    rights: tuple[Right, ...]
    issuer: str = ""
    subject: str = ""
    rule: str = ""
    role: Role | None = None
    until: float = 0.0
    ceilings: Ceilings = Ceilings()
