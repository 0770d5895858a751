"""What a site tells whoever wants to sign in: which providers it believes, and how tokens are bound."""

from enum import StrEnum

from crossport.model.record import record

__all__ = ["Binding", "SignIn", "SignInProvider"]


class Binding(StrEnum):
    """How a token of the site is bound to a key of its sender."""

    DPOP = "dpop"
    MTLS = "mtls"


@record()
class SignInProvider:
    """A provider at which people sign in for a site, and as which ``client``; empty where none was named.

    A token has to be meant for ``audience``. ``scope`` is what to ask for, empty for the usual.
    """

    name: str
    issuer: str
    audience: str
    client: str = ""
    scope: str = ""


@record()
class SignIn:
    """What has to be known before a token can be sent. It says nothing of rules and of who may come."""

    providers: tuple[SignInProvider, ...] = ()
    bindings: tuple[Binding, ...] = (Binding.DPOP,)
