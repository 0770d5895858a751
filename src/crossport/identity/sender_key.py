"""A key by which whoever sends a token proves that it is the one who got it (DPoP, RFC 9449)."""

import base64
import hashlib
import json
from typing import Any, Self

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from crossport import errors
from crossport.model.record import record
from crossport.spi.secret import Secret

__all__ = ["Proven", "SenderKey"]


@record()
class Proven:
    """What a proof is for: a request, when it is made (Unix seconds), and a name that was never used.

    ``token`` is the access token that goes with it, ``nonce`` what the server asked to be repeated.
    """

    method: str
    url: str
    time: float
    name: str
    token: str = ""
    nonce: str = ""


class SenderKey:
    """A P-256 key. ``secret`` is all of it, as JSON."""

    def __init__(self, key: ECKey) -> None:
        self._key = key

    @classmethod
    def made(cls) -> Self:
        """Return a new one."""
        return cls(ECKey.generate_key("P-256", private=True))

    @classmethod
    def restored(cls, secret: Secret) -> Self:
        """Return the key that ``secret`` is; raise Refused (``identity.sender.broken``)."""
        try:
            return cls(ECKey.import_key(json.loads(secret.reveal())))
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise errors.Refused(
                "identity.sender.broken",
                "The key that was kept with a login is none.",
                remedy="Sign in again: `crossport login`.",
            ) from error

    @property
    def secret(self) -> Secret:
        """The private key."""
        return Secret(json.dumps(self._key.as_dict(private=True)))

    @property
    def thumbprint(self) -> str:
        """What names the key (RFC 7638)."""
        return self._key.thumbprint()

    def proof(self, proven: Proven) -> str:
        """Return a proof for one request."""
        said: dict[str, Any] = {
            "jti": proven.name,
            "htm": proven.method,
            "htu": proven.url,
            "iat": int(proven.time),
        }
        if proven.token:
            digest = hashlib.sha256(proven.token.encode()).digest()
            said["ath"] = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if proven.nonce:
            said["nonce"] = proven.nonce
        header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": self._key.as_dict(private=False)}
        return jws.serialize_compact(header, json.dumps(said), self._key, algorithms=["ES256"])
