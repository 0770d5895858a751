"""What clients do over several requests: pages, idempotency keys, event streams."""

import asyncio
import json

import httpx
from tests.unit.api.site import Site
from tests.unit.api.site import site as running_site

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


async def test_pages_follow_one_another_without_gap_or_repetition(client: httpx.AsyncClient):
    for number in range(7):
        await client.post("/v1/clouds", json={"name": f"c{number}", "driver": "memory"})
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
    for _ in range(3):
        run = (await client.post("/v1/migrations", json=MIGRATION | {"test": True})).json()
        await client.get(f"/v1/runs/{run['id']}/events")
    first = (await client.get("/v1/runs?limit=2")).json()
    rest = (await client.get("/v1/runs", params={"limit": 2, "after": first["next"]})).json()
    assert [run["id"] for run in first["items"] + rest["items"]] == ["run-0003", "run-0002", "run-0001"]
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
    assert (other.status_code, other.json()["code"]) == (409, "request.key.reused")
    assert len((await client.get("/v1/runs")).json()["items"]) == 1


async def test_a_stream_resumes_behind_the_last_event_that_arrived(client: httpx.AsyncClient):
    run = (await client.post("/v1/migrations", json=MIGRATION)).json()["id"]
    whole = events((await client.get(f"/v1/runs/{run}/events")).text)
    rest = events((await client.get(f"/v1/runs/{run}/events", headers={"Last-Event-ID": "5"})).text)
    assert [event["id"] for event in whole] == [str(number) for number in range(1, len(whole) + 1)]
    assert rest == whole[5:]
    assert json.loads(whole[-1]["data"])["state"] == "done"
    assert {"state", "phase-started", "phase-finished", "progress"} == {event["event"] for event in whole}


async def test_a_stream_without_following_ends_at_once():
    async with running_site(pace_s=30.0) as site, site.client() as client:
        run = (await client.post("/v1/migrations", json=MIGRATION)).json()["id"]
        await asyncio.sleep(0.05)
        told = events((await client.get(f"/v1/runs/{run}/events?follow=false")).text)
        assert [event["event"] for event in told] == ["state", "phase-started"]


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
