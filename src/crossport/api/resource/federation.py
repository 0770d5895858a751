"""Identity providers and trust rules: whom the site believes, and whom that makes its tenants."""

from typing import Annotated

from fastapi import Depends, Path

from crossport.api import example
from crossport.api.body import body
from crossport.api.parameter import After, Limit, Page, Who, page
from crossport.api.route import Route
from crossport.identity.federation import FederationBook
from crossport.model.access import Role
from crossport.model.federation import Ceilings, NewProvider, Provider, TrustRule
from crossport.model.name import NAME

__all__ = ["FederationRoutes"]

PROVIDER = Provider(
    name="acme",
    issuer="https://login.acme.example",
    audience="https://crossport.example",
    client="crossport-cli",
)
RULE = TrustRule(
    name="acme-operators",
    provider="acme",
    claims={"groups": "cloud-operators"},
    tenant="acme",
    role=Role.OPERATOR,
    ceilings=Ceilings(clouds=("alpha", "beta")),
)
_Provider = Annotated[str, Path(pattern=NAME, max_length=63, description="The provider's name.")]
_Rule = Annotated[str, Path(pattern=NAME, max_length=63, description="The rule's name.")]


class FederationRoutes:
    """Serves ``/v1/identity``."""

    def __init__(self, book: FederationBook) -> None:
        self._book = book

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        providers, rules = "/v1/identity/providers", "/v1/identity/rules"
        provider, rule = example.shown(PROVIDER), example.shown(RULE)
        return (
            Route("GET", providers, "provider.list", self.providers, example.page_of(PROVIDER)),
            Route(
                "POST",
                providers,
                "provider.add",
                self.add_provider,
                provider,
                201,
                NewProvider,
                provider,
                raises=(409,),
                names={"provider": "$response.body#/name"},
            ),
            Route(
                "DELETE",
                providers + "/{provider}",
                "provider.remove",
                self.remove_provider,
                status=204,
                raises=(404, 409),
            ),
            Route("GET", rules, "rule.list", self.rules, example.page_of(RULE)),
            Route(
                "POST",
                rules,
                "rule.add",
                self.add_rule,
                rule,
                201,
                TrustRule,
                rule,
                raises=(404, 409),
                names={"rule": "$response.body#/name"},
            ),
            Route(
                "DELETE",
                rules + "/{rule}",
                "rule.remove",
                self.remove_rule,
                status=204,
                raises=(404,),
            ),
        )

    async def providers(self, who: Who, after: After = "", limit: Limit = 100) -> Page[Provider]:
        """List the identity providers whose tokens are accepted where a rule says so."""
        del who  # the site's, not a tenant's
        found = await self._book.providers()
        return page(found, tuple(each.name for each in found), after, limit)

    async def add_provider(
        self, who: Who, provider: Annotated[NewProvider, Depends(body(NewProvider))]
    ) -> Provider:
        """Believe a provider, once it answered with its keys. By itself that admits nobody: add a rule.

        With an `introspector` and its `secret` it is asked, while runs go on, whether sign-ins still count.
        """
        del who
        return await self._book.add_provider(provider.without_secret(), provider.secret)

    async def remove_provider(self, who: Who, provider: _Provider) -> None:
        """Believe a provider no longer: none of its tokens is accepted from now on."""
        del who
        await self._book.remove_provider(provider)

    async def rules(self, who: Who, after: After = "", limit: Limit = 100) -> Page[TrustRule]:
        """List the trust rules. The first that fits, by name, says who the bearer of a token is here."""
        del who
        found = await self._book.rules()
        return page(found, tuple(each.name for each in found), after, limit)

    async def add_rule(self, who: Who, rule: Annotated[TrustRule, Depends(body(TrustRule))]) -> TrustRule:
        """Make whoever has a provider's token with these claims a tenant here."""
        del who
        return await self._book.add_rule(rule)

    async def remove_rule(self, who: Who, rule: _Rule) -> None:
        """Let a rule hold no longer: whom it admitted is not admitted by it from now on."""
        del who
        await self._book.remove_rule(rule)
