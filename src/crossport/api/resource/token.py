"""Tokens: hand out, list, revoke. The secret part is shown once and never again."""

from typing import Annotated

from fastapi import Depends

from crossport import errors
from crossport.api import example
from crossport.api.body import body
from crossport.api.parameter import After, Limit, Page, TokenId, Who, page
from crossport.api.right import Caller, rights_of
from crossport.api.route import Route
from crossport.api.token import Token, Tokens
from crossport.model.access import NewToken, Right, Role, ShownToken, TokenRequest

__all__ = ["TokenRoutes"]


SHOWN = ShownToken(
    id="3f9a1c7e20b4",
    name="ci",
    tenant="default",
    role=Role.OPERATOR,
    rights=(),
    created=example.NOON,
    expires=example.NOON + 90 * 86400.0,
)


class TokenRoutes:
    """Serves ``/v1/tokens``."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        many = "/v1/tokens"
        named = {"token": "$response.body#/token/id"}
        sent = example.shown(TokenRequest(name="ci", role=Role.OPERATOR))
        made = example.shown(NewToken(token=SHOWN, secret="xp_3f9a1c7e20b4_…"))  # noqa: S106 - an example
        return (
            Route("GET", many, "token.list", self.list, example.page_of(SHOWN)),
            Route(
                "POST",
                many,
                "token.create",
                self.create,
                made,
                201,
                TokenRequest,
                sent,
                names=named,
            ),
            Route(
                "DELETE",
                many + "/{token}",
                "token.revoke",
                self.revoke,
                status=204,
                raises=(404,),
            ),
        )

    async def list(self, who: Who, after: After = "", limit: Limit = 100) -> Page[ShownToken]:
        """List tokens, by id: those of the tenant, or with the right ``site`` those of all tenants."""
        tokens = tuple(_shown(token) for token in await self._tokens.listed(_scope(who)))
        return page(tokens, tuple(token.id for token in tokens), after, limit)

    async def create(
        self, who: Who, request: Annotated[TokenRequest, Depends(body(TokenRequest))]
    ) -> NewToken:
        """Make a token. Nobody can hand out a right that the own token lacks."""
        tenant = request.tenant or who.tenant
        lacking = rights_of(request.role, request.rights) - who.rights
        if lacking or (tenant != who.tenant and Right.SITE not in who.rights):
            raise errors.Refused(
                "token.rights.exceeded",
                "The new token would be allowed more than yours.",
                field="rights" if lacking else "tenant",
                remedy="Ask somebody whose token has these rights.",
            )
        token, secret = await self._tokens.create(request, tenant=tenant)
        return NewToken(token=_shown(token), secret=secret.reveal())

    async def revoke(self, who: Who, token: TokenId) -> None:
        """Make a token worthless from now on."""
        await self._tokens.revoke(token, _scope(who))


def _scope(who: Caller) -> str | None:
    return None if Right.SITE in who.rights else who.tenant


def _shown(token: Token) -> ShownToken:
    return ShownToken(
        id=token.id,
        name=token.name,
        tenant=token.tenant,
        role=token.role,
        rights=token.rights,
        created=token.created,
        expires=token.expires,
    )
