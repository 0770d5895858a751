"""Bearer tokens: made once, shown once, kept only as a hash.

A token carries 256 random bits, so that a plain SHA-256 is as hard to turn back as any slow hash would be;
a password would need another function.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Callable

from crossport import errors
from crossport.spi.secret import Secret

__all__ = ["PREFIX", "from_header", "generate", "hashed", "matches", "parse"]

PREFIX = "xp_"
_BYTES = 32
_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")


def generate(entropy: Callable[[int], bytes]) -> Secret:
    """Return a new token. ``entropy`` returns that many unpredictable bytes (``secrets.token_bytes``)."""
    return Secret(PREFIX + base64.urlsafe_b64encode(entropy(_BYTES)).decode().rstrip("="))


def parse(text: str) -> Secret:
    """Return ``text`` as a token; raise Refused (``token.form.invalid``) when it cannot be one."""
    if not _FORM.fullmatch(text):
        raise errors.Refused(
            "token.form.invalid",
            "This is not a Crossport token.",
            remedy=f"Give the whole token; it begins with {PREFIX} and has {len(PREFIX) + 43} characters.",
        )
    return Secret(text)


def from_header(value: str) -> Secret:
    """Return the token of an ``Authorization`` header's value (RFC 6750, section 2.1); raise Refused."""
    scheme, _, text = value.partition(" ")
    if scheme.lower() != "bearer":
        raise errors.Refused(
            "token.scheme.unknown",
            "The Authorization header is not of the Bearer scheme.",
            remedy="Send: Authorization: Bearer <token>",
        )
    return parse(text.strip())


def hashed(token: Secret) -> str:
    """Return what may be stored of a token: its SHA-256 as hex."""
    return hashlib.sha256(token.reveal().encode()).hexdigest()


def matches(token: Secret, stored: str) -> bool:
    """Say whether ``stored`` is the hash of ``token``, in a time that tells nothing."""
    return hmac.compare_digest(hashed(token), stored)
