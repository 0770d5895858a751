"""Small texts from the web: what a site reads of identity providers, and asks them."""

from collections.abc import Mapping
from typing import Protocol

from crossport.spi.secret import Secret

__all__ = ["Web"]


class Web(Protocol):
    """Fetches over HTTPS what the operator allows, in bounded time and size, and follows no redirect."""

    async def fetch(self, url: str, *, of: str) -> bytes:
        """Return what is at ``url``. The host of ``of``, an https URL, is allowed beside the settings.

        Raise Invalid and Refused for a URL that may not be fetched (``egress.denied``), or that answers
        otherwise than with 200; Unavailable when nothing answers in time.
        """
        ...

    async def ask(self, url: str, form: Mapping[str, str], login: tuple[str, Secret], *, of: str) -> bytes:
        """Return what ``url`` answers to ``form``, sent as the client ``login``, its name and secret.

        It may be asked twice. Raise as `fetch` does.
        """
        ...
