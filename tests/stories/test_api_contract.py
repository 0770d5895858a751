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

from crossport.model.access import Role, TokenRequest
from crossport.model.plan import Plan, PlannedVM
from crossport.model.run import CommitRule, MigrationRequest
from crossport.testing.audit import MemoryAudit

SETTINGS = """
headers = {{ Authorization = "Bearer ${{CROSSPORT_TEST_TOKEN}}" }}
request-timeout = 10

[parameters]
{parameters}
"""
SAID_BY_NO_SCHEMA = {
    "POST /v1/limits": "that a limit bounds something, and which time zones the machine knows",
    "POST /v1/clouds": "which settings a driver needs",
    "POST /v1/clouds/{cloud}/vms": "what the cloud offers",
    "POST /v1/migrations": "which orders of a warm migration fit together",
    "POST /v1/dry-runs": "which orders of a warm migration fit together",
    "POST /v1/import-policy": "which site it is, which partners it has, and what is said twice",
    "POST /v1/partners": "what an invitation is",
    "POST /v1/identity/providers": "which providers answer",
    "POST /v1/identity/rules": "which providers there are",
    "POST /v1/token": "which tokens a provider issued",
    "POST /v1/plans": "what a plan's days are, and which VMs come after which",
}
"""Where a request may be refused although it has the form that was promised."""
REFUSED = """
[[operations]]
include-name = "{operation}"
checks.positive_data_acceptance.expected-statuses = ["2xx", 400, 401, 403, 404, 409, 422]
"""


def settings(**parameters: str) -> str:
    """Return what schemathesis is told, with the ids that it may use."""
    known = "\n".join(f'"path.{name}" = "{value}"' for name, value in parameters.items())
    allowed = [REFUSED.format(operation=operation) for operation in SAID_BY_NO_SCHEMA]
    return SETTINGS.format(parameters=known) + "".join(allowed)


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


async def populate(site: Site) -> str:
    """Make a run that waits, a plan, and a run that is done; return the last one."""
    control = site.opened.control
    wish = MigrationRequest(vm="web", source="alpha", target="beta", commit=CommitRule.MANUAL)
    await site.migrated(wish, "web")
    plan = Plan(name="shop", source="alpha", target="beta", vms=(PlannedVM(vm="web"),))
    await control.put_plan("default", plan)
    return (await site.migrated(MigrationRequest(vm="db", source="alpha", target="beta"), "db")).id


async def schemathesis(address: str, token: str, file: Path, *options: str) -> tuple[int, str]:
    """Return the exit status of a run, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("st")),
        "--config-file",
        str(file),
        "run",
        f"{address}/v1/openapi.json",
        "--checks=all",
        # It takes the deleting of the spare token for that of one made just before, and misses that.
        "--exclude-checks=ensure_resource_availability",
        "--seed=7",
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "CROSSPORT_TEST_TOKEN": token},
        cwd=file.parent,
    )
    text, _ = await process.communicate()
    return process.returncode or 0, text.decode()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("existing", "examples"), [(False, 8), (True, 4)], ids=["made-up-ids", "existing-ids"]
)
async def test_the_api_keeps_what_its_description_promises(tmp_path: Path, existing: bool, examples: int):
    file = tmp_path / "schemathesis.toml"
    with structlog.testing.capture_logs():
        # Thousands of requests: each that changes something would wait for the disk twice.
        async with site(tmp_path / "site", audit=MemoryAudit()) as one, served(one) as address:
            run = await populate(one)
            # Found by itself it could be the very token of these requests, which would then be revoked.
            spare, _ = await one.tokens.create(TokenRequest(name="spare", role=Role.VIEWER), tenant="default")
            known = {"cloud": "alpha", "vm": "web", "run": run, "plan": "shop"} if existing else {}
            file.write_text(settings(token=spare.id, **known))
            status, text = await schemathesis(address, one.secret, file, f"--max-examples={examples}")
    assert status == 0, text
    # One of the routes is the description, with which schemathesis begins.
    count = len(one.application.routes) - 1
    assert f" {count} selected / {count} total" in text
