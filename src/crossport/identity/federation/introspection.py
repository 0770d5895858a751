"""Ask a provider whether a token still counts, and what it says (RFC 7662), as a client of its own there."""

from collections.abc import Mapping
from typing import Any

from crossport import errors
from crossport.identity.federation.provider_keys import FRESH_S, answered, metadata_of
from crossport.identity.federation.secure_address import secure
from crossport.model.federation import Provider
from crossport.spi.clock import Clock
from crossport.spi.secret import Secret, Secrets
from crossport.spi.web import Web

__all__ = ["Introspection"]

NOBODYS = "a-token-that-nobody-was-given"
"""What is asked about to see whether the provider answers this site."""


class Introspection:
    """Asks, with the secret that each provider gave the site; where it is asked is kept for a while."""

    def __init__(self, web: Web, secrets: Secrets, clock: Clock) -> None:
        self._web = web
        self._secrets = secrets
        self._clock = clock
        self._asked_at: dict[str, tuple[str, float]] = {}

    async def told(self, provider: Provider, token: str) -> Mapping[str, Any]:
        """Return what the provider says of ``token``: nothing of one that does not count.

        Raise Unavailable when it does not answer, Invalid and Refused when it answers otherwise.
        """
        secret = await self._secrets.fetch(_reference(provider.name))
        return await self._ask(provider, token, secret)

    async def begin(self, provider: Provider, secret: Secret) -> None:
        """Keep the site's secret at the provider, once it was answered to.

        Raise Invalid for a provider that cannot be asked so, or does not take the secret.
        """
        try:
            await self._ask(provider, NOBODYS, secret)
        except errors.Refused as error:
            raise errors.Invalid(
                "identity.introspection.refused",
                f"The provider {provider.name} does not answer {provider.introspector}: {error.text}",
                field="introspector",
                remedy="Let it have a client of this id and secret (client_secret_basic) that may ask.",
            ) from error
        await self._secrets.put(_reference(provider.name), secret)

    async def end(self, provider: str) -> None:
        """Keep the secret at a provider no longer."""
        await self._secrets.forget(_reference(provider))

    async def _ask(self, provider: Provider, token: str, secret: Secret) -> Mapping[str, Any]:
        where = await self._endpoint(provider)
        login = (provider.introspector, secret)
        content = await self._web.ask(where, {"token": token}, login, of=provider.issuer)
        said = answered(content, "introspection")
        return said if said.get("active") is True else {}

    async def _endpoint(self, provider: Provider) -> str:
        known, looked = self._asked_at.get(provider.issuer, ("", 0.0))
        if known and self._clock.monotonic() - looked < FRESH_S:
            return known
        where = (await metadata_of(provider.issuer, self._web)).get("introspection_endpoint")
        if not isinstance(where, str):
            raise errors.Invalid(
                "identity.introspection.none",
                f"The provider {provider.name} announces no introspection endpoint (RFC 7662).",
                field="introspector",
                remedy="Leave it out: then who is disabled there is out here when a token, or a grant, ends.",
            )
        self._asked_at[provider.issuer] = (secure(where), self._clock.monotonic())
        return where


def _reference(provider: str) -> str:
    return f"identity-provider/{provider}/introspector"
