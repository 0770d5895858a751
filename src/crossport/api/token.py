"""Bearer tokens: made once, shown once, kept as a hash, scoped to a tenant, expiring, revocable.

A token reads ``xp_ID_SECRET``. The id finds the record; of the secret only a SHA-256 is kept, which is
enough because the secret is 256 random bits and cannot be guessed from its hash.
"""

import hashlib
import hmac
from collections.abc import Callable
from typing import Annotated, Protocol

from pydantic import Field

from crossport import errors
from crossport.api.right import Caller, Right, Role, rights_of
from crossport.model.record import record
from crossport.spi.clock import Clock
from crossport.spi.secret import Secret

__all__ = ["Token", "TokenRequest", "TokenStore", "Tokens"]

DAY_S = 86400.0
SECRET_SIZE = 32
ID_SIZE = 6
"""Bytes of randomness in a secret, and in the id by which people name a token."""


@record()
class TokenRequest:
    """What a new token shall be allowed to do. An empty tenant is the caller's own."""

    name: Annotated[str, Field(max_length=200)]
    role: Role
    tenant: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]*$", max_length=63)] = ""
    rights: tuple[Right, ...] = ()
    days: Annotated[int, Field(ge=0, le=3650)] = 90


@record()
class Token:
    """A token as it is kept: everything but the secret. Times are Unix seconds; ``expires`` 0 is never."""

    id: str
    name: str
    tenant: str
    role: Role
    rights: tuple[Right, ...]
    created: float
    expires: float
    digest: str = ""


class TokenStore(Protocol):
    """Where tokens are kept. Everything is durable on return."""

    async def put(self, token: Token) -> None:
        """Keep ``token`` under its id."""
        ...

    async def fetch(self, id: str) -> Token | None:  # noqa: A002 - the record's own word
        """Return the token, None when there is none."""
        ...

    async def all(self) -> tuple[Token, ...]:
        """Return every token, by id."""
        ...

    async def delete(self, id: str) -> bool:  # noqa: A002
        """Forget the token; return whether it was there."""
        ...


class Tokens:
    """Makes, checks, lists and revokes tokens. ``random`` returns that many unguessable bytes."""

    def __init__(self, store: TokenStore, clock: Clock, random: Callable[[int], bytes]) -> None:
        self._store = store
        self._clock = clock
        self._random = random

    async def create(self, request: TokenRequest, *, tenant: str) -> tuple[Token, Secret]:
        """Return a new token of ``tenant`` and its text, which is shown this once. 0 days never expire."""
        now = self._clock.wall()
        identity = self._random(ID_SIZE).hex()
        secret = self._random(SECRET_SIZE).hex()
        token = Token(
            id=identity,
            name=request.name,
            tenant=tenant,
            role=request.role,
            rights=tuple(sorted(set(request.rights))),
            created=now,
            expires=now + request.days * DAY_S if request.days else 0.0,
            digest=_digest(secret),
        )
        await self._store.put(token)
        return token, Secret(f"xp_{identity}_{secret}")

    async def caller(self, text: str) -> Caller | None:
        """Return whom the token ``text`` stands for; None when it is wrong, expired or revoked."""
        prefix, _, rest = text.partition("_")
        identity, _, secret = rest.partition("_")
        token = await self._store.fetch(identity) if prefix == "xp" and identity.isalnum() else None
        if token is None or not hmac.compare_digest(token.digest, _digest(secret)):
            return None
        if token.expires and token.expires <= self._clock.wall():
            return None
        return Caller(token=token.id, tenant=token.tenant, rights=rights_of(token.role, token.rights))

    async def listed(self, tenant: str | None) -> tuple[Token, ...]:
        """Return the tokens of ``tenant``, or of all tenants when None."""
        return tuple(token for token in await self._store.all() if tenant in (None, token.tenant))

    async def revoke(self, id: str, tenant: str | None) -> None:  # noqa: A002
        """Make a token of ``tenant`` (None: of any) worthless from now on. Raise NotFound."""
        token = await self._store.fetch(id)
        if token is None or tenant not in (None, token.tenant):
            raise errors.NotFound(
                "token.unknown",
                f"There is no token {id}.",
                field="token",
                remedy="See `crossport token list`.",
            )
        await self._store.delete(id)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
