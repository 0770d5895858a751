"""Let senders show a certificate of their own to the API's listener, and let requests know which one it was.

The certificate says nothing about who somebody is: tokens do, and may be bound to it (RFC 8705, section 3).
"""

import asyncio
import base64
import hashlib
import ssl
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["sender_tls"]


class _Http(H11Protocol):
    """HTTP of a sender; ``scope["state"]`` has the thumbprint of its certificate, empty where it has none."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Note the certificate that the handshake checked."""
        super().connection_made(transport)
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        shown = tls.getpeercert(binary_form=True)
        self.app_state = {**self.app_state, "certificate": _thumbprint(shown) if shown else ""}


def sender_tls(authorities: str) -> dict[str, Any]:
    """Return how a listener asks for certificates that one of ``authorities`` (a file) issued.

    One without a certificate gets in, one with another's does not.
    """
    return {"http": _Http, "ssl_ca_certs": authorities, "ssl_cert_reqs": ssl.CERT_OPTIONAL}


def _thumbprint(certificate: bytes) -> str:
    """Return what names a certificate in a token: ``x5t#S256``."""
    return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).decode().rstrip("=")
