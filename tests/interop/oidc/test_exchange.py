"""Token exchange at a site: a provider's token for one that is bound to a key, bounded, and short-lived."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey
from tests.interop.oidc.provider import AUDIENCE, Provider
from tests.interop.oidc.sender import Sender
from tests.unit.api.site import Site
from tests.unit.api.site import site as running_site

from crossport.model.run import CommitRule, MigrationRequest

BY_HAND = CommitRule.MANUAL
RULE: dict[str, Any] = {
    "name": "staff",
    "provider": "acme",
    "claims": {"groups": "staff"},
    "tenant": "default",
    "role": "operator",
    "ceilings": {"clouds": ["alpha", "beta"]},
}


@pytest.fixture
async def site(tmp_path: Path, provider: Provider) -> AsyncIterator[Site]:
    """A site that believes the provider."""
    async with running_site(tmp_path, egress=("127.0.0.0/8",)) as site, site.client() as client:
        entry = {"name": "acme", "issuer": provider.issuer, "audience": AUDIENCE}
        assert (await client.post("/v1/identity/providers", json=entry)).status_code == 201
        assert (await client.post("/v1/identity/rules", json=RULE)).status_code == 201
        yield site


def details(**ceilings: list[str]) -> str:
    return json.dumps([{"type": "crossport-migration", **ceilings}])


async def test_a_providers_token_becomes_one_of_the_site_that_only_its_sender_can_use(
    site: Site, provider: Provider
):
    sender = Sender()
    answer = await sender.exchange(site, provider.made(), authorization_details=details(vms=["web"]))
    given = answer.json()
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert (given["token_type"], 590 <= given["expires_in"] <= 600) == ("DPoP", True)
    assert given["authorization_details"][0]["vms"] == ["web"]
    assert given["authorization_details"][0]["clouds"] == ["alpha", "beta"]
    assert "refresh_token" not in given
    token = given["access_token"]
    greeting = (await sender.ask(site, token)).json()
    assert (greeting["issuer"], greeting["subject"], greeting["tenant"]) == (
        provider.issuer,
        "alice",
        "default",
    )
    assert (await sender.ask(site, token, path="/v1/clouds/alpha/vms/web")).status_code == 200
    beyond = await sender.ask(site, token, path="/v1/clouds/alpha/vms/db")
    assert beyond.json()["code"] == "identity.ceiling.exceeded"
    async with site.client(token) as client:
        assert (await client.get("/v1/site")).json()["code"] == "identity.token.bound"


async def test_each_ceiling_holds_over_the_whole_way(site: Site, provider: Provider):
    """For clouds and runs the policies say so, too: they get the clouds of a run that a request names."""
    runs = [
        (await site.migrated(MigrationRequest(vm=vm, source="alpha", target="beta", commit=BY_HAND), vm)).id
        for vm in ("web", "db")
    ]
    sender, asked = Sender(), list[tuple[str, int]]()
    for ceilings, within, beyond in (
        ({"clouds": ["alpha"]}, ["/v1/clouds/alpha/vms"], ["/v1/clouds/beta/vms", f"/v1/runs/{runs[0]}"]),
        ({"vms": ["web"]}, ["/v1/clouds/alpha/vms/web", f"/v1/runs/{runs[0]}"], [f"/v1/runs/{runs[1]}"]),
        ({"runs": runs[:1]}, [f"/v1/runs/{runs[0]}"], [f"/v1/runs/{runs[1]}", "/v1/clouds/alpha/vms"]),
    ):
        token = await sender.exchanged(site, provider.made(), authorization_details=details(**ceilings))
        for path in ("/v1/site", "/v1/clouds", "/v1/runs", *within, *beyond):
            asked.append((path, (await sender.ask(site, token, path=path)).status_code))
            assert asked[-1][1] == (403 if path in beyond else 200), (ceilings, asked[-1])


async def test_a_token_for_projects_reaches_nothing_of_another_project(site: Site, provider: Provider):
    await site.of_project("ledger", "bank")
    moved = [
        MigrationRequest(vm=vm, source="alpha", target="beta", commit=BY_HAND) for vm in ("db", "ledger")
    ]
    ours, theirs = [(await site.migrated(each, each.vm)).id for each in moved]
    sender = Sender()
    shops = details(projects=["alpha/shop", "beta/shop"])
    answer = await sender.exchange(site, provider.made(), authorization_details=shops)
    token = answer.json()["access_token"]
    assert answer.json()["authorization_details"][0]["projects"] == ["alpha/shop", "beta/shop"]
    assert (await sender.ask(site, token)).json()["ceilings"]["projects"] == ["alpha/shop", "beta/shop"]

    async def code(method: str, path: str, body: object = None) -> str:
        told = await sender.send(site, token, method, path, body)
        return "" if told.is_success else told.json()["code"]

    beyond, closed = "identity.ceiling.exceeded", "identity.ceiling.operation"
    listed = (await sender.ask(site, token, path="/v1/clouds/alpha/vms")).json()["items"]
    assert {each["name"] for each in listed} == {"web", "db", "odd"}
    for vm, said in (("web", ""), ("ledger", beyond)):
        one = f"/v1/clouds/alpha/vms/{vm}"
        assert [await code("GET", path) for path in (one, f"{one}/console")] == [said] * 2
        assert await code("POST", f"{one}/start") == said
        wish = {"vm": vm, "source": "alpha", "target": "beta", "commit": "manual"}
        assert await code("POST", "/v1/dry-runs", wish) == said
        assert await code("POST", "/v1/migrations", wish) == said
    for run, said in ((ours, ""), (theirs, beyond)):
        for path in ("", "/ledger"):
            assert await code("GET", f"/v1/runs/{run}{path}") == said, (run, path)
        assert await code("POST", f"/v1/runs/{run}/rollback") == said
    assert await code("GET", "/v1/clouds/beta/constructs") == ""
    assert await code("GET", "/v1/clouds/alpha/images") == closed
    assert await code("POST", "/v1/assessments", {"source": "alpha", "target": "beta"}) == closed


async def test_a_rule_for_projects_holds_at_both_ends_and_cannot_be_widened(site: Site, provider: Provider):
    rule = {**RULE, "name": "bankers", "ceilings": {"projects": ["alpha/shop", "beta/bank"]}}
    async with site.client() as client:
        assert (await client.post("/v1/identity/rules", json=rule)).status_code == 201
        wrong = {**rule, "name": "x", "ceilings": {"projects": ["shop"]}}
        assert (await client.post("/v1/identity/rules", json=wrong)).status_code == 422
    sender = Sender()
    wide = await sender.exchange(site, provider.made(), authorization_details=details(projects=["beta/shop"]))
    assert (wide.status_code, wide.json()["field"]) == (400, "authorization_details.projects")
    token = await sender.exchanged(site, provider.made())
    wish = {"vm": "web", "source": "alpha", "target": "beta"}
    refused = await sender.send(site, token, "POST", "/v1/migrations", wish)
    assert (refused.status_code, refused.json()["field"]) == (403, "project")
    assert "beta/shop" in refused.json()["detail"]
    narrow = await sender.exchanged(
        site, provider.made(), authorization_details=details(projects=["alpha/shop"])
    )
    refused = await sender.send(site, narrow, "POST", "/v1/migrations", wish)
    assert (refused.status_code, refused.json()["field"]) == (403, "cloud")
    assert (await sender.ask(site, narrow, path="/v1/clouds/alpha/vms/web")).status_code == 200


async def test_a_proof_must_be_for_this_request_by_this_key_and_once(site: Site, provider: Provider):
    sender, thief = Sender(), Sender()
    token = await sender.exchanged(site, provider.made())
    good = sender.proof("GET", "/v1/site", token)
    assert (await sender.ask(site, token, proof=good)).status_code == 200
    private = {"jwk": ECKey.generate_key("P-256").as_dict(private=True)}
    wrong = [
        (good, "identity.proof.replayed"),
        (thief.proof("GET", "/v1/site", token), "identity.proof.key"),
        (sender.proof("POST", "/v1/site", token), "identity.proof.request"),
        (sender.proof("GET", "/v1/runs", token), "identity.proof.request"),
        (sender.proof("GET", "/v1/site", token, htu="https://site/v1/site"), "identity.proof.request"),
        (sender.proof("GET", "/v1/site", token, htu="http://other/v1/site"), "identity.proof.request"),
        (sender.proof("GET", "/v1/site", token, htu="http://[/v1/site"), "identity.proof.request"),
        (sender.proof("GET", "/v1/site", "another token"), "identity.proof.token"),
        (sender.proof("GET", "/v1/site"), "identity.proof.token"),
        (sender.proof("GET", "/v1/site", token, iat=1), "identity.proof.time"),
        (sender.proof("GET", "/v1/site", token, iat=4_000_000_000), "identity.proof.time"),
        (sender.proof("GET", "/v1/site", token, iat=None), "identity.proof.time"),
        (sender.proof("GET", "/v1/site", token, jti=None), "identity.proof.unsound"),
        (sender.proof("GET", "/v1/site", token, {"typ": "JWT"}), "identity.proof.unsound"),
        (sender.proof("GET", "/v1/site", token, private), "identity.proof.unsound"),
        (
            sender.proof("GET", "/v1/site", token, {"jwk": thief.key.as_dict(private=False)}),
            "identity.proof.unsound",
        ),
        ("x.y.z", "identity.proof.unsound"),
    ]
    found = [(await sender.ask(site, token, proof=proof)).json()["code"] for proof, _ in wrong]
    assert found == [code for _, code in wrong]
    headers = {"Authorization": f"DPoP {token}"}
    async with site.client() as client:
        assert (await client.get("/v1/site", headers=headers)).json()["code"] == "identity.proof.missing"


async def test_an_exchanged_token_ends_after_ten_minutes_and_with_its_rule(site: Site, provider: Provider):
    sender = Sender()
    token = await sender.exchanged(site, provider.made(exp=4_000_000_000))
    brief = await sender.exchange(site, provider.made(exp=int(site.clock.wall()) + 100))
    assert 90 <= brief.json()["expires_in"] <= 100
    async with site.client() as client:
        await client.delete("/v1/identity/rules/staff")
    assert (await sender.ask(site, token)).json()["code"] == "identity.exchanged.ended"
    site.clock.moved_s += 601
    assert (await sender.ask(site, token)).json()["code"] == "identity.exchanged.expired"
    assert (await sender.ask(site, token[:-1] + "A")).json()["code"] == "request.token.unknown"


async def test_what_cannot_be_exchanged_is_told_in_the_words_of_oauth(site: Site, provider: Provider):
    sender = Sender()

    async def told(token: str = "", proof: str = "", **form: str) -> tuple[int, str, str]:
        answer = await sender.exchange(site, token or provider.made(), proof=proof, **form)
        return answer.status_code, answer.json()["error"], answer.json()["code"]

    grant, proof = "invalid_grant", "invalid_dpop_proof"
    assert await told(provider.made(aud="x")) == (400, grant, "identity.token.audience")
    assert await told(provider.made(exp=1)) == (400, grant, "identity.token.expired")
    assert await told(provider.made(groups=[])) == (400, grant, "identity.rule.none")
    assert await told("nonsense") == (400, grant, "identity.token.malformed")
    assert await told(proof="nonsense") == (400, proof, "identity.proof.unsound")
    assert await told(proof=sender.proof("POST", "/v1/site")) == (400, proof, "identity.proof.request")
    bound = provider.made(cnf={"jkt": Sender().thumbprint})
    assert await told(bound) == (400, proof, "identity.proof.key")
    own = provider.made(cnf={"jkt": sender.thumbprint})
    assert (await sender.exchange(site, own)).status_code == 200
    assert await told(grant_type="password") == (400, "unsupported_grant_type", "identity.exchange.grant")
    saml = "urn:ietf:params:oauth:token-type:saml2"
    assert await told(subject_token_type=saml) == (400, "invalid_request", "identity.exchange.type")
    assert await told(actor_token="x") == (400, "invalid_request", "identity.exchange.type")
    assert await told(audience="https://x.example") == (400, "invalid_target", "identity.exchange.target")
    assert (await sender.exchange(site, provider.made(), audience=AUDIENCE, extra="1")).status_code == 200
    wrong = "invalid_authorization_details"
    for text in ("x", "{}", "[]", '[{"type": "other"}]', details(clouds=["beta"], disks=["x"])):
        assert await told(authorization_details=text) == (400, wrong, "identity.exchange.details")
    beyond = details(clouds=["beta", "gamma"])
    assert await told(authorization_details=beyond) == (400, wrong, "identity.exchange.beyond")


async def test_a_token_that_the_provider_itself_bound_is_exchanged(site: Site, provider: Provider):
    """The provider checks a proof of the same key, too: other people's reading of the same RFC."""
    sender = Sender()
    sub = {**RULE, "name": "services", "claims": {"groups": "services"}}
    async with site.client() as client:
        await client.post("/v1/identity/rules", json=sub)
    issued = provider.service_token(proof=sender.proof("POST", "", htu=f"{provider.issuer}/token"))
    async with site.client(issued) as client:
        assert (await client.get("/v1/site")).json()["code"] == "identity.token.bound"
    stolen = await Sender().exchange(site, issued)
    assert stolen.json()["code"] == "identity.proof.key"
    token = await sender.exchanged(site, issued)
    assert (await sender.ask(site, token)).json()["subject"] == "service"
