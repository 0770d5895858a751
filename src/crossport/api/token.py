"""Bearer tokens: made once, shown once, kept as a hash, scoped to a tenant, expiring, revocable."""

from collections.abc import Callable

from crossport import errors
from crossport.api.right import Caller, rights_of
from crossport.identity import token as secret_text
from crossport.model.access import Right, Role, TokenRequest
from crossport.model.record import record
from crossport.spi.clock import Clock
from crossport.spi.document import Documents
from crossport.spi.secret import Secret

__all__ = ["Token", "Tokens"]

KIND = "token"
DAY_S = 86400.0
ID_SIZE = 16
"""Hex digits of the hash by which a token is named and found; the whole hash is compared."""


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
    digest: str


class Tokens:
    """Makes, checks, lists and revokes tokens. ``entropy`` returns that many unpredictable bytes."""

    def __init__(self, documents: Documents, clock: Clock, entropy: Callable[[int], bytes]) -> None:
        self._documents = documents
        self._clock = clock
        self._entropy = entropy

    async def create(self, request: TokenRequest, *, tenant: str) -> tuple[Token, Secret]:
        """Return a new token of ``tenant`` and its text, which is shown this once. 0 days never expire."""
        now = self._clock.wall()
        secret = secret_text.generate(self._entropy)
        digest = secret_text.hashed(secret)
        token = Token(
            id=digest[:ID_SIZE],
            name=request.name,
            tenant=tenant,
            role=request.role,
            rights=tuple(sorted(set(request.rights))),
            created=now,
            expires=now + request.days * DAY_S if request.days else 0.0,
            digest=digest,
        )
        await self._documents.put(KIND, token.id, token, generation=0)
        return token, secret

    async def caller(self, header: str) -> Caller | None:
        """Return whom an Authorization header stands for; None when it is wrong, expired or revoked."""
        try:
            secret = secret_text.from_header(header)
        except errors.Refused:
            return None
        token = await self._fetch(secret_text.hashed(secret)[:ID_SIZE])
        if token is None or not secret_text.matches(secret, token.digest):
            return None
        if token.expires and token.expires <= self._clock.wall():
            return None
        rights = rights_of(token.role, token.rights)
        return Caller(token=token.id, tenant=token.tenant, rights=rights, role=token.role)

    async def listed(self, tenant: str | None) -> tuple[Token, ...]:
        """Return the tokens of ``tenant``, or of all tenants when None, by id."""
        found: list[Token] = []
        after = ""
        while batch := await self._documents.list(KIND, Token, after=after):
            found += [one.value for one in batch if tenant in (None, one.value.tenant)]
            after = batch[-1].key
        return tuple(found)

    async def revoke(self, id: str, tenant: str | None) -> None:  # noqa: A002 - the record's own word
        """Make a token of ``tenant`` (None: of any) worthless from now on. Raise NotFound."""
        token = await self._fetch(id)
        if token is None or tenant not in (None, token.tenant):
            raise errors.NotFound(
                "token.unknown",
                f"There is no token {id}.",
                field="token",
                remedy="See `crossport token list`.",
            )
        await self._documents.delete(KIND, id)

    async def _fetch(self, id: str) -> Token | None:  # noqa: A002
        try:
            return (await self._documents.fetch(KIND, id, Token)).value
        except errors.NotFound:
            return None
