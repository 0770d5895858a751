"""What the claims of an access token must say (RFC 9068, section 4), with a minute of grace for clocks."""

from collections.abc import Mapping
from typing import Any, cast

from crossport import errors
from crossport.model.federation import Provider, Subject

__all__ = ["SKEW_S", "checked", "fits"]

SKEW_S = 60.0
LONGEST = 255


def checked(claims: Mapping[str, Any], provider: Provider, now: float) -> tuple[Subject, float]:
    """Return of whom a token speaks that ``provider`` signed, and until when; raise Refused with a reason."""
    _check_audience(claims, provider)
    until = _check_time(claims, now)
    _check_party(claims, provider)
    sub = claims.get("sub")
    if not isinstance(sub, str) or not 0 < len(sub) <= LONGEST:
        raise _lacking("sub")
    return Subject(issuer=provider.issuer, sub=sub), until


def fits(claims: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Say whether the claims say all that is ``wanted``: that text, or a list that has it."""
    return all(_says(claims.get(name), text) for name, text in wanted.items())


def _says(told: object, text: str) -> bool:
    if isinstance(told, list):
        return any(isinstance(each, str) and each == text for each in cast("list[object]", told))
    return isinstance(told, str) and told == text


def _check_audience(claims: Mapping[str, Any], provider: Provider) -> None:
    if not _says(claims.get("aud"), provider.audience):
        raise errors.Refused(
            "identity.token.audience",
            "The token is meant for another audience than this site.",
            field="Authorization",
            remedy=f"Ask the provider for a token for the resource {provider.audience}.",
        )


def _check_time(claims: Mapping[str, Any], now: float) -> float:
    """Return when the token ends."""
    until, issued = _seconds(claims, "exp"), _seconds(claims, "iat")
    if until + SKEW_S <= now:
        raise errors.Refused(
            "identity.token.expired",
            "The token has expired.",
            field="Authorization",
            remedy="Get a new one: `crossport login`.",
        )
    if max(issued, _seconds(claims, "nbf", issued)) - SKEW_S > now:
        raise errors.Refused(
            "identity.token.early",
            "The token is not valid yet: it was issued, or begins, in this site's future.",
            field="Authorization",
            remedy="Correct the clock of the site or of the provider.",
        )
    return until


def _check_party(claims: Mapping[str, Any], provider: Provider) -> None:
    party = claims.get("azp", claims.get("client_id"))
    if provider.parties and party not in provider.parties:
        raise errors.Refused(
            "identity.token.party",
            f"The token was issued to the client {str(party)[:60]!r}, from which none is accepted.",
            field="Authorization",
            remedy="Use one of the clients that the site's operator named.",
        )


def _seconds(claims: Mapping[str, Any], name: str, default: float | None = None) -> float:
    told = claims.get(name, default)
    if isinstance(told, bool) or not isinstance(told, int | float) or not 0 <= told < 2**40:
        raise _lacking(name)
    return float(told)


def _lacking(name: str) -> errors.Refused:
    return errors.Refused(
        "identity.token.claims",
        f"The token has no sound claim {name!r}.",
        field="Authorization",
        remedy="Let the provider issue access tokens as RFC 9068 has them.",
    )
