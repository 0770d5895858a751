"""Admit the bearer of a provider's access token: the token first, then the rule that says who it is here."""

from collections.abc import Callable, Mapping
from typing import Any, cast

from crossport import errors
from crossport.identity.federation.admission import CERTIFICATE, Admission
from crossport.identity.federation.book import FederationBook
from crossport.identity.federation.claims import checked, fits
from crossport.identity.federation.exchange import ExchangedTokens
from crossport.identity.federation.proof import Proofs
from crossport.identity.federation.provider_keys import ProviderKeys
from crossport.identity.federation.sign_ins import SignIns
from crossport.identity.federation.signed_token import SignedToken, taken_apart
from crossport.model.federation import Provider, TrustRule
from crossport.spi.clock import Clock
from crossport.spi.web import Web

__all__ = ["Federation"]

_ACCESS = ("bearer", "dpop")


class Federation:
    """Admits the tokens of the providers in ``book``, and what they were exchanged for."""

    def __init__(self, book: FederationBook, web: Web, clock: Clock, entropy: Callable[[int], bytes]) -> None:
        self.book = book
        self.proofs = Proofs(book.documents, clock)
        self.exchanged = ExchangedTokens(book, clock, entropy)
        self.sign_ins = SignIns(book.documents, book.secrets, book.introspection, clock, entropy)
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
        return await self._admission(token.claims, provider)

    async def exchanging(self, text: str) -> Admission:
        """Return whom a token stands for that is to be exchanged; it is kept if its provider can be asked.

        One that only its provider can read is taken here, and nowhere else: the provider says what is in
        it. Raise as `admitted`.
        """
        asked = [each for each in await self.book.providers() if each.introspector]
        opaque = asked and text.count(".") != 2
        admission = await (self._told(text, asked) if opaque else self.admitted(text))
        await self.sign_ins.note(admission.provider, admission.subject, text, admission.until)
        return admission

    async def _told(self, text: str, asked: list[Provider]) -> Admission:
        """Return whom an opaque token stands for, by what the one provider says that can be asked."""
        if len(asked) != 1:
            raise errors.Refused(
                "identity.token.opaque",
                "Only its provider can read the token, and it does not say which of several that is.",
                field="Authorization",
                remedy="Ask the provider for a token in the form of RFC 9068.",
            )
        (provider,) = asked
        try:
            said = await self.book.introspection.told(provider, text)
        except errors.Error as error:
            raise _unasked(provider, error) from error
        if str(said.get("token_type", "")).lower() not in _ACCESS or said.get("iss") not in (
            None,
            provider.issuer,
        ):
            raise errors.Refused(
                "identity.token.inactive",
                f"The provider {provider.name} says that the token does not count.",
                field="Authorization",
                remedy="Get a new access token: `crossport login`.",
            )
        return await self._admission(said, provider)

    async def _admission(self, claims: Mapping[str, Any], provider: Provider) -> Admission:
        subject, until = checked(claims, provider, self._clock.wall())
        return Admission(
            subject=subject,
            rule=await self._rule(claims, provider),
            provider=provider,
            audience=provider.audience,
            until=until,
            key=_bound_to(claims),
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

    async def _rule(self, claims: Mapping[str, Any], provider: Provider) -> TrustRule:
        for rule in await self.book.rules():
            if rule.provider == provider.name and fits(claims, rule.claims):
                return rule
        raise errors.Refused(
            "identity.rule.none",
            f"The token is good, but no rule makes its subject a tenant here ({provider.name}).",
            field="Authorization",
            remedy="Ask the site's operator for a rule: `crossport identity rule add`.",
        )


def _unasked(provider: Provider, error: errors.Error) -> errors.Unavailable:
    return errors.Unavailable(
        "identity.introspection.away",
        f"The provider {provider.name} cannot be asked what the token says: {error.text}",
        field="Authorization",
        remedy="Try again in a moment; if it lasts, see whether the site reaches the provider.",
    )


def _bound_to(claims: Mapping[str, Any]) -> str:
    """Return the key that the token is bound to; raise Refused when it is bound by what is not known here."""
    bound = claims.get("cnf")
    if bound is None:
        return ""
    said = cast("dict[str, object]", bound) if isinstance(bound, dict) else {}
    for name, before in (("jkt", ""), ("x5t#S256", CERTIFICATE)):
        key = said.get(name)
        if isinstance(key, str) and key and len(said) == 1:
            return before + key
    raise errors.Refused(
        "identity.token.binding",
        "The token is bound to its sender in a way that is not known here.",
        field="Authorization",
        remedy="Bind it by DPoP (RFC 9449) or to a certificate (RFC 8705), or not at all.",
    )
