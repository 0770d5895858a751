"""Every operation of the served description, asked by every kind of token, on own and on foreign things.

What each may do is written down here a second time, so that neither a new operation nor a changed policy goes
unnoticed. Denied are those that should be, by the policy that should; nobody learns what others have.
"""

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from tests.unit.api.site import Site, site

from crossport.model.access import Right, Role
from crossport.model.plan import Plan, PlannedVM
from crossport.model.run import CommitRule, MigrationRequest

PUBLIC = {"site.health": 200, "site.sign-in": 200, "token.exchange": 415}
OPERATIONS = {
    Right.READ: """
        cloud.check cloud.list cloud.offer cloud.preview cloud.show gateway.list gateway.show
        image.list import.show-policy limit.list migration.assess migration.try plan.check plan.list plan.show
        plan.status run.evidence run.follow run.ledger run.list run.report run.show run.show-limit
        site.describe site.show source.preview grant.list grant.show vm.console vm.list vm.preview vm.show
    """,
    Right.OPERATE: """
        migration.start plan.put plan.remove plan.run run.cancel run.clean run.commit run.cut-over
        run.finish-test run.limit run.resolve run.resume run.roll-back grant.revoke vm.create vm.start vm.stop
    """,
    Right.ADMINISTER: """
        cloud.add cloud.create cloud.destroy cloud.remove gateway.drain gateway.enroll
        gateway.remove image.delete image.fetch image.upload token.create token.list token.revoke
        vm.delete
    """,
    Right.RETIRE: "source.retire",
    Right.SITE: """
        audit.heads audit.list audit.show audit.sign import.reset-policy import.set-policy key.list
        key.revoke key.rotate limit.remove limit.set partner.accept partner.allow
        partner.compromise partner.confirm partner.disallow partner.forget partner.invite partner.list
        partner.revoke partner.rotate partner.show partner.clean-run partner.list-runs partner.show-run
        provider.add provider.list provider.remove
        rule.add rule.list rule.remove site.metrics
    """,
}
TAKES = {operation: right for right, text in OPERATIONS.items() for operation in text.split()}
ROLES = {
    "viewer": {Right.READ},
    "operator": {Right.READ, Right.OPERATE},
    "admin": {Right.READ, Right.OPERATE, Right.ADMINISTER},
    "viewer with retire": {Right.READ, Right.RETIRE},
    "viewer with site": {Right.READ, Right.SITE},
}
NOBODY = ("none", "nonsense", "expired", "revoked")
ABSENT = {"run": "0" * 12, "token": "0" * 16}


@dataclass(frozen=True)
class Operation:
    """An operation of the served description."""

    name: str
    method: str
    path: str

    def at(self, known: dict[str, str]) -> str:
        """Return its path to ``known`` things, and to absent ones where nothing is known."""
        return re.sub(
            r"{(\w+)}", lambda found: known.get(found[1], ABSENT.get(found[1], "absent")), self.path
        )


@dataclass
class Scene:
    """One site with tokens of all kinds."""

    site: Site
    client: httpx.AsyncClient
    operations: list[Operation]
    secrets: dict[str, str]

    async def ask(
        self, who: str, operation: Operation, known: dict[str, str] | None = None
    ) -> httpx.Response:
        """Send a request that no route takes further than what is asked first."""
        secret = self.secrets[who]
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        path = operation.at(known or {})
        return await self.client.request(operation.method, path, json={}, headers=headers)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene]:
    with structlog.testing.capture_logs():
        async with site(tmp_path / "site") as one, one.client("") as client:
            del client.headers["authorization"]
            secrets = {"none": "", "nonsense": "xp_" + "A" * 43}
            secrets["expired"] = await one.token(Role.ADMIN, *Right, days=1)
            one.clock.moved_s += 86401
            secrets["revoked"] = await one.token(Role.ADMIN, *Right)
            (revoked,) = [
                each.id for each in await one.tokens.listed("default") if each.expires > one.clock.wall()
            ]
            await one.tokens.revoke(revoked, "default")
            for name, rights in ROLES.items():
                extra = rights & {Right.RETIRE, Right.SITE}
                secrets[name] = await one.token(Role(name.partition(" ")[0]), *extra)
            secrets["stranger"] = await one.token(Role.ADMIN, Right.RETIRE, tenant="other")
            headers = {"Authorization": f"Bearer {one.secret}"}
            document = (await client.get("/v1/openapi.json", headers=headers)).json()
            yield Scene(one, client, operations_of(document), secrets)


def operations_of(document: dict[str, Any]) -> list[Operation]:
    return [
        Operation(operation["operationId"], method.upper(), path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


async def test_every_operation_is_for_whom_it_should_be(scene: Scene):
    assert {operation.name for operation in scene.operations} == TAKES.keys() | PUBLIC.keys()
    wrong = [
        (who, operation.name, answer.status_code, answer.text)
        for operation in scene.operations
        for who in (*ROLES, *NOBODY)
        if not as_it_should(who, operation, answer := await scene.ask(who, operation))
    ]
    assert not wrong


def as_it_should(who: str, operation: Operation, answer: httpx.Response) -> bool:
    """Say whether ``who`` was let in, or not, by the policy that should say so."""
    if operation.name in PUBLIC:
        return answer.status_code == PUBLIC[operation.name]
    if who in NOBODY:
        return (answer.status_code, answer.json()["code"]) == (401, "request.token.unknown")
    right = TAKES[operation.name]
    if right in ROLES[who]:
        return answer.status_code not in (401, 403, 500)
    problem = answer.json()
    told = f"It takes the right {right}," in problem["detail"]
    return (answer.status_code, problem["code"], told) == (403, "request.right.lacking", True)


async def test_another_tenants_things_answer_like_things_that_do_not_exist(scene: Scene):
    control = scene.site.opened.control
    wish = MigrationRequest(vm="web", source="alpha", target="beta", commit=CommitRule.MANUAL)
    run = await scene.site.migrated(wish, "web")
    await control.put_plan(
        "default", Plan(name="shop", source="alpha", target="beta", vms=(PlannedVM(vm="db"),))
    )
    own = (await scene.site.tokens.listed("default"))[0].id
    known = {"cloud": "alpha", "vm": "web", "run": run.id, "plan": "shop", "token": own}
    for operation in scene.operations:
        if "{" in operation.path and operation.name not in PUBLIC:
            theirs = await scene.ask("stranger", operation, known)
            absent = await scene.ask("stranger", operation)
            assert told(theirs, known) == told(absent, {}), operation
    assert (await control.run("default", run.id)).state is run.state
    assert [cloud.name for cloud in await control.clouds("default")] == ["alpha", "beta"]
    assert [plan.name for plan in await control.plans("default")] == ["shop"]
    assert own in {token.id for token in await scene.site.tokens.listed("default")}


def told(answer: httpx.Response, known: dict[str, str]) -> tuple[int, str, str]:
    """Return what an answer tells but for the names that were asked for, and its own id."""
    if answer.status_code < 400:
        return answer.status_code, "", answer.text
    text = answer.json()["detail"]
    for name in (*known.values(), *ABSENT.values(), "absent"):
        text = re.sub(rf"\b{re.escape(name)}\b", "…", text)
    return answer.status_code, answer.json()["code"], text
