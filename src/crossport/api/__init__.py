"""The REST API of one site: routes that declare their rights, tokens, problems, streams."""

from crossport.api.application import Application
from crossport.api.guard import Limits
from crossport.api.right import Caller
from crossport.api.token import Token, Tokens

__all__ = ["Application", "Caller", "Limits", "Token", "Tokens"]
