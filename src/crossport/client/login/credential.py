"""Send what a site takes of somebody who signed in: a token for that site alone, bound to the login's key.

The provider's own token goes nowhere but to the site's exchange. Tokens are renewed before they end, by one
command at a time: a provider may take it for theft when a way to renew is used twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from crossport import errors
from crossport.client.client import Client
from crossport.client.endpoint import Endpoint
from crossport.client.login import calls
from crossport.client.login.grant import Asker, Granted, Moment
from crossport.client.login.metadata import read_metadata, web
from crossport.client.login.store import Logins
from crossport.identity.sender_key import Proven, SenderKey
from crossport.model.login import KeptToken, Login, LoginMethod
from crossport.model.record import record
from crossport.model.sign_in import SignInProvider
from crossport.spi.secret import Secret

__all__ = ["LoginCredential", "LoginMeans", "Nobody", "fitting"]

EARLY_S = 30.0
"""How long before its end a token is not used any more: a request takes a while, and clocks differ."""


@record()
class LoginMeans:
    """What a login works with. ``secret`` returns that of client credentials."""

    logins: Logins
    moment: Moment
    sleep: Callable[[float], object]
    secret: Callable[[Login], Secret]


class Nobody:
    """Sends nothing: for what a site tells everybody."""

    def headers(self, method: str, url: str) -> Mapping[str, str]:
        """Return none."""
        del method, url
        return {}

    def renewed(self) -> bool:
        """There is nothing to renew."""
        return False


def fitting(endpoint: Endpoint, means: LoginMeans) -> Login | None:
    """Return the login for a site that was not asked before: one at a provider that it believes.

    Where it believes none of them, the first: what is wrong is told when it is used.
    """
    logins = means.logins.all()
    if len(logins) > 1:
        with Client(endpoint, Nobody(), means.sleep) as client:
            known = {each.issuer for each in client.send(calls.sign_in()).providers}
        logins = tuple(each for each in logins if each.issuer in known) or logins
    return next(iter(logins), None)


class _Prover:
    """Sends a proof without a token: for the exchange that gives one."""

    def __init__(self, key: SenderKey, moment: Moment) -> None:
        self._key, self._moment = key, moment

    def headers(self, method: str, url: str) -> Mapping[str, str]:
        """Return a proof for the request."""
        moment = self._moment
        proven = Proven(method=method, url=url, time=moment.now(), name=moment.new_name())
        return {"DPoP": self._key.proof(proven)}

    def renewed(self) -> bool:
        """There is nothing to renew."""
        return False


class LoginCredential:
    """A `crossport.client.credential.Credential`: ``login``, used at the site ``endpoint``."""

    def __init__(self, login: Login, endpoint: Endpoint, means: LoginMeans) -> None:
        self.login = login
        self._endpoint = endpoint
        self._means = means
        self._key = SenderKey.restored(Secret(login.key))

    def headers(self, method: str, url: str) -> Mapping[str, str]:
        """Return the site's token and a proof for the request, exchanged anew when it is about to end."""
        moment = self._means.moment
        token = self._fresh(self.login.sites)
        if token is None:
            with self._means.logins.held():
                self.login = self._means.logins.again(self.login)
                token = self._fresh(self.login.sites) or self.exchanged()
                self._means.logins.keep(self.login)
        proven = Proven(method=method, url=url, time=moment.now(), name=moment.new_name(), token=token.text)
        return {"Authorization": f"DPoP {token.text}", "DPoP": self._key.proof(proven)}

    def renewed(self) -> bool:
        """Forget the site's token, so that the next request brings another one."""
        with self._means.logins.held():
            self.login = self._means.logins.again(self.login)
            kept = KeptToken(text="", until=0.0)
            self.login = replace(self.login, sites={**self.login.sites, self._endpoint.name: kept})
            self._means.logins.keep(self.login)
        return True

    def exchanged(self) -> KeptToken:
        """Return a new token of the site, noted in ``login``. The caller holds the logins, and keeps it."""
        audience = self._entry().audience
        form = {
            "grant_type": calls.EXCHANGE,
            "subject_token": self._provided(audience).text,
            "subject_token_type": calls.ACCESS_TOKEN,
        }
        prover = _Prover(self._key, self._means.moment)
        with Client(self._endpoint, prover, self._means.sleep) as client:
            given = client.send(calls.exchange(form))
        token = KeptToken(text=given.access_token, until=self._means.moment.now() + given.expires_in)
        self.login = replace(self.login, sites={**self.login.sites, self._endpoint.name: token})
        return token

    def _entry(self) -> SignInProvider:
        """Return how the site knows the login's provider; raise Refused when it does not."""
        with Client(self._endpoint, Nobody(), self._means.sleep) as client:
            known = client.send(calls.sign_in()).providers
        for each in known:
            if each.issuer == self.login.issuer:
                return each
        raise errors.Refused(
            "login.site.other",
            f"{self._endpoint.name} does not believe {self.login.issuer}, where you signed in.",
            field="--server",
            remedy="Sign in where it does: `crossport login --server URL`, or pass a token by --token-file.",
        )

    def _provided(self, audience: str) -> KeptToken:
        """Return the provider's token for ``audience``, renewed when it is about to end."""
        token = self.login.tokens.get(audience)
        if token and token.until - EARLY_S > self._means.moment.now():
            return token
        granted = self._granted(audience)
        self.login = replace(
            self.login,
            refresh=granted.refresh or self.login.refresh,
            tokens={**self.login.tokens, audience: granted.token},
        )
        return granted.token

    def _granted(self, audience: str) -> Granted:
        login, means = self.login, self._means
        with web(login.issuer) as http:
            metadata = read_metadata(login.issuer, http)
            asker = Asker(http, metadata, login.client, self._key, means.moment)
            if login.method is LoginMethod.CLIENT_CREDENTIALS:
                form = {"grant_type": "client_credentials", "scope": login.scope, "resource": audience}
                return asker.granted({name: text for name, text in form.items() if text}, means.secret(login))
            if not login.refresh:
                raise errors.Refused(
                    "login.ended",
                    "The login has ended: the provider gave no way to renew it.",
                    remedy="Sign in again: `crossport login`.",
                )
            form = {"grant_type": "refresh_token", "refresh_token": login.refresh, "resource": audience}
            granted = asker.granted(form)
        # At once: a provider that gives a new one may not take the old one again.
        self.login = replace(login, refresh=granted.refresh or login.refresh)
        means.logins.keep(self.login)
        return granted

    def _fresh(self, tokens: Mapping[str, KeptToken]) -> KeptToken | None:
        token = tokens.get(self._endpoint.name)
        return token if token and token.until - EARLY_S > self._means.moment.now() else None
