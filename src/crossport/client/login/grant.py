"""Ask a provider's token endpoint for tokens, as a client, with the key that they are bound to."""

import base64
from collections.abc import Callable, Mapping
from typing import Any, cast
from urllib.parse import quote

import httpx

from crossport import errors
from crossport.client.login.metadata import Metadata, away
from crossport.identity.sender_key import Proven, SenderKey
from crossport.model.login import KeptToken
from crossport.model.record import record
from crossport.spi.secret import Secret

__all__ = ["Asker", "Granted", "Moment", "odd", "refused"]

USUAL_S = 300.0
"""How long a token is used whose provider does not tell when it ends."""


@record()
class Moment:
    """The clock, and what makes names that were never used."""

    now: Callable[[], float]
    new_name: Callable[[], str]


@record()
class Granted:
    """What a provider gave: an access token, and with ``refresh`` a way to get the next one."""

    token: KeptToken
    refresh: str
    bound: bool


class Asker:
    """Asks one provider. A ``secret`` is sent only to its token endpoint."""

    def __init__(
        self, http: httpx.Client, metadata: Metadata, client: str, key: SenderKey, moment: Moment
    ) -> None:
        self.metadata = metadata
        self.client = client
        self.key = key
        self.moment = moment
        self._http = http

    def granted(self, form: Mapping[str, str], secret: Secret | None = None) -> Granted:
        """Return the tokens for ``form``. Raise Refused when the provider gives none."""
        return self.read(self.asked(self.metadata.token, form, secret))

    def asked(self, url: str, form: Mapping[str, str], secret: Secret | None = None) -> dict[str, Any]:
        """Return what ``url`` answers to the form: also its errors, as RFC 6749, section 5.2 has them."""
        answer = self._post(url, form, secret, "")
        said = _said(answer)
        nonce = answer.headers.get("dpop-nonce", "")
        if said.get("error") == "use_dpop_nonce" and nonce:  # RFC 9449, section 8
            answer = self._post(url, form, secret, nonce)
            said = _said(answer)
        if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR or not (said or answer.is_success):
            raise odd(self.metadata.issuer, f"answered {answer.status_code} without saying why")
        return said

    def _post(self, url: str, form: Mapping[str, str], secret: Secret | None, nonce: str) -> httpx.Response:
        moment, headers = self.moment, {"Accept": "application/json"}
        sent = {**form, "client_id": self.client}
        if self.metadata.bound and url == self.metadata.token:
            proven = Proven(method="POST", url=url, time=moment.now(), name=moment.new_name(), nonce=nonce)
            headers["DPoP"] = self.key.proof(proven)
        if secret and self.metadata.posted:
            sent["client_secret"] = secret.reveal()
        elif secret:
            headers["Authorization"] = _basic(self.client, secret)
            del sent["client_id"]
        try:
            return self._http.post(url, data=sent, headers=headers)
        except httpx.HTTPError as error:
            raise away(self.metadata.issuer, error) from error

    def read(self, answer: Mapping[str, Any]) -> Granted:
        """Return the tokens of an answer. Raise Refused for one that has none, by what it says."""
        if answer.get("error"):
            raise refused(answer)
        text, kind, seconds = answer.get("access_token"), answer.get("token_type"), answer.get("expires_in")
        refresh = answer.get("refresh_token", "")
        if not isinstance(text, str) or not isinstance(kind, str) or not isinstance(refresh, str):
            raise odd(self.metadata.issuer, "gave no access token")
        if kind.lower() not in ("bearer", "dpop"):
            raise odd(self.metadata.issuer, f"gave a token of the unknown kind {kind[:20]!r}")
        known = isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds < 2**31
        until = self.moment.now() + (float(cast("float", seconds)) if known else USUAL_S)
        return Granted(token=KeptToken(text=text, until=until), refresh=refresh, bound=kind.lower() == "dpop")


REFUSALS: Mapping[str, tuple[str, str, str]] = {
    "access_denied": (
        "login.denied",
        "The sign-in was denied at the provider.",
        "Try again and allow it; if you did not deny it, ask whoever runs the provider.",
    ),
    "expired_token": (
        "login.expired",
        "The code was not entered in time.",
        "Run `crossport login` again, and enter the new code.",
    ),
    "invalid_grant": (
        "login.ended",
        "The login has ended: the provider does not renew it any more.",
        "Sign in again: `crossport login`.",
    ),
    "invalid_client": (
        "login.client.refused",
        "The provider does not accept this client, or its secret.",
        "Check --client and the secret; without them, let the site's operator check the client's id.",
    ),
    "invalid_target": (
        "login.audience.refused",
        "The provider gives no tokens for this site.",
        "Sign in for this site by itself: `crossport login --server URL`.",
    ),
}
"""What providers answer, by RFC 6749, 8628 and 8707: our code, what it means, and what to do."""


def refused(answer: Mapping[str, Any]) -> errors.Refused:
    """Return the error that a provider's answer tells."""
    told = str(answer.get("error", ""))[:60]
    why = " ".join(str(answer.get("error_description", "")).split())[:300]
    code, text, remedy = REFUSALS.get(
        told,
        (
            "login.refused",
            "The provider gives no token.",
            "Let whoever runs the provider check what the client may ask for: kinds of grants and scopes.",
        ),
    )
    return errors.Refused(code, f"{text} It says: {told}{': ' if why else ''}{why}", remedy=remedy)


def odd(issuer: str, what: str) -> errors.Refused:
    """Return the error for an answer that no provider gives."""
    return errors.Refused(
        "login.answer.odd",
        f"The provider {issuer} {what}.",
        field="--provider",
        remedy="Try again; if it lasts, tell whoever runs the provider.",
    )


def _said(answer: httpx.Response) -> dict[str, Any]:
    try:
        said: Any = answer.json()
    except ValueError:
        return {}
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {}


def _basic(client: str, secret: Secret) -> str:
    """Return the header that authenticates a client (RFC 6749, section 2.3.1)."""
    text = f"{quote(client, safe='')}:{quote(secret.reveal(), safe='')}"
    return "Basic " + base64.b64encode(text.encode()).decode()
