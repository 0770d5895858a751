"""The REST API of one site: routes that declare their rights, tokens, problems, streams."""

from crossport.api.application import Application
from crossport.api.guard import Limits
from crossport.api.right import Caller, Right, Role
from crossport.api.token import Token, TokenRequest, Tokens, TokenStore

__all__ = [
    "Application",
    "Caller",
    "Limits",
    "Right",
    "Role",
    "Token",
    "TokenRequest",
    "TokenStore",
    "Tokens",
]
