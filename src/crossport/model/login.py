"""What this machine keeps of a login: enough to go on without the person, until it ends or is ended."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from crossport.model.record import record

__all__ = ["KeptToken", "Login", "LoginMethod"]


class LoginMethod(StrEnum):
    """How somebody signed in."""

    BROWSER = "browser"
    DEVICE = "device"
    CLIENT_CREDENTIALS = "client-credentials"


@record()
class KeptToken:
    """A token and when it ends (Unix seconds)."""

    text: str = field(repr=False)
    until: float


@record()
class Login:
    """A login at ``provider`` as ``client``. ``key`` is the private key that its tokens are bound to.

    ``bound`` says whether the provider's tokens are, too. ``tokens`` are the provider's by audience,
    ``sites`` those of sites by address. ``secret_file`` says where a service's secret lies, empty for the
    environment.
    """

    provider: str
    issuer: str
    client: str
    method: LoginMethod
    scope: str
    key: str = field(repr=False)
    bound: bool
    since: float
    refresh: str = field(default="", repr=False)
    secret_file: str = ""
    tokens: Mapping[str, KeptToken] = field(default_factory=dict[str, KeptToken])
    sites: Mapping[str, KeptToken] = field(default_factory=dict[str, KeptToken])
