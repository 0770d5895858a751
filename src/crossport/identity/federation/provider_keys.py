"""The keys of identity providers, found by OpenID Connect Discovery 1.0 and kept for a while.

A key that a token names and that is not there is looked for again, so that a rotation is noticed at once,
but not more often than the pause allows: whoever makes up names must not make this site ask all the time.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from crossport import errors
from crossport.identity.federation.secure_address import secure
from crossport.identity.federation.signed_token import PublicKey, SignedToken, keys_in
from crossport.model.federation import Provider
from crossport.spi.clock import Clock
from crossport.spi.web import Web

__all__ = ["FRESH_S", "PAUSE_S", "ProviderKeys", "answered", "discovered", "metadata_of"]

FRESH_S = 600.0
"""How long keys are believed without a look: a key that the provider withdrew ends by then."""
PAUSE_S = 30.0
"""The shortest time between two looks at one provider for keys that are not there."""
AWAY_S = 10.0
"""How long a provider that did not answer is left alone."""
WELL_KNOWN = "/.well-known/openid-configuration"


@dataclass(slots=True)
class _Kept:
    keys: tuple[PublicKey, ...] = ()
    looked: float = 0.0
    missing: errors.Error | None = None
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)


class ProviderKeys:
    """Finds and keeps keys by issuer, in this process."""

    def __init__(self, web: Web, clock: Clock) -> None:
        self._web = web
        self._clock = clock
        self._kept: dict[str, _Kept] = {}

    async def of(self, provider: Provider, token: SignedToken) -> tuple[PublicKey, ...]:
        """Return the provider's keys, looked up anew if that may bring the one that ``token`` names.

        Raise Unavailable ``identity.provider.away`` when there are none that are fresh enough.
        """
        kept = self._kept.setdefault(provider.issuer, _Kept())
        async with kept.looking:
            if self._is_due(kept, str(token.header.get("kid", ""))):
                await self._look(provider, kept)
        if kept.missing:
            raise kept.missing
        return kept.keys

    def forget(self, provider: Provider) -> None:
        """Keep the provider's keys no longer."""
        self._kept.pop(provider.issuer, None)

    def _is_due(self, kept: _Kept, kid: str) -> bool:
        age = self._clock.monotonic() - kept.looked
        if not kept.looked or age >= FRESH_S:
            return True
        if kept.missing:
            return age >= AWAY_S
        known = not kid or any(key.kid == kid for key in kept.keys)
        return not known and age >= PAUSE_S

    async def _look(self, provider: Provider, kept: _Kept) -> None:
        try:
            found, missing = await discovered(provider.issuer, self._web), None
        except errors.Error as error:
            found, missing = (), _away(provider, error)
        age = self._clock.monotonic() - kept.looked
        if missing and kept.keys and age < FRESH_S:
            return  # what was read before still holds
        kept.keys, kept.missing, kept.looked = found, missing, self._clock.monotonic()


async def discovered(issuer: str, web: Web) -> tuple[PublicKey, ...]:
    """Return the keys that ``issuer`` publishes now; raise Invalid, Refused or Unavailable."""
    where = (await metadata_of(issuer, web)).get("jwks_uri")
    if not isinstance(where, str):
        raise _no_metadata("metadata")
    keys = keys_in(answered(await web.fetch(secure(where), of=issuer), "keys"))
    if not keys:
        raise errors.Invalid(
            "identity.provider.keyless",
            f"{issuer} publishes no key that tokens could be signed with.",
            field="issuer",
            remedy="Let the provider sign by ES256, ES384, Ed25519, PS256, or RS256 with 2048 bits.",
        )
    return keys


async def metadata_of(issuer: str, web: Web) -> Mapping[str, Any]:
    """Return what ``issuer`` says of itself; raise Invalid, Refused or Unavailable."""
    metadata = answered(await web.fetch(secure(issuer.rstrip("/") + WELL_KNOWN), of=issuer), "metadata")
    if metadata.get("issuer") != issuer:
        raise errors.Refused(
            "identity.provider.other",
            f"What answers at {issuer} says that it is {str(metadata.get('issuer'))[:200]!r}.",
            field="issuer",
            remedy="Write the issuer exactly as the provider does, down to the last slash.",
        )
    return metadata


def answered(content: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object that a provider answered as ``what``; raise Invalid when it is none."""
    try:
        found: Any = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _no_metadata(what) from error
    if not isinstance(found, dict):
        raise _no_metadata(what)
    return cast("dict[str, Any]", found)


def _no_metadata(what: str) -> errors.Invalid:
    return errors.Invalid(
        "identity.provider.metadata",
        f"What the provider answers are no {what} of OpenID Connect Discovery.",
        field="issuer",
        remedy="Correct the issuer: its address with /.well-known/openid-configuration must answer.",
    )


def _away(provider: Provider, error: errors.Error) -> errors.Unavailable:
    return errors.Unavailable(
        "identity.provider.away",
        f"The keys of the provider {provider.name} cannot be read: {error.text}",
        field="Authorization",
        remedy="Try again in a moment; if it lasts, see whether the site reaches the provider.",
    )
