"""What clients do over several requests: pages, idempotency keys, event streams."""

import asyncio
import json

import httpx
from tests.unit.api.site import Site

from crossport.model import codec

MIGRATION = {"vm": "web", "source": "alpha", "target": "beta"}


async def waiting(client: httpx.AsyncClient, run: str) -> None:
    """Return when the run waits for a decision."""
    for _ in range(500):
        if (await client.get(f"/v1/runs/{run}")).json()["state"] == "waiting":
            return
        await asyncio.sleep(0.01)
    raise TimeoutError(run)


def events(text: str) -> list[dict[str, str]]:
    """Return the events of a stream as fields."""
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


def numbered(told: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the events that are kept: of a copy's progress only the latest is, without a number."""
    assert all(("id" in event) == (event["event"] != "progress") for event in told)
    return [event for event in told if "id" in event]


async def test_pages_follow_one_another_without_gap_or_repetition(client: httpx.AsyncClient, site: Site):
    for number in range(7):
        made = await client.post("/v1/clouds", json=codec.plain(await site.found(f"c{number}")))
        assert made.status_code == 201
    seen: list[str] = []
    after = ""
    while True:
        page = (await client.get("/v1/clouds", params={"limit": 2, "after": after})).json()
        seen += [cloud["name"] for cloud in page["items"]]
        after = page["next"]
        if not after:
            break
    assert seen == ["alpha", "beta", *(f"c{number}" for number in range(7))]


async def test_runs_are_paged_newest_first_and_filtered(client: httpx.AsyncClient):
    begun: list[str] = []
    for _ in range(3):
        begun.append((await client.post("/v1/migrations", json=MIGRATION | {"test": True})).json()["id"])
        await client.get(f"/v1/runs/{begun[-1]}/events")
    first = (await client.get("/v1/runs?limit=2")).json()
    rest = (await client.get("/v1/runs", params={"limit": 2, "after": first["next"]})).json()
    assert [run["id"] for run in first["items"] + rest["items"]] == begun[::-1]
    assert rest["next"] == ""
    assert (await client.get("/v1/runs?state=running")).json()["items"] == []
    assert len((await client.get("/v1/runs?kind=test&state=done")).json()["items"]) == 3


async def test_vms_are_filtered_by_power(client: httpx.AsyncClient):
    await client.post("/v1/clouds/alpha/vms/web/stop", json={})
    stopped = (await client.get("/v1/clouds/alpha/vms?power=stopped")).json()["items"]
    assert [vm["name"] for vm in stopped] == ["web"]


async def test_the_same_key_starts_one_run_and_another_request_with_it_is_refused(client: httpx.AsyncClient):
    key = {"Idempotency-Key": "k-1"}
    first = await client.post("/v1/migrations", json=MIGRATION, headers=key)
    again = await client.post("/v1/migrations", json=MIGRATION, headers=key)
    other = await client.post("/v1/migrations", json=MIGRATION | {"vm": "db"}, headers=key)
    assert first.json()["id"] == again.json()["id"]
    assert first.headers["location"] == f"/v1/runs/{first.json()['id']}"
    assert (other.status_code, other.json()["code"]) == (409, "run.id.taken")
    assert len((await client.get("/v1/runs")).json()["items"]) == 1


async def test_a_stream_resumes_behind_the_last_event_that_arrived(client: httpx.AsyncClient):
    run = (await client.post("/v1/migrations", json=MIGRATION)).json()["id"]
    whole = events((await client.get(f"/v1/runs/{run}/events")).text)
    kept = numbered(whole)
    rest = events((await client.get(f"/v1/runs/{run}/events", headers={"Last-Event-ID": "5"})).text)
    assert [event["id"] for event in kept] == [str(number) for number in range(1, len(kept) + 1)]
    assert numbered(rest) == kept[5:]
    assert json.loads(whole[-1]["data"])["state"] == "done"
    assert {"state", "phase-started", "phase-finished", "finding"} <= {event["event"] for event in kept}


async def test_a_stream_without_following_ends_at_once(client: httpx.AsyncClient):
    run = (await client.post("/v1/migrations", json=MIGRATION | {"commit": "manual"})).json()["id"]
    await waiting(client, run)
    told = events((await client.get(f"/v1/runs/{run}/events?follow=false")).text)
    assert json.loads(told[-1]["data"])["state"] == "waiting"


async def test_a_waiting_run_is_decided(client: httpx.AsyncClient, site: Site):
    run = (await client.post("/v1/migrations", json=MIGRATION | {"commit": "manual"})).json()["id"]
    early = await client.get(f"/v1/runs/{run}/report")
    assert (early.status_code, early.json()["code"]) == (409, "run.unfinished")
    await waiting(client, run)
    assert (await client.post(f"/v1/runs/{run}/rollback")).status_code == 202
    await client.get(f"/v1/runs/{run}/events")
    assert (await client.get(f"/v1/runs/{run}/report")).json()["outcome"] == "rolled-back"
    late = await client.post(f"/v1/runs/{run}/commit")
    assert (late.status_code, late.json()["code"]) == (409, "run.not-waiting")
