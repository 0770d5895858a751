"""Admit the bearer of a provider's access token: the token first, then the rule that says who it is here."""

from collections.abc import Callable

from crossport import errors
from crossport.identity.federation.admission import Admission
from crossport.identity.federation.book import FederationBook
from crossport.identity.federation.claims import checked, fits
from crossport.identity.federation.exchange import ExchangedTokens
from crossport.identity.federation.proof import Proofs
from crossport.identity.federation.provider_keys import ProviderKeys
from crossport.identity.federation.signed_token import SignedToken, taken_apart
from crossport.model.federation import Provider, TrustRule
from crossport.spi.clock import Clock
from crossport.spi.web import Web

__all__ = ["Federation"]


class Federation:
    """Admits the tokens of the providers in ``book``, and what they were exchanged for."""

    def __init__(self, book: FederationBook, web: Web, clock: Clock, entropy: Callable[[int], bytes]) -> None:
        self.book = book
        self.proofs = Proofs(book.documents, clock)
        self.exchanged = ExchangedTokens(book, clock, entropy)
        self._keys = ProviderKeys(web, clock)
        self._clock = clock

    def now(self) -> float:
        """Return the Unix seconds by which tokens are judged."""
        return self._clock.wall()

    async def admitted(self, text: str) -> Admission:
        """Return whom the token stands for. Raise Refused with the one thing that is wrong with it.

        Raise Unavailable when its issuer's keys cannot be read.
        """
        token = taken_apart(text)
        provider = await self._provider(token)
        algorithm = token.algorithm(provider.algorithms)
        token.check_signed(algorithm, await self._keys.of(provider, token))
        token.check_type(provider.types)
        subject, until = checked(token.claims, provider, self._clock.wall())
        rule = await self._rule(token, provider)
        return Admission(
            subject=subject, rule=rule, audience=provider.audience, until=until, key=_bound_to(token)
        )

    async def _provider(self, token: SignedToken) -> Provider:
        issuer = token.claims.get("iss")
        for provider in await self.book.providers():
            if provider.issuer == issuer:
                return provider
        raise errors.Refused(
            "identity.token.issuer",
            f"No provider {str(issuer)[:200]!r} is known here.",
            field="Authorization",
            remedy="Use a provider that the site's operator added: `crossport identity provider list`.",
        )

    async def _rule(self, token: SignedToken, provider: Provider) -> TrustRule:
        for rule in await self.book.rules():
            if rule.provider == provider.name and fits(token.claims, rule.claims):
                return rule
        raise errors.Refused(
            "identity.rule.none",
            f"The token is good, but no rule makes its subject a tenant here ({provider.name}).",
            field="Authorization",
            remedy="Ask the site's operator for a rule: `crossport identity rule add`.",
        )


def _bound_to(token: SignedToken) -> str:
    """Return the key that the token is bound to; raise Refused when it is bound by what is not known here."""
    bound = token.claims.get("cnf")
    if bound is None:
        return ""
    key = bound.get("jkt") if isinstance(bound, dict) and len(bound) == 1 else None  # pyright: ignore
    if not isinstance(key, str) or not key:
        raise errors.Refused(
            "identity.token.binding",
            "The token is bound to its sender in a way that is not known here.",
            field="Authorization",
            remedy="Bind it by DPoP (RFC 9449), or not at all.",
        )
    return key
