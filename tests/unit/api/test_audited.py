"""What the API writes into the audit log: intent before, outcome after, refusals; and the log being away."""

import contextlib
import json
import sqlite3

import httpx
import pytest
from tests.unit.api.site import Site

from crossport.model import codec
from crossport.model.access import Role
from crossport.model.audit import AuditKind, AuditRecord, Result


async def log(site: Site) -> list[AuditRecord]:
    return [codec.decoded(one.text, AuditRecord) for one in await site.opened.engine.audit.records()]


async def test_a_change_is_told_before_and_after(client: httpx.AsyncClient, site: Site):
    answer = await client.post("/v1/clouds/alpha/vms/web/stop", json={"power_off": True})
    assert answer.status_code == 200
    intent, outcome = [one for one in await log(site) if one.action == "vm.stop"]
    assert (intent.kind, outcome.kind, outcome.result) == (AuditKind.INTENT, AuditKind.OUTCOME, Result.DONE)
    assert intent.actor.startswith("token ")
    assert (intent.tenant, intent.subject) == ("default", "POST /v1/clouds/alpha/vms/web/stop")
    assert intent.facts["power_off"] == "True"
    assert intent.facts["request"] == answer.headers["x-request-id"]
    assert (intent.facts["decision"], intent.facts["policies"]) == ("allowed", "right.operate")


async def test_a_change_that_fails_is_told_with_its_code(client: httpx.AsyncClient, site: Site):
    assert (await client.post("/v1/runs/none/commit")).status_code == 404
    _, outcome = await log(site)
    assert (outcome.run, outcome.result, outcome.code) == ("none", Result.FAILED, "run.unknown")


async def test_whoever_is_refused_is_told(site: Site):
    async with site.client(await site.token(Role.VIEWER)) as viewer, site.client("wrong") as stranger:
        assert (await viewer.post("/v1/runs/r1/commit")).status_code == 403
        assert (await stranger.post("/v1/runs/r1/commit")).status_code == 401
        assert (await stranger.get("/v1/runs")).status_code == 401
    lacking, unknown = await log(site)
    assert (lacking.kind, lacking.result, lacking.code) == (
        AuditKind.NOTE,
        Result.REFUSED,
        "request.right.lacking",
    )
    assert lacking.actor.startswith("token ")
    assert (unknown.actor, unknown.code) == ("address 127.0.0.1", "request.token.unknown")


async def test_nothing_is_done_that_the_log_does_not_take(client: httpx.AsyncClient, site: Site):
    with contextlib.closing(sqlite3.connect(site.root / "control/engine.sqlite")) as database:
        database.execute("ALTER TABLE audit_records RENAME TO away")
    answer = await client.post("/v1/clouds/alpha/vms/web/stop", json={"power_off": True})
    assert (answer.status_code, answer.json()["code"]) == (503, "audit.unwritten")
    assert (await client.get("/v1/clouds/alpha/vms/web")).json()["power"] == "running"


async def test_what_is_looked_at_is_told_only_where_that_is_wanted(client: httpx.AsyncClient, site: Site):
    assert (await client.get("/v1/clouds")).status_code == 200
    assert await log(site) == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/clouds", {"name": "c", "driver": "memory", "settings": {"password": "hunter2"}}),
        (
            "POST",
            "/v1/clouds/alpha/images/x",
            {"url": "https://images.example.org/x.img?sig=hunter2"},
        ),
    ],
    ids=["the settings of a cloud", "a signed address"],
)
async def test_nothing_that_may_be_secret_is_told(
    client: httpx.AsyncClient, site: Site, method: str, path: str, body: dict[str, str]
):
    await client.request(method, path, json=body)
    told = await log(site)
    assert [one.kind for one in told] == [AuditKind.INTENT, AuditKind.OUTCOME]
    assert "hunter2" not in json.dumps([codec.plain(one) for one in told])


async def test_a_new_token_is_told_without_its_secret(client: httpx.AsyncClient, site: Site):
    made = (await client.post("/v1/tokens", json={"name": "ci", "role": "viewer"})).json()
    told = json.dumps([codec.plain(one) for one in await log(site)])
    assert "token.create" in told
    assert made["secret"] not in told


async def test_an_upload_is_told_by_its_names(client: httpx.AsyncClient, site: Site):
    headers = {"Content-Type": "application/octet-stream"}
    await client.put("/v1/clouds/alpha/images/disk", content=b"bytes", headers=headers)
    intent, _ = await log(site)
    assert (intent.action, intent.facts["cloud"], intent.facts["image"]) == ("image.upload", "alpha", "disk")
    assert "bytes" not in json.dumps(codec.plain(intent))
