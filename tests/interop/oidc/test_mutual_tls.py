"""Tokens that are bound to a sender's certificate (RFC 8705), at a listener that asks for one."""

import asyncio
import base64
import hashlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import uvicorn
from tests.interop.oidc.provider import AUDIENCE, Provider
from tests.interop.oidc.sender import ACCESS_TOKEN, GRANT, Sender
from tests.interop.oidc.test_exchange import RULE
from tests.unit.api.site import Site
from tests.unit.api.site import site as running_site

from crossport.app.clock import SystemClock
from crossport.app.sender_tls import sender_tls
from crossport.identity import SiteIdentity


class Certified:
    """An authority, and files of certificates that it issued."""

    def __init__(self, folder: Path, name: str) -> None:
        self._identity = SiteIdentity.open(folder / name, name, clock=SystemClock())
        self._folder = folder
        self.authority = folder / f"{name}.pem"
        self.authority.write_text(self._identity.authority_pem)

    def issued(self, name: str) -> tuple[Path, Path, str]:
        """Return the files of a certificate and its key, and its thumbprint."""
        leaf = self._identity.issue("control", name, hosts=["127.0.0.1"])
        certificate, key = self._folder / f"{name}-cert.pem", self._folder / f"{name}-key.pem"
        certificate.write_text(leaf.certificate_pem)
        key.write_text(leaf.key_pem.reveal())
        first = leaf.certificate_pem.partition("-----END CERTIFICATE-----")
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first[0] + first[1] + "\n")).digest()
        return certificate, key, base64.urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass
class Door:
    """The listener, and two senders with certificates, one of them a thief."""

    address: str
    server: Certified
    own: tuple[Path, Path, str]
    thiefs: tuple[Path, Path, str]
    foreign: tuple[Path, Path, str]

    def client(self, shown: tuple[Path, Path, str] | None, token: str = "") -> httpx.AsyncClient:
        tls = ssl.create_default_context(cafile=self.server.authority)
        if shown:
            tls.load_cert_chain(shown[0], shown[1])
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(base_url=self.address, verify=tls, headers=headers)

    async def code(self, shown: tuple[Path, Path, str] | None, token: str) -> str:
        """Return the code with which a token is refused, empty when it is taken."""
        async with self.client(shown, token) as client:
            return (await client.get("/v1/site")).json().get("code", "")

    async def exchanged(self, shown: tuple[Path, Path, str] | None, token: str) -> httpx.Response:
        form = {"grant_type": GRANT, "subject_token": token, "subject_token_type": ACCESS_TOKEN}
        async with self.client(shown) as client:
            return await client.post("/v1/token", data=form)


@asynccontextmanager
async def listening(site: Site, folder: Path) -> AsyncGenerator[Door]:
    server, senders, strangers = (Certified(folder, name) for name in ("server", "senders", "strangers"))
    certificate, key, _ = server.issued("api")
    config = uvicorn.Config(
        site.application.asgi,
        port=0,
        log_config=None,
        lifespan="off",
        ssl_certfile=certificate,
        ssl_keyfile=str(key),
        **sender_tls(str(senders.authority)),
    )
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve())
    while not running.started:  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    issued = (senders.issued("own"), senders.issued("thief"), strangers.issued("stranger"))
    try:
        yield Door(f"https://127.0.0.1:{port}", server, *issued)
    finally:
        running.should_exit = running.force_exit = True
        await task


@pytest.fixture
async def door(tmp_path: Path, provider: Provider) -> AsyncIterator[Door]:
    async with running_site(tmp_path / "site", egress=("127.0.0.0/8",)) as site, site.client() as client:
        entry = {"name": "acme", "issuer": provider.issuer, "audience": AUDIENCE}
        assert (await client.post("/v1/identity/providers", json=entry)).status_code == 201
        assert (await client.post("/v1/identity/rules", json=RULE)).status_code == 201
        assert (await client.get("/v1/sign-in")).json()["bindings"] == ["dpop"]
        async with listening(site, tmp_path) as door:
            yield door


async def test_a_token_is_bound_to_the_certificate_that_it_was_asked_for_with(door: Door, provider: Provider):
    async with door.client(None) as client:
        assert (await client.get("/v1/sign-in")).json()["bindings"] == ["dpop", "mtls"]
    answer = await door.exchanged(door.own, provider.made())
    assert (answer.status_code, answer.json()["token_type"]) == (200, "Bearer"), answer.text
    token = answer.json()["access_token"]
    assert await door.code(door.own, token) == ""
    for shown in (door.thiefs, None):
        assert await door.code(shown, token) == "identity.token.bound"
    assert (await door.exchanged(None, provider.made())).json()["code"] == "identity.proof.missing"


async def test_a_certificate_of_another_authority_gets_nothing(door: Door, provider: Provider):
    with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
        await door.exchanged(door.foreign, provider.made())


async def test_a_token_that_the_provider_bound_to_a_certificate_is_its_senders(
    door: Door, provider: Provider
):
    token = provider.made(cnf={"x5t#S256": door.own[2]})
    assert await door.code(door.own, token) == ""
    for shown in (door.thiefs, None):
        assert await door.code(shown, token) == "identity.token.bound"
    assert (await door.exchanged(door.own, token)).status_code == 200
    stolen = await door.exchanged(door.thiefs, token)
    assert (stolen.status_code, stolen.json()["code"]) == (400, "identity.proof.key")


async def test_a_proof_goes_before_the_certificate(door: Door, provider: Provider):
    """Who sends a proof wants a token by its key; the certificate does not replace the key afterwards."""
    sender = Sender()
    form = {"grant_type": GRANT, "subject_token": provider.made(), "subject_token_type": ACCESS_TOKEN}
    proof = sender.proof("POST", "/v1/token", htu=f"{door.address}/v1/token")
    async with door.client(door.own) as client:
        given = (await client.post("/v1/token", data=form, headers={"DPoP": proof})).json()
    assert given["token_type"] == "DPoP"
    assert await door.code(door.own, given["access_token"]) == "identity.token.bound"
