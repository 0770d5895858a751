"""The REST API of one site: routes that declare their rights, tokens, problems, streams."""

from crossport.api.application import Application, Services
from crossport.api.guard import Limits
from crossport.api.right import Caller
from crossport.api.token import Token, Tokens

__all__ = ["Application", "Caller", "Limits", "Services", "Token", "Tokens"]
