"""Token exchange (RFC 8693): what is sent to a site, and what it gives."""

from dataclasses import field
from typing import Annotated

from pydantic import Field

from crossport.model.federation import Details
from crossport.model.record import record

__all__ = ["GivenToken", "TokenExchange"]

_Long = Annotated[str, Field(max_length=32 * 1024)]
_Short = Annotated[str, Field(max_length=1024)]


@record()
class TokenExchange:
    """What is sent to get a token of this site. ``authorization_details`` is JSON of RFC 9396."""

    grant_type: _Short
    subject_token: _Long = field(repr=False)
    subject_token_type: _Short
    requested_token_type: _Short = ""
    audience: _Short = ""
    resource: _Short = ""
    scope: _Short = ""
    actor_token: _Long = field(default="", repr=False)
    authorization_details: _Long = ""


@record()
class GivenToken:
    """A token of this site, for whoever has the key that it was asked for with; ``expires_in`` is seconds."""

    access_token: str = field(repr=False)
    issued_token_type: str
    token_type: str
    expires_in: int
    authorization_details: tuple[Details, ...]
