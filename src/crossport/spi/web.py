"""Small texts from the web: what a site reads of identity providers."""

from typing import Protocol

__all__ = ["Web"]


class Web(Protocol):
    """Fetches over HTTPS what the operator allows, in bounded time and size, and follows no redirect."""

    async def fetch(self, url: str, *, of: str) -> bytes:
        """Return what is at ``url``. The host of ``of``, an https URL, is allowed beside the settings.

        Raise Invalid and Refused for a URL that may not be fetched (``egress.denied``), or that answers
        otherwise than with 200; Unavailable when nothing answers in time.
        """
        ...
