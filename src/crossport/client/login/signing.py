"""Sign in, by the way that fits, and end a login."""

from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from crossport import errors
from crossport.client.login.browser import by_browser
from crossport.client.login.credential import LoginMeans
from crossport.client.login.device import asked_for, waited_for
from crossport.client.login.grant import Asker, refused
from crossport.client.login.metadata import Metadata, read_metadata, web
from crossport.identity.sender_key import SenderKey
from crossport.model.login import Login, LoginMethod
from crossport.model.record import record
from crossport.model.sign_in import SignInProvider
from crossport.spi.secret import Secret

__all__ = ["SigningIn", "end"]

PERSONAL = ("openid", "offline_access")


@record()
class SigningIn:
    """A sign-in at the provider of ``entry``. ``method`` None is by a code where the provider has that."""

    entry: SignInProvider
    client: str
    method: LoginMethod | None
    secret_file: str = ""

    def login(
        self,
        means: LoginMeans,
        *,
        shown: Callable[[str, str], object],
        tell: Callable[[float], object],
    ) -> Login:
        """Return the login, kept nowhere yet. ``shown`` gets an address to open, and a code to enter there.

        ``tell`` hears how many seconds are left. Raise Refused and Unavailable by what stands in the way.
        """
        key = SenderKey.made()
        with web(self.entry.issuer) as http:
            metadata = read_metadata(self.entry.issuer, http)
            asker = Asker(http, metadata, self.client, key, means.moment)
            method = self.method or (LoginMethod.DEVICE if metadata.device else LoginMethod.BROWSER)
            login = Login(
                provider=self.entry.name,
                issuer=self.entry.issuer,
                client=self.client,
                method=method,
                scope=self._scope(metadata, method),
                key=key.secret.reveal(),
                bound=metadata.bound,
                since=means.moment.now(),
                secret_file=self.secret_file,
            )
            form = {"resource": self.entry.audience} | ({"scope": login.scope} if login.scope else {})
            match method:
                case LoginMethod.BROWSER:
                    _need(metadata.authorization, metadata, "--browser", "sign-ins by a browser with PKCE")
                    granted = by_browser(asker, form, lambda address: shown(address, ""), tell)
                case LoginMethod.DEVICE:
                    _need(metadata.device, metadata, "--device", "codes that are entered elsewhere")
                    given = asked_for(asker, form)
                    shown(given.address, given.code)
                    granted = waited_for(asker, given, form, means.sleep, tell)
                case LoginMethod.CLIENT_CREDENTIALS:
                    secret = means.secret(login)
                    granted = asker.granted({**form, "grant_type": "client_credentials"}, secret)
        tokens = {self.entry.audience: granted.token}
        return replace(login, refresh=granted.refresh, tokens=tokens, bound=granted.bound)

    def _scope(self, metadata: Metadata, method: LoginMethod) -> str:
        if method is LoginMethod.CLIENT_CREDENTIALS:  # a service is no person, and needs no way to renew
            return " ".join(each for each in self.entry.scope.split() if each not in PERSONAL)
        if self.entry.scope:
            return self.entry.scope
        return "openid offline_access" if metadata.offline else "openid"


def end(login: Login, means: LoginMeans) -> bool:
    """Tell the provider that its login has ended (RFC 7009); say whether there was something to tell.

    Raise Unavailable and Refused when it does not take notice.
    """
    if not login.refresh:
        return False
    with web(login.issuer) as http:
        metadata = read_metadata(login.issuer, http)
        if not metadata.revocation:
            return False
        asker = Asker(http, metadata, login.client, SenderKey.restored(Secret(login.key)), means.moment)
        form = {"token": login.refresh, "token_type_hint": "refresh_token"}
        answer = asker.asked(metadata.revocation, form)
    if answer.get("error"):
        raise refused(answer)
    return True


def _need(endpoint: str, metadata: Metadata, field: str, what: str) -> None:
    if not endpoint or not urlsplit(endpoint).netloc:
        raise errors.Refused(
            "login.method.lacking",
            f"The provider {metadata.issuer} has no {what}.",
            field=field,
            remedy="Sign in another way: --browser, --device, or --client-credentials for a service.",
        )
