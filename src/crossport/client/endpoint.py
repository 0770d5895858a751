"""Where a site answers: a Unix socket of this machine, or an address that proves itself by the site's CA."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from crossport import errors

__all__ = ["Endpoint", "over_socket", "over_tls"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``url`` is the API's root. ``socket`` is dialled when set; else ``tls`` checks the peer."""

    url: str
    socket: str = ""
    tls: ssl.SSLContext | None = None

    @property
    def name(self) -> str:
        """Return the endpoint as people know it."""
        return self.socket or self.url


def over_socket(socket: Path) -> Endpoint:
    """Return the site that listens on ``socket``."""
    return Endpoint(url="http://site", socket=str(socket))


def over_tls(url: str, authority: Path | None = None) -> Endpoint:
    """Return the site at ``https://host:port``, trusted when ``authority`` (PEM) signed its certificate.

    Without an authority the machine's own list of authorities decides. Raise Invalid for anything but https:
    tokens do not travel in clear.
    """
    if not url.startswith("https://"):
        raise errors.Invalid(
            "client.url.insecure",
            f"{url} is not an https address.",
            field="server",
            remedy="Use https://HOST:PORT; the site's CA is in its control directory.",
        )
    try:
        tls = ssl.create_default_context(cafile=str(authority) if authority else None)
    except (OSError, ssl.SSLError) as error:
        raise errors.Invalid(
            "client.authority.unreadable",
            f"{authority} is not a readable certificate: {error.strerror or error}.",
            field="ca",
            remedy="Copy the site's CA certificate here.",
        ) from error
    return Endpoint(url=url.rstrip("/"), tls=tls)
