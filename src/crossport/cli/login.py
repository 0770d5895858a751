"""`crossport login`, `logout`, `whoami`: be at a site whom an identity provider knows."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from crossport import errors
from crossport.cli.session import Here, Session
from crossport.cli.text import fields
from crossport.client import calls
from crossport.client.client import Client
from crossport.client.login.calls import sign_in
from crossport.client.login.credential import LoginCredential, Nobody
from crossport.client.login.signing import SigningIn, end
from crossport.model.greeting import Greeting
from crossport.model.login import Login, LoginMethod
from crossport.model.sign_in import SignInProvider
from crossport.units import seconds_text

__all__ = ["login", "logout", "whoami"]

SILENT_S = 30.0
"""How often a wait is told where there is no terminal."""
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


@dataclass(frozen=True)
class _Way:
    """How to sign in; by a browser where this machine has one, else by a code, unless it is said."""

    browser: Annotated[bool, Parameter(negative=(), help="By a browser of this machine.")] = False
    device: Annotated[bool, Parameter(negative=(), help="By a code that you enter elsewhere.")] = False
    client_credentials: Annotated[bool, Parameter(negative=(), help="As a service, by its secret.")] = False
    client: Annotated[str, Parameter(help="As this client, else the site's.", show_default=False)] = ""
    secret_file: Annotated[
        str,
        Parameter(help="Where a service's secret lies; else CROSSPORT_CLIENT_SECRET.", show_default=False),
    ] = ""


def login(
    *,
    provider: Annotated[
        str, Parameter(help="Its name or issuer, where the site believes several.", show_default=False)
    ] = "",
    way: Annotated[_Way | None, Parameter(name="*")] = None,
    session: Here,
) -> None:
    """Sign in at an identity provider that the site believes. Every command then acts as you.

    The login is kept in a private file below the home directory, and renewed as long as the provider lets it.

    For example:

      crossport login

      crossport login --device --server https://crossport.example:8443

      crossport login --client-credentials --client backup --secret-file /etc/crossport/secret
    """
    way = way or _Way()
    entry = _chosen(provider, _known(session))
    method = _method(way, session)
    signing = SigningIn(
        entry=entry, client=_client(way, entry), method=method, secret_file=_secret_file(way, method)
    )
    wait = _Wait(session)
    made = signing.login(session.login_means, shown=wait.show, tell=wait.tell)
    credential = LoginCredential(made, session.endpoint, session.login_means)
    with session.login_means.logins.held():
        credential.exchanged()
        session.login_means.logins.keep(credential.login)
    session.close()
    _tell(session, session.send(calls.site()))


def logout(*, session: Here) -> None:
    """End the login that is used at this site, here and at the provider.

    What sites gave for it is worthless without the key that is removed, and ends in minutes.

    For example:

      crossport logout
    """
    found = session.used_login()
    if found is None:
        raise errors.NotFound(
            "login.none",
            f"Nobody is signed in at {session.endpoint.name}.",
            remedy="See `crossport whoami`; sign in by `crossport login`.",
        )
    logins = session.login_means.logins
    with logins.held():
        logins.remove(found)
    try:
        revoked = end(found, session.login_means)
    except errors.Error as error:
        session.out.warn(f"The provider could not be told: {error.text}")
        revoked = False
    told = "ended here, and at the provider" if revoked else "ended here"
    session.out.result({"issuer": found.issuer, "revoked": revoked}, fields("", ("login", told)))


def whoami(*, session: Here) -> None:
    """Say who you are at this site: as whom, in which role, by which rule, within what, and until when.

    For example:

      crossport whoami

      crossport whoami --json
    """
    _tell(session, session.send(calls.site()))


def _tell(session: Session, said: Greeting) -> None:
    ceilings = said.ceilings
    bounds = (
        ("clouds", ceilings.clouds),
        ("VMs", ceilings.vms),
        ("runs", ceilings.runs),
        ("projects", ceilings.projects),
    )
    within = "; ".join(f"{name} {', '.join(which)}" for name, which in bounds if which)
    used = session.used_login() if said.issuer else None
    session.out.result(
        said,
        fields(
            "",
            ("site", session.endpoint.name),
            ("subject", f"{said.subject} at {said.issuer}" if said.issuer else ""),
            ("token", said.token if not said.issuer else ""),
            ("is here", f"tenant {said.tenant}{f', role {said.role.value}' if said.role else ''}"),
            ("may", " ".join(sorted(said.rights))),
            ("by rule", said.rule),
            ("only", within or ("" if not said.issuer else "no ceilings")),
            ("until", _until(said, used)),
        ),
    )


def _until(said: Greeting, used: Login | None) -> str:
    if not said.until:
        return ""
    end = datetime.fromtimestamp(said.until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    renewed = used and (used.refresh or used.method is LoginMethod.CLIENT_CREDENTIALS)
    return f"{end}, then renewed" if renewed else end


def _known(session: Session) -> tuple[SignInProvider, ...]:
    with Client(session.endpoint, Nobody(), session.machine.sleep) as client:
        return client.send(sign_in()).providers


def _chosen(wanted: str, known: tuple[SignInProvider, ...]) -> SignInProvider:
    """Return the provider that is meant; raise Invalid where that is not clear."""
    found = [each for each in known if wanted in ("", each.name, each.issuer)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(each.name for each in known)
    if not known:
        raise errors.NotFound(
            "login.provider.none",
            "The site believes no identity provider.",
            field="--server",
            remedy="Ask its operator: `crossport identity provider add`; or use a token by --token-file.",
        )
    raise errors.Invalid(
        "login.provider.unclear",
        f"The site believes {len(known)} providers: {names}."
        if not wanted
        else f"The site does not believe a provider {wanted[:200]!r}, but {names}.",
        field="--provider",
        remedy="Name one of them by --provider.",
    )


def _method(way: _Way, session: Session) -> LoginMethod | None:
    """Return how to sign in; None where nothing says so and the machine has no browser."""
    said = [
        method
        for method, flag in (
            (LoginMethod.BROWSER, way.browser),
            (LoginMethod.DEVICE, way.device),
            (LoginMethod.CLIENT_CREDENTIALS, way.client_credentials),
        )
        if flag
    ]
    if len(said) > 1:
        raise errors.Invalid(
            "login.method.several",
            "A login goes one way: by browser, by a code, or by a secret.",
            field=f"--{said[1].value}",
            remedy="Leave out all but one of --browser, --device and --client-credentials.",
        )
    environment = session.machine.environment
    browser = any(environment.get(name) for name in DISPLAYS) and not environment.get("SSH_CONNECTION")
    return said[0] if said else LoginMethod.BROWSER if browser else None


def _client(way: _Way, entry: SignInProvider) -> str:
    client = way.client or ("" if way.client_credentials else entry.client)
    if not client:
        raise errors.Invalid(
            "login.client.missing",
            f"Nothing says as which client to ask {entry.issuer}.",
            field="--client",
            remedy="Name it by --client; the site's operator can for everybody: "
            "`crossport identity provider add --client`.",
        )
    return client


def _secret_file(way: _Way, method: LoginMethod | None) -> str:
    if way.secret_file and method is not LoginMethod.CLIENT_CREDENTIALS:
        raise errors.Invalid(
            "login.secret.unused",
            "Only a service signs in by a secret.",
            field="--secret-file",
            remedy="Add --client-credentials, or leave it out.",
        )
    return str(Path(way.secret_file).absolute()) if way.secret_file else ""


class _Wait:
    """Tells a person what to do, and how long it is waited for."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._told_s = 0.0

    def show(self, address: str, code: str) -> None:
        """Show where to sign in; open it where that is a browser's to do."""
        out = self._session.out
        if code:
            out.warn(f"Open {address} on any device, and enter the code {code}")
            return
        out.warn(f"Open this address in a browser of this machine, if none opens by itself:\n{address}")
        if any(self._session.machine.environment.get(name) for name in DISPLAYS):
            self._session.machine.run_tool()(["xdg-open", address])

    def tell(self, left_s: float) -> None:
        """Say how long is left, now and then."""
        if not self._told_s or self._told_s - left_s >= SILENT_S:
            self._told_s = left_s
            self._session.out.warn(f"Waiting for you, {seconds_text(left_s)} left.")
