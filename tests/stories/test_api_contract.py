"""Schemathesis against the real API over HTTP: its description, examples, edge cases, wrong input, and links.

The first run makes up every id, the second uses those that exist, so that good answers are checked too.
"""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
import uvicorn
from tests.unit.api.site import Site, site

from crossport.model.plan import Plan, PlannedVM
from crossport.model.run import CommitRule, MigrationRequest

MADE_UP = ""
EXISTING = """
[parameters]
"path.cloud" = "alpha"
"path.vm" = "web"
"path.run" = "run-0001"
"path.plan" = "shop"
"""
SETTINGS = """
headers = { Authorization = "Bearer ${CROSSPORT_TEST_TOKEN}" }
request-timeout = 10

[[operations]]
include-name = "POST /v1/limits"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 422]
"""
"""A schema cannot say that a limit bounds something, or which time zones the machine knows."""


@asynccontextmanager
async def served(site: Site) -> AsyncGenerator[str]:
    """Serve the site on loopback; yield its address."""
    server = uvicorn.Server(
        uvicorn.Config(site.application.asgi, host="127.0.0.1", port=0, log_level="error", access_log=False)
    )
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.02)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await task


async def populate(site: Site) -> None:
    """Make a run that is done, one that waits, and a plan."""
    for vm, commit in (("db", CommitRule.AUTO), ("web", CommitRule.MANUAL)):
        request = MigrationRequest(vm=vm, source="alpha", target="beta", commit=commit)
        await site.control.migrate("default", request, f"key-{vm}")
    async for _ in site.control.events("default", "run-0001", after=0, follow=True):
        pass
    plan = Plan(name="shop", source="alpha", target="beta", vms=(PlannedVM(vm="web"),))
    await site.control.put_plan("default", plan)


async def schemathesis(address: str, token: str, settings: Path, *options: str) -> tuple[int, str]:
    """Return the exit status of a run, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("st")),
        "--config-file",
        str(settings),
        "run",
        f"{address}/v1/openapi.json",
        "--checks=all",
        "--seed=7",
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "CROSSPORT_TEST_TOKEN": token},
        cwd=settings.parent,
    )
    text, _ = await process.communicate()
    return process.returncode or 0, text.decode()


@pytest.mark.parametrize(
    ("parameters", "examples"), [(MADE_UP, 8), (EXISTING, 4)], ids=["made-up-ids", "existing-ids"]
)
async def test_the_api_keeps_what_its_description_promises(tmp_path: Path, parameters: str, examples: int):
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS + parameters)
    with structlog.testing.capture_logs():
        async with site() as one, served(one) as address:
            await populate(one)
            status, text = await schemathesis(address, one.secret, settings, f"--max-examples={examples}")
    assert status == 0, text
    # One of the routes is the description, with which schemathesis begins.
    count = len(one.application.routes) - 1
    assert f" {count} selected / {count} total" in text
