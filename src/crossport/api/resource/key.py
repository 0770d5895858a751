"""The site's keys: the role document that partners believe, rotation and revocation."""

from typing import Annotated

from fastapi import Depends

from crossport.api import example
from crossport.api.body import body
from crossport.api.parameter import Who
from crossport.api.route import Route
from crossport.model.keyring import Algorithm, Key, KeyRole
from crossport.model.role import RevokeRequest, RoleDocument, RotateRequest, SiteKeys
from crossport.spi.role import RoleKeys

__all__ = ["KeyRoutes"]

PUBLIC = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYq71e36wecHChuy2pGgIkQ0zIxNpmY0f5DxcfHIN6dJ3BmGjMAa+EFvSz3CoTr0DOHiQ5aBh"
    "OSZQ68/gGjSJiQ=="
)
KEY = Key(
    public_key=PUBLIC,
    algorithm=Algorithm.ECDSA_P256,
    site="north",
    role=KeyRole.SEAL,
    valid_from=example.NOON,
    valid_until=example.NOON + 365 * 86400,
)
KEYS = SiteKeys(
    document=RoleDocument(
        site="north",
        version=7,
        root=PUBLIC,
        issued=example.NOON,
        expires=example.NOON + 30 * 86400,
        keys=(KEY,),
    ),
    envelope="eyJwYXlsb2FkIjoi…",
)


class KeyRoutes:
    """Serves ``/v1/keys``."""

    def __init__(self, keys: RoleKeys) -> None:
        self._keys = keys

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        shown = example.shown(KEYS)
        rotate, revoke = (
            example.shown(RotateRequest(role=KeyRole.SEAL)),
            example.shown(RevokeRequest(key=KEY.id())),
        )
        return (
            Route("GET", "/v1/keys", "key.list", self.list, shown, raises=(409,)),
            Route(
                "POST",
                "/v1/keys/rotate",
                "key.rotate",
                self.rotate,
                shown,
                200,
                RotateRequest,
                rotate,
                raises=(409,),
            ),
            Route(
                "POST",
                "/v1/keys/revoke",
                "key.revoke",
                self.revoke,
                shown,
                200,
                RevokeRequest,
                revoke,
                raises=(404, 409),
            ),
        )

    async def list(self, who: Who) -> SiteKeys:
        """Return the keys that the site signs with, and the signed document that lists them for partners.

        A key's id is the hex SHA-256 of its public key (DER).
        """
        del who  # keys are the site's, not a tenant's
        return await self._keys.keys()

    async def rotate(
        self, who: Who, request: Annotated[RotateRequest, Depends(body(RotateRequest))]
    ) -> SiteKeys:
        """List a new key. It signs a day later, when partners know it; the old one stays good for what it
        signed."""
        del who
        return await self._keys.rotate(request)

    async def revoke(
        self, who: Who, request: Annotated[RevokeRequest, Depends(body(RevokeRequest))]
    ) -> SiteKeys:
        """Revoke a key: nothing that it ever signed is believed. Another one signs from now on."""
        del who
        return await self._keys.revoke(request)
