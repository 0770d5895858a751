"""Access tokens of a real OpenID provider at the API: admitted by a rule, and wrong ones refused.

Each refusal has a code of its own.
"""

import base64
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import RSAKey
from tests.interop.oidc.provider import AUDIENCE, COMMAND_LINE, SERVICE, TOKEN_S, Provider, ec_key, running
from tests.unit.api.site import Site
from tests.unit.api.site import site as running_site

LOOPBACK = ("127.0.0.0/8",)
IDENTITY = "/v1/identity"
WRONG_CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"aud": "https://other.example"}, "identity.token.audience"),
    ({"aud": ["https://other.example"]}, "identity.token.audience"),
    ({"aud": None}, "identity.token.audience"),
    ({"exp": 1}, "identity.token.expired"),
    ({"exp": None}, "identity.token.claims"),
    ({"exp": "tomorrow"}, "identity.token.claims"),
    ({"exp": True}, "identity.token.claims"),
    ({"iat": 4_000_000_000}, "identity.token.early"),
    ({"iat": None}, "identity.token.claims"),
    ({"nbf": 4_000_000_000}, "identity.token.early"),
    ({"sub": None}, "identity.token.claims"),
    ({"sub": ""}, "identity.token.claims"),
    ({"iss": "https://other.example"}, "identity.token.issuer"),
    ({"iss": None}, "identity.token.issuer"),
    ({"groups": ["guests"]}, "identity.rule.none"),
    ({"groups": {"staff": True}}, "identity.rule.none"),
    ({"cnf": {"jkt": "x"}}, "identity.token.bound"),
    ({"cnf": {"x5t#S256": "x"}}, "identity.token.bound"),
    ({"cnf": {"x5t#S256": "x", "jkt": "x"}}, "identity.token.binding"),
    ({"cnf": {"kid": "x"}}, "identity.token.binding"),
    ({"cnf": "x"}, "identity.token.binding"),
]
WRONG_HEADERS: list[tuple[dict[str, Any], str]] = [
    ({"typ": "JWT"}, "identity.token.type"),
    ({"typ": "dpop+jwt"}, "identity.token.type"),
    ({"typ": None}, "identity.token.type"),
    ({"kid": "nobody's"}, "identity.key.unknown"),
    ({"jku": "https://evil.example/keys"}, "identity.token.header"),
    ({"x5u": "https://evil.example/cert"}, "identity.token.header"),
]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with running_site(tmp_path, egress=LOOPBACK) as site:
        yield site


@pytest.fixture
async def trusting(site: Site, provider: Provider) -> Site:
    """A site that believes the provider, and has two rules."""
    async with site.client() as client:
        await added(client, "providers", name="acme", issuer=provider.issuer, audience=AUDIENCE)
        await added(client, "rules", **rule("b-staff", "staff", "operator"))
        await added(client, "rules", **rule("c-services", "services", "viewer"))
    return site


def rule(name: str, group: str, role: str) -> dict[str, Any]:
    return {"name": name, "provider": "acme", "claims": {"groups": group}, "tenant": "acme", "role": role}


async def added(client: httpx.AsyncClient, what: str, **entry: Any) -> None:
    answer = await client.post(f"{IDENTITY}/{what}", json=entry)
    assert answer.status_code == 201, answer.text


def packed(said: dict[str, Any]) -> str:
    """Return a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")


async def refused(site: Site, token: str) -> str:
    """Return the code with which the site refuses a token."""
    async with site.client(token) as client:
        answer = await client.get("/v1/site")
    assert answer.status_code == 401, answer.text
    assert answer.headers["www-authenticate"] == "Bearer, DPoP"
    assert answer.json()["remedy"]
    return answer.json()["code"]


async def admitted(site: Site, token: str) -> bool:
    """Say whether the site takes a token."""
    async with site.client(token) as client:
        return (await client.get("/v1/site")).status_code == 200


async def test_a_token_that_the_provider_issued_is_a_tenant_by_the_first_rule_that_fits(
    trusting: Site, provider: Provider
):
    async with trusting.client(provider.service_token()) as client:
        greeting = (await client.get("/v1/site")).json()
        assert (await client.get("/v1/runs")).status_code == 200
        lacking = await client.post("/v1/plans", json={})
    assert lacking.json()["code"] == "request.right.lacking"
    assert (greeting["tenant"], greeting["rule"], greeting["role"]) == ("acme", "c-services", "viewer")
    assert (greeting["issuer"], greeting["subject"]) == (provider.issuer, SERVICE)
    assert greeting["until"] > trusting.clock.wall()
    assert greeting["token"].startswith("acme:")


async def test_what_the_test_makes_itself_is_accepted_like_the_providers_own(
    trusting: Site, provider: Provider
):
    """So that a refusal below is due to the one thing that is changed."""
    async with trusting.client(provider.made()) as client:
        greeting = (await client.get("/v1/site")).json()
    assert (greeting["rule"], greeting["subject"]) == ("b-staff", "alice")


async def test_a_signed_token_is_refused_for_what_it_says(trusting: Site, provider: Provider):
    found = [(changed, await refused(trusting, provider.made(**changed))) for changed, _ in WRONG_CLAIMS]
    assert found == WRONG_CLAIMS


async def test_a_token_is_refused_for_its_header(trusting: Site, provider: Provider):
    found = [(header, await refused(trusting, provider.made(header))) for header, _ in WRONG_HEADERS]
    assert found == WRONG_HEADERS


async def test_a_key_in_the_tokens_own_header_is_not_believed(trusting: Site, provider: Provider):
    own = ec_key(str(provider.key.kid))
    assert await refused(trusting, provider.made({"jwk": own.as_dict(private=False)}, own)) == (
        "identity.token.signature"
    )


async def test_algorithms_are_not_the_tokens_choice(trusting: Site, provider: Provider):
    """None at all, and an HMAC whose secret is the provider's public key in each form that it has."""
    head, body, signature = provider.made().split(".")
    none = (
        base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "at+jwt"}).encode()).decode().rstrip("=")
    )
    for unsigned in (f"{none}.{body}.", f"{none}.{body}.{signature}"):
        assert await refused(trusting, unsigned) == "identity.token.algorithm"
    public = provider.key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for secret in (public, json.dumps(provider.key.as_dict(private=False)).encode()):
        signed = f"{packed({'alg': 'HS256', 'typ': 'at+jwt', 'kid': provider.key.kid})}.{body}"
        code = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256")).decode().rstrip("=")
        assert await refused(trusting, f"{signed}.{code}") == "identity.token.algorithm"
    other = RSAKey.generate_key(2048, {"kid": str(provider.key.kid)}, private=True)
    assert await refused(trusting, provider.made({"alg": "RS256"}, other)) == "identity.key.unfit"
    assert await refused(trusting, f"{head}.{body}.{'A' * 86}") == "identity.token.signature"


async def test_what_is_no_signed_token_is_told(trusting: Site, provider: Provider):
    head, body, signature = provider.made().split(".")
    twice = base64.urlsafe_b64encode(b'{"sub":"a","sub":"b"}').decode().rstrip("=")
    for wrong in (
        "a.b.c",
        f"{head}.{twice}.{signature}",
        f"{head}.{body}.{'A' * 20_000}",
        "..",
        f"{head}.W10.A",
    ):
        assert await refused(trusting, wrong) == "identity.token.malformed"
    changed = (
        base64.urlsafe_b64encode(json.dumps(provider.claims(sub="mallory")).encode()).decode().rstrip("=")
    )
    assert await refused(trusting, f"{head}.{changed}.{signature}") == "identity.token.signature"


async def test_clocks_may_differ_by_a_minute_and_no_more(trusting: Site, provider: Provider):
    now = trusting.clock.wall()
    token = provider.service_token()
    for ahead in (provider.made(iat=now + 50), provider.made(nbf=now + 50)):
        assert await admitted(trusting, ahead)
    for ahead in (provider.made(iat=now + 80), provider.made(nbf=now + 80)):
        assert await refused(trusting, ahead) == "identity.token.early"
    trusting.clock.moved_s = TOKEN_S + 40
    assert await admitted(trusting, token)
    trusting.clock.moved_s = TOKEN_S + 61
    assert await refused(trusting, token) == "identity.token.expired"


async def test_keys_rotate_and_one_that_was_withdrawn_ends(site: Site):
    """The site's keys are kept on a clock of its own, which a test can move."""
    with running() as one:
        async with site.client() as client:
            await added(client, "providers", name="acme", issuer=one.issuer, audience=AUDIENCE)
            await added(client, "rules", **rule("staff", "staff", "operator"))
        old, new = one.key, ec_key("second")
        first = one.made(key=old, exp=4_000_000_000)
        assert await admitted(site, first)
        one.sign_with(new, old)
        assert await refused(site, one.made()) == "identity.key.unknown", "it was looked for just before"
        site.clock.moved_s += 31
        assert await admitted(site, one.made())
        assert await admitted(site, first)
        one.sign_with(new)
        site.clock.moved_s += 601
        assert await refused(site, first) == "identity.key.unknown"
    site.clock.moved_s += 601
    async with site.client(one.made()) as client:
        away = await client.get("/v1/site")
    assert (away.status_code, away.json()["code"]) == (503, "identity.provider.away")


async def test_only_the_named_clients_tokens_are_accepted(site: Site, provider: Provider):
    async with site.client() as client:
        entry = {"name": "acme", "issuer": provider.issuer, "audience": AUDIENCE, "parties": [SERVICE]}
        await added(client, "providers", **entry)
        await added(client, "rules", **rule("all", "services", "viewer"))
    assert await refused(site, provider.made(client_id=COMMAND_LINE)) == "identity.token.party"
    assert await refused(site, provider.made(azp=COMMAND_LINE, client_id=SERVICE)) == "identity.token.party"
    assert await admitted(site, provider.service_token())


async def test_whom_a_removed_rule_admitted_is_out_at_once(trusting: Site, provider: Provider):
    token = provider.made()
    async with trusting.client() as client:
        used = await client.delete(f"{IDENTITY}/providers/acme")
        assert used.json()["code"] == "identity.provider.used"
        assert (await client.delete(f"{IDENTITY}/rules/b-staff")).status_code == 204
        assert await refused(trusting, token) == "identity.rule.none"
        await client.delete(f"{IDENTITY}/rules/c-services")
        assert (await client.delete(f"{IDENTITY}/providers/acme")).status_code == 204
    assert await refused(trusting, token) == "identity.token.issuer"


async def test_a_provider_is_added_only_when_it_is_one(site: Site, provider: Provider):
    async def code(**entry: Any) -> str:
        asked = {"name": "acme", "audience": AUDIENCE, **entry}
        return (await client.post(f"{IDENTITY}/providers", json=asked)).json()["code"]

    async with site.client() as client:
        assert await code(issuer=provider.issuer + "/") == "identity.provider.other"
        assert await code(issuer=provider.issuer + "/nowhere") == "egress.answer.odd"
        assert await code(issuer="http://login.example") == "identity.provider.insecure"
        assert await code(issuer="https://10.0.0.1") == "egress.denied"
        await added(client, "providers", name="acme", issuer=provider.issuer, audience=AUDIENCE)
        assert await code(issuer=provider.issuer, name="again") == "identity.name.taken"
        missing = await client.post(f"{IDENTITY}/rules", json=rule("x", "y", "viewer") | {"provider": "none"})
        assert missing.json()["code"] == "identity.provider.unknown"
        assert (await client.get(f"{IDENTITY}/providers")).json()["items"][0]["issuer"] == provider.issuer


async def test_plain_http_to_loopback_has_to_be_allowed_by_the_settings(tmp_path: Path, provider: Provider):
    async with running_site(tmp_path) as site, site.client() as client:
        entry = {"name": "acme", "issuer": provider.issuer, "audience": AUDIENCE}
        assert (await client.post(f"{IDENTITY}/providers", json=entry)).json()["code"] == "egress.denied"
