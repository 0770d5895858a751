"""What both ends of TLS between parts of Crossport need: version 1.3, URI names, keys in memory."""

import hashlib
import os
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from crossport.spi.secret import Secret

__all__ = ["context_of", "fingerprint", "load", "peer_name"]


def context_of(
    protocol: int, authorities: str, kind: type[ssl.SSLContext] = ssl.SSLContext
) -> ssl.SSLContext:
    """Return a TLS 1.3 context that trusts these authorities (PEM) and nobody else."""
    context = kind(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=authorities)
    return context


def load(context: ssl.SSLContext, certificate: str, key: Secret) -> None:
    """Let ``context`` show this certificate from now on."""
    with _in_memory(certificate + key.reveal()) as path:
        context.load_cert_chain(path)


def peer_name(tls: ssl.SSLObject | None) -> str:
    """Return the URI in the peer's certificate, empty where it showed none."""
    shown = cast("dict[str, Any]", (tls.getpeercert() if tls else None) or {})
    return next((name for kind, name in shown.get("subjectAltName", ()) if kind == "URI"), "")


def fingerprint(certificate: str | bytes) -> str:
    """Return the hex SHA-256 of a certificate (PEM or DER)."""
    der = ssl.PEM_cert_to_DER_cert(certificate) if isinstance(certificate, str) else certificate
    return hashlib.sha256(der).hexdigest()


@contextmanager
def _in_memory(content: str) -> Generator[str]:
    """OpenSSL wants a path; this file exists in memory only and ends with the block."""
    descriptor = os.memfd_create("credential")
    try:
        os.write(descriptor, content.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
