"""The calls by which a login becomes a token of a site."""

from collections.abc import Mapping

from crossport.client.call import Call, path
from crossport.model.exchanged import GivenToken
from crossport.model.sign_in import SignIn

__all__ = ["ACCESS_TOKEN", "EXCHANGE", "exchange", "sign_in"]

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name of the RFC


def sign_in() -> Call[SignIn]:
    """Where do people sign in for this site?"""
    return Call("GET", path("sign-in"), SignIn)


def exchange(form: Mapping[str, str]) -> Call[GivenToken]:
    """Give me a token of yours for one of a provider, as RFC 8693 has it."""
    return Call("POST", path("token"), GivenToken, form=form)
