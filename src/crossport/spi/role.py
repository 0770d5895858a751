"""The keys that a site signs with, for its operator."""

from typing import Protocol

from crossport.model.role import RevokeRequest, RotateRequest, SiteKeys

__all__ = ["RoleKeys"]


class RoleKeys(Protocol):
    """The site's keys by role. Every call returns the document that holds now, and raises Unavailable when
    what keeps the keys does not answer."""

    async def keys(self) -> SiteKeys:
        """Return the document. The first call makes the keys."""
        ...

    async def rotate(self, request: RotateRequest) -> SiteKeys:
        """List a new key, which signs once everybody can know it; the old one stays good for what it signed.

        Raise Conflict ``key.rotation.pending`` while one is listed that does not sign yet.
        """
        ...

    async def revoke(self, request: RevokeRequest) -> SiteKeys:
        """Revoke a key; where it was the one that signs, another one takes its place at once.

        Raise NotFound ``key.unknown``, Conflict ``key.revoked``, and Invalid ``key.role.fixed`` for the
        authority's key.
        """
        ...
