"""Get a token of this site for one of an identity provider (RFC 8693), bound to a key (RFC 9449)."""

from typing import Annotated

from fastapi import Depends, Request, Response

from crossport import errors
from crossport.api import example
from crossport.api.body import form
from crossport.api.caller import address_of, certificate_of
from crossport.api.problem import GrantRefused
from crossport.api.route import Route
from crossport.identity.federation import CERTIFICATE, Admission, Asked, Federation, asked_ceilings
from crossport.model.exchanged import GivenToken, TokenExchange
from crossport.model.federation import Ceilings, Details

__all__ = ["ExchangeRoutes"]

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name of the RFC
JWT = "urn:ietf:params:oauth:token-type:jwt"

SENT = TokenExchange(
    grant_type=GRANT,
    subject_token="eyJhbGciOiJFUzI1NiIs….eyJpc3MiOiJodHRwczovL….MEUCIQDx…",  # noqa: S106 - an example
    subject_token_type=ACCESS_TOKEN,
    authorization_details='[{"type": "crossport-migration", "clouds": ["beta"], "vms": ["web"]}]',
)
GIVEN = GivenToken(
    access_token="xp_3f9a1c7e20b4_…",  # noqa: S106 - an example
    issued_token_type=ACCESS_TOKEN,
    token_type="DPoP",  # noqa: S106 - a word of the RFC
    expires_in=600,
    authorization_details=(Details(type="crossport-migration", clouds=("beta",), vms=("web",)),),
)


class ExchangeRoutes:
    """Serves ``/v1/token``."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation

    def routes(self) -> tuple[Route, ...]:
        """Return the table."""
        shown, sent = example.shown(GIVEN), example.shown(SENT)
        route = Route(
            "POST",
            "/v1/token",
            "token.exchange",
            self.exchange,
            shown,
            200,
            TokenExchange,
            sent,
            raises=(400, 413, 422, 429, 503),
            public=True,
            form=True,
        )
        return (route,)

    async def exchange(
        self,
        request: Request,
        response: Response,
        asked: Annotated[TokenExchange, Depends(form(TokenExchange))],
    ) -> GivenToken:
        """Exchange the access token of an identity provider for one of this site.

        Needs a DPoP proof, to whose key the new token is bound, or a certificate of the sender where the
        server asks for one (RFC 8705): see `GET /v1/sign-in`. It lives for ten minutes at most and cannot be
        refreshed; ask again with the provider's token.
        """
        response.headers["Cache-Control"] = "no-store"
        _check_form(asked)
        try:
            admission = await self._federation.exchanging(asked.subject_token)
        except errors.Refused as error:
            raise GrantRefused("invalid_grant", _at("subject_token", error)) from error
        _check_target(asked, admission)
        key = await self._key(request, admission)
        try:
            ceilings = asked_ceilings(asked.authorization_details, admission.rule)
        except errors.Refused as error:
            raise GrantRefused("invalid_authorization_details", error) from error
        token, secret = await self._federation.exchanged.issue(admission, ceilings, key)
        return GivenToken(
            access_token=secret.reveal(),
            issued_token_type=ACCESS_TOKEN,
            token_type="Bearer" if key.startswith(CERTIFICATE) else "DPoP",
            expires_in=int(token.expires - self._federation.now()),
            authorization_details=(_details(token.ceilings),),
        )

    async def _key(self, request: Request, admission: Admission) -> str:
        """Return what the new token is bound to: the key of a proof, else the connection's certificate."""
        shown = certificate_of(request)
        if shown and "dpop" not in request.headers:
            if admission.key not in ("", shown):
                raise GrantRefused("invalid_grant", _of_another("another certificate"))
            return shown
        asked = Asked(method=request.method, url=address_of(request))
        try:
            key = await self._federation.proofs.key_of(request.headers.get("dpop", ""), asked)
        except errors.Refused as error:
            raise GrantRefused("invalid_dpop_proof", error) from error
        if admission.key not in ("", key):
            raise GrantRefused("invalid_dpop_proof", _of_another("another key"))
        return key


def _of_another(what: str) -> errors.Refused:
    return errors.Refused(
        "identity.proof.key",
        f"The token is bound to {what} than the request proves.",
        field="DPoP",
        remedy="Prove the key, or show the certificate, that the token was asked for with.",
    )


def _check_form(asked: TokenExchange) -> None:
    if asked.grant_type != GRANT:
        refused = errors.Refused(
            "identity.exchange.grant",
            "Tokens are given here by token exchange only.",
            field="grant_type",
            remedy=f"Send {GRANT}.",
        )
        raise GrantRefused("unsupported_grant_type", refused)
    if asked.subject_token_type not in (ACCESS_TOKEN, JWT) or asked.actor_token:
        field = "actor_token" if asked.actor_token else "subject_token_type"
        refused = errors.Refused(
            "identity.exchange.type",
            "Only an access token of a provider can be exchanged, for its own subject.",
            field=field,
            remedy=f"Send one subject_token of the type {ACCESS_TOKEN}, and no actor_token.",
        )
        raise GrantRefused("invalid_request", refused)


def _check_target(asked: TokenExchange, admission: Admission) -> None:
    for field, wanted in (("audience", asked.audience), ("resource", asked.resource)):
        if wanted not in ("", admission.audience):
            refused = errors.Refused(
                "identity.exchange.target",
                f"This site gives tokens for itself alone, {admission.audience}.",
                field=field,
                remedy="Leave it out, or ask the site that it names.",
            )
            raise GrantRefused("invalid_target", refused)


def _at(field: str, error: errors.Refused) -> errors.Refused:
    return errors.Refused(error.code, error.text, remedy=error.remedy, field=field)


def _details(ceilings: Ceilings) -> Details:
    return Details(
        type="crossport-migration",
        clouds=ceilings.clouds,
        vms=ceilings.vms,
        runs=ceilings.runs,
        projects=ceilings.projects,
    )
