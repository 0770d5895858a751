"""Whoever sends tokens that are bound to a key, and proves the key for each request."""

import base64
import hashlib
import json
import time
from typing import Any

import httpx
from joserfc import jws
from joserfc.jwk import ECKey
from tests.unit.api.site import Site

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
ADDRESS = "http://site"


class Sender:
    """Has a key, and makes proofs (RFC 9449) by it, honest ones unless something is changed."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", private=True)

    @property
    def thumbprint(self) -> str:
        return self.key.thumbprint()

    def proof(
        self, method: str, path: str, token: str = "", header: dict[str, Any] | None = None, **changed: Any
    ) -> str:
        """Return a proof for a request to the site; None leaves a claim out."""
        said: dict[str, Any] = {
            "jti": f"proof-{time.monotonic_ns()}",
            "htm": method,
            "htu": ADDRESS + path,
            "iat": int(time.time()),
        }
        if token:
            said["ath"] = packed(hashlib.sha256(token.encode()).digest())
        said = {name: value for name, value in {**said, **changed}.items() if value is not None}
        shown = {"alg": "ES256", "typ": "dpop+jwt", "jwk": self.key.as_dict(private=False), **(header or {})}
        return jws.serialize_compact(shown, json.dumps(said), self.key, algorithms=["ES256"])

    async def exchange(self, site: Site, token: str, *, proof: str = "", **form: str) -> httpx.Response:
        """Ask for a token of the site in place of a provider's."""
        sent = {"grant_type": GRANT, "subject_token": token, "subject_token_type": ACCESS_TOKEN, **form}
        headers = {"DPoP": proof or self.proof("POST", "/v1/token")}
        async with site.client("") as client:
            return await client.post("/v1/token", data=sent, headers=headers)

    async def exchanged(self, site: Site, token: str, **form: str) -> str:
        """Return the text of an exchanged token."""
        answer = await self.exchange(site, token, **form)
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    async def ask(
        self, site: Site, token: str, *, proof: str = "", path: str = "/v1/site", scheme: str = "DPoP"
    ) -> httpx.Response:
        """Send a request with an exchanged token, and a proof."""
        headers = {"Authorization": f"{scheme} {token}", "DPoP": proof or self.proof("GET", path, token)}
        async with site.client() as client:
            return await client.get(path, headers=headers)

    async def send(self, site: Site, token: str, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a request of another kind, with an exchanged token and a proof."""
        headers = {"Authorization": f"DPoP {token}", "DPoP": self.proof(method, path, token)}
        async with site.client() as client:
            return await client.request(method, path, json=body, headers=headers)


def packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
