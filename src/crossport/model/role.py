"""Which keys a site signs with, in which roles: the document that its root signs, and requests about it."""

from typing import Annotated, Literal

from pydantic import Field

from crossport.model.keyring import Key, KeyRole
from crossport.model.record import record

__all__ = ["FORMAT", "ROOTS_MAX", "RevokeRequest", "RoleDocument", "RootStep", "RotateRequest", "SiteKeys"]

FORMAT = 1
ROOTS_MAX = 32
"""Steps from root to root that a document carries, the newest; who pinned an older root begins anew."""
KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@record()
class RootStep:
    """The root ``after`` follows ``before`` (base64 of their SubjectPublicKeyInfo), as step ``number``.

    ``made`` is in Unix seconds.
    """

    format: int = FORMAT
    site: str
    number: Annotated[int, Field(ge=1)]
    before: Annotated[str, Field(max_length=1000)]
    after: Annotated[str, Field(max_length=1000)]
    made: float


@record()
class RoleDocument:
    """The keys of ``site``. Each new one has a higher ``version``; times are Unix seconds.

    ``root`` is the key that signs the document (base64 of its SubjectPublicKeyInfo). When it ``expires``,
    nothing in it counts any more, so that whoever is kept from newer ones does not believe old ones for ever.
    ``roots`` are the steps from earlier roots to this one, oldest first, as `identity.root_step` signs them.
    """

    format: int = FORMAT
    site: str
    version: Annotated[int, Field(ge=1)]
    root: str
    issued: float
    expires: float
    keys: Annotated[tuple[Key, ...], Field(max_length=200)]
    roots: Annotated[tuple[Annotated[str, Field(max_length=8192)], ...], Field(max_length=ROOTS_MAX)] = ()


@record()
class SiteKeys:
    """A site's own document, and the envelope (base64) that proves it to partners."""

    document: RoleDocument
    envelope: str


@record()
class RotateRequest:
    """Let a new key follow in ``role``; ``at_once``, without waiting until partners know it.

    A new ``root`` follows at once: the one before signs that it does.
    """

    role: Literal[KeyRole.SEAL, KeyRole.AUDIT, KeyRole.TICKET, KeyRole.PERMIT, "root"]
    at_once: bool = False


@record()
class RevokeRequest:
    """Believe nothing any more that this key signed."""

    key: KeyId
