"""What an identity provider says of itself (OpenID Connect Discovery 1.0, RFC 8414)."""

from collections.abc import Mapping
from typing import Any, cast

import httpx

from crossport import errors
from crossport.identity.federation.secure_address import is_loopback, secure
from crossport.model.record import record

__all__ = ["Metadata", "read_metadata", "web"]

WELL_KNOWN = "/.well-known/openid-configuration"
TIMEOUT_S = 20.0
SIZE_MAX = 256 * 1024


@record()
class Metadata:
    """Where a provider is asked for what; an endpoint that it does not have is empty.

    ``bound``: it binds tokens to keys (DPoP). ``names_itself``: its answer by a browser says who it is
    (RFC 9207). ``posted``: a client's secret goes into the form, because it is not taken from the header.
    ``offline``: it knows the scope that asks for a way to renew.
    """

    issuer: str
    token: str
    authorization: str
    device: str
    revocation: str
    bound: bool
    names_itself: bool
    posted: bool
    offline: bool


def web(url: str) -> httpx.Client:
    """Return what asks the provider at ``url``: by the machine's proxies, unless it is on this machine."""
    here = is_loopback(httpx.URL(url).host)
    return httpx.Client(timeout=TIMEOUT_S, trust_env=not here, follow_redirects=False)


def read_metadata(issuer: str, http: httpx.Client) -> Metadata:
    """Return what ``issuer`` says; raise Refused when another one answers, Unavailable when nobody does."""
    try:
        answer = http.get(secure(issuer.rstrip("/") + WELL_KNOWN))
    except httpx.HTTPError as error:
        raise away(issuer, error) from error
    said = _object(answer)
    if said.get("issuer") != issuer:
        raise errors.Refused(
            "login.provider.other",
            f"What answers at {issuer} says that it is {str(said.get('issuer'))[:200]!r}.",
            field="--provider",
            remedy="Let the site's operator correct the issuer; nothing was sent.",
        )
    challenges = said.get("code_challenge_methods_supported", ["S256"])
    methods = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    token = _endpoint(said, "token_endpoint")
    if not token:
        raise no_provider(issuer)
    return Metadata(
        issuer=issuer,
        token=token,
        authorization=_endpoint(said, "authorization_endpoint") if "S256" in challenges else "",
        device=_endpoint(said, "device_authorization_endpoint"),
        revocation=_endpoint(said, "revocation_endpoint"),
        bound="ES256" in said.get("dpop_signing_alg_values_supported", ()),
        names_itself=said.get("authorization_response_iss_parameter_supported") is True,
        posted="client_secret_basic" not in methods and "client_secret_post" in methods,
        offline="offline_access" in said.get("scopes_supported", ["offline_access"]),
    )


def away(issuer: str, error: httpx.HTTPError) -> errors.Error:
    """Return the error for a provider that does not answer."""
    untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
    what = "has a certificate that this machine does not trust" if untrusted else "does not answer"
    return errors.Unavailable(
        "login.provider.away",
        f"The identity provider {issuer} {what}.",
        field="--provider",
        remedy="Let this machine trust its authority (SSL_CERT_FILE)."
        if untrusted
        else "Check the network, and whether a proxy is needed (HTTPS_PROXY); then try again.",
    )


def no_provider(issuer: str) -> errors.Refused:
    """Return the error for an answer that no OpenID provider gives."""
    return errors.Refused(
        "login.provider.odd",
        f"{issuer} does not answer as an OpenID provider.",
        field="--provider",
        remedy="Let the site's operator check the issuer: `crossport identity provider list`.",
    )


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        said: Any = answer.json() if answer.is_success and len(answer.content) <= SIZE_MAX else None
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise no_provider(str(answer.url))
    return cast("dict[str, Any]", said)


def _endpoint(said: Mapping[str, Any], name: str) -> str:
    url = said.get(name)
    return secure(url) if isinstance(url, str) and url else ""
