"""Addresses of identity providers: nobody on the way may change what they answer."""

import ipaddress
from urllib.parse import urlsplit

from crossport import errors

__all__ = ["is_loopback", "secure"]


def secure(url: str) -> str:
    """Return ``url`` if nobody on the way can change what it answers; raise Refused."""
    parts = urlsplit(url)
    if parts.scheme.lower() == "https" or (parts.scheme.lower() == "http" and is_loopback(parts.hostname)):
        return url
    raise errors.Refused(
        "identity.provider.insecure",
        f"{url[:200]!r} is not an https address.",
        field="issuer",
        remedy="Use a provider that is reached over HTTPS.",
    )


def is_loopback(host: str | None) -> bool:
    """Say whether ``host`` is an address of this machine that no other one reaches."""
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
