"""Run grants of people whom a real provider knows: held by their runs, seen by them, and taken away.

The site is real but for its clouds; its watch looks all the time, and no test waits for more than it needs.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.interop.oidc.provider import AUDIENCE, SERVICE, SERVICE_SECRET, Provider
from tests.interop.oidc.provider import running as running_provider
from tests.interop.oidc.sender import Sender
from tests.interop.oidc.test_exchange import RULE
from tests.unit.api.site import STUCK, Site
from tests.unit.api.site import site as running_site

from crossport.app.grant_parts import grants_watched
from crossport.model.artifact import Progress
from crossport.model.finding import Severity
from crossport.model.grant import GrantScope, GrantState, Loss
from crossport.model.run import MigrationReport, RunRecord, RunState
from crossport.model.vm import PowerState

LONG_S = 60.0
MOVE: dict[str, Any] = {"vm": "web", "source": "alpha", "target": "beta"}
ENDED = tuple(state for state in RunState if state.final)


async def when(there: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that only the database tells."""
    async with asyncio.timeout(LONG_S):
        while not await there():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@dataclass
class Scene:
    """The site, the provider, and copies that stop in their middle as long as ``held``."""

    site: Site
    provider: Provider
    held: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def pace(self, progress: Progress) -> None:
        del progress
        if self.held:
            self.reached.set()
            await self.go_on.wait()

    async def begun(
        self, sub: str = "alice", token: str = "", **changes: Any
    ) -> tuple[Sender, str, RunRecord]:
        """Begin a migration as somebody whom the provider knows."""
        sender = Sender()
        token = await sender.exchanged(self.site, token or self.provider.made(sub=sub))
        answer = await sender.send(self.site, token, "POST", "/v1/migrations", {**MOVE, **changes})
        assert answer.status_code == 202, answer.text
        return sender, token, await self.site.opened.control.run("default", answer.json()["id"])

    async def until(self, run: RunRecord, *states: RunState) -> MigrationReport | None:
        """Wait for one of ``states``; return the report of a run that has ended."""
        control = self.site.opened.control

        async def there() -> bool:
            return (await control.run("default", run.id)).state in states

        await when(there)
        final = (await control.run("default", run.id)).state.final
        return await control.report("default", run.id) if final else None

    async def taken_back(self, run: RunRecord, loss: Loss) -> None:
        report = await self.until(run, *ENDED)
        assert report is not None
        assert (report.outcome, report.code, report.left_behind) == (RunState.ROLLED_BACK, "grant.lost", ())
        assert report.text.startswith(f"Run {run.id} has no right any more at test")
        control = self.site.opened.control
        web = await control.vm("default", "alpha", "web")
        assert (web.power, web.fenced) == (PowerState.RUNNING, False)
        assert await control.vms("default", "beta") == ()
        grants = self.site.opened.grants

        async def over() -> bool:
            return not await grants.live()

        await when(over)
        (grant,) = await grants.listed(GrantScope(tenant="default"))
        assert (grant.state, grant.loss, grant.late) == (GrantState.OVER, loss, False)


@pytest.fixture
async def scene(tmp_path: Path, provider: Provider) -> AsyncIterator[Scene]:
    made = Scene(site=None, provider=provider)  # type: ignore[arg-type]
    async with (
        running_site(tmp_path, egress=("127.0.0.0/8",), pace=made.pace) as site,
        site.client() as client,
        grants_watched(site.opened.grant_watch, 1.0),
    ):
        made.site = site
        entry = {"name": "acme", "issuer": provider.issuer, "audience": AUDIENCE}
        assert (await client.post("/v1/identity/providers", json=entry)).status_code == 201
        assert (await client.post("/v1/identity/rules", json=RULE)).status_code == 201
        yield made


@pytest.fixture
async def asking(scene: Scene) -> AsyncIterator[Scene]:
    """The scene with a site that asks the provider, and at its end nobody is disabled."""
    entry = {"name": "acme", "issuer": scene.provider.issuer, "audience": AUDIENCE}
    entry |= {"introspector": SERVICE, "secret": SERVICE_SECRET}
    async with scene.site.client() as client:
        assert (await client.delete("/v1/identity/rules/staff")).status_code == 204
        assert (await client.delete("/v1/identity/providers/acme")).status_code == 204
        added = await client.post("/v1/identity/providers", json=entry)
        assert (added.status_code, "secret" in added.json()) == (201, False)
        assert (await client.post("/v1/identity/rules", json=RULE)).status_code == 201
    yield scene
    scene.provider.disable()


async def test_who_is_disabled_at_the_provider_loses_a_run_in_the_middle_of_its_copy(asking: Scene):
    asking.held = True
    opaque = asking.provider.opaque_token("carol")
    _, _, run = await asking.begun(token=opaque)
    async with asyncio.timeout(LONG_S):
        await asking.reached.wait()
    await asking.site.opened.grant_watch.look()
    (grant,) = await asking.site.opened.grants.live()
    assert grant.loss is None
    asking.provider.disable("dave")
    await asking.site.opened.grant_watch.look()
    assert (await asking.site.opened.grants.live())[0].loss is None
    asking.provider.disable("carol")
    await asking.taken_back(run, Loss.SIGN_IN)
    assert (
        "the identity provider ended the sign-in"
        in (await asking.site.opened.control.report("default", run.id)).text
    )
    again = await Sender().exchange(asking.site, opaque)
    assert (again.status_code, again.json()["code"]) == (400, "identity.token.inactive")
    kept = [path.read_bytes() for path in asking.site.root.rglob("*") if path.is_file()]
    assert kept
    assert not any(opaque.encode() in each or SERVICE_SECRET.encode() in each for each in kept)


async def test_a_provider_that_cannot_be_asked_takes_nobodys_right(asking: Scene):
    """It refuses to say anything of tokens that it signed for others to read: those end with the grant."""
    _, _, run = await asking.begun(commit="manual")
    await asking.until(run, RunState.WAITING)
    asking.provider.disable("alice")
    await asking.site.opened.grant_watch.look()
    (grant,) = await asking.site.opened.grants.live()
    assert (grant.run, grant.loss) == (run.id, None)


async def test_a_provider_is_asked_only_by_whom_it_knows(scene: Scene):
    entry = {"name": "acme", "issuer": scene.provider.issuer, "audience": AUDIENCE}
    async with scene.site.client() as client:
        await client.delete("/v1/identity/rules/staff")
        await client.delete("/v1/identity/providers/acme")
        for more, code in (
            ({"introspector": SERVICE}, "identity.introspection.half"),
            ({"secret": SERVICE_SECRET}, "identity.introspection.half"),
            ({"introspector": SERVICE, "secret": "wrong"}, "identity.introspection.refused"),
        ):
            answer = await client.post("/v1/identity/providers", json={**entry, **more})
            assert (answer.status_code, answer.json()["code"]) == (422, code)
        assert (await client.get("/v1/identity/providers")).json()["items"] == []
        assert (await client.post("/v1/identity/providers", json=entry)).status_code == 201
    opaque = await Sender().exchange(scene.site, scene.provider.opaque_token("carol"))
    assert (opaque.status_code, opaque.json()["code"]) == (400, "identity.token.malformed")


async def test_a_provider_that_answers_no_introspection_is_not_added_as_one_that_can_be_asked(scene: Scene):
    with running_provider(introspection=False) as mute:
        entry = {"name": "mute", "issuer": mute.issuer, "audience": AUDIENCE}
        assert "introspection_endpoint" not in mute.metadata()
        async with scene.site.client() as client:
            asked = {"introspector": SERVICE, "secret": SERVICE_SECRET}
            answer = (await client.post("/v1/identity/providers", json={**entry, **asked})).json()
            assert (answer["code"], answer["field"]) == ("identity.introspection.none", "introspector")
            known = (await client.get("/v1/identity/providers")).json()["items"]
            assert [each["name"] for each in known] == ["acme"]
            assert (await client.post("/v1/identity/providers", json=entry)).status_code == 201


async def test_a_token_that_one_of_several_providers_can_read_is_shown_to_none_of_them(asking: Scene):
    opaque = asking.provider.opaque_token("carol")
    with running_provider() as second:
        entry = {"name": "second", "issuer": second.issuer, "audience": AUDIENCE}
        entry |= {"introspector": SERVICE, "secret": SERVICE_SECRET}
        async with asking.site.client() as client:
            assert (await client.post("/v1/identity/providers", json=entry)).status_code == 201
            refused = await Sender().exchange(asking.site, opaque)
            assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
            told = (refused.json()["code"], refused.json()["field"])
            assert told == ("identity.token.opaque", "subject_token")
            signed = await Sender().exchange(asking.site, asking.provider.made())
            assert signed.status_code == 200
            assert (await client.delete("/v1/identity/providers/second")).status_code == 204
    assert (await Sender().exchange(asking.site, opaque)).status_code == 200


async def test_whoever_holds_a_grant_sees_it_and_takes_it_in_the_middle_of_a_copy(scene: Scene):
    scene.held = True
    sender, token, run = await scene.begun()
    async with asyncio.timeout(LONG_S):
        await scene.reached.wait()
    seen = (await sender.ask(scene.site, token, path="/v1/grants")).json()["items"]
    (grant,) = seen
    assert (grant["run"], grant["about"], grant["clouds"]) == (run.id, "web", ["alpha", "beta"])
    assert grant["holder"]["subject"] == {"issuer": scene.provider.issuer, "sub": "alice"}
    assert grant["until"] - grant["since"] == 24 * 3600
    bob, path = Sender(), f"/v1/grants/{run.id}"
    bobs = await bob.exchanged(scene.site, scene.provider.made(sub="bob"))
    assert (await bob.ask(scene.site, bobs, path="/v1/grants")).json()["items"] == []
    assert (await bob.send(scene.site, bobs, "DELETE", path)).json()["code"] == "grant.unknown"
    taken = await sender.send(scene.site, token, "DELETE", path)
    assert (taken.json()["state"], taken.json()["loss"]) == ("lost", "revoked")
    assert taken.json()["by"].startswith("token acme:")
    await scene.taken_back(run, Loss.REVOKED)


async def test_a_rule_that_is_removed_after_the_source_was_stopped_brings_it_back(scene: Scene):
    _, _, run = await scene.begun(commit="manual")
    await scene.until(run, RunState.WAITING)
    assert (await scene.site.opened.control.vm("default", "alpha", "web")).power is PowerState.STOPPED
    async with scene.site.client() as client:
        assert (await client.delete("/v1/identity/rules/staff")).status_code == 204
    await scene.taken_back(run, Loss.RULE)
    records = await scene.site.store.list("run-grant", object)
    assert len(records) == 1
    told = await scene.site.opened.engine.audit.records(run=run.id, action="grant.lose")
    assert len(told) == 1


async def test_behind_the_commit_nothing_is_taken_back_and_the_run_tells_so(scene: Scene):
    await scene.site.vm("stuck", **{STUCK.replace(".", "_"): "yes"})
    _, _, run = await scene.begun(vm="stuck")
    await scene.until(run, RunState.ATTENTION)
    async with scene.site.client() as client:
        assert (await client.delete(f"/v1/grants/{run.id}")).json()["loss"] == "revoked"
    control = scene.site.opened.control

    async def told() -> bool:
        found = (await control.report("default", run.id)).findings
        return "grant.late" in {one.code for one in found}

    await when(told)
    assert (await control.run("default", run.id)).state is RunState.ATTENTION
    assert (await control.vm("default", "alpha", "stuck")).power is PowerState.STOPPED
    await scene.site.opened.grant_watch.look()
    late = [one for one in (await control.report("default", run.id)).findings if one.code == "grant.late"]
    (finding,) = late
    assert (finding.severity, finding.subject) == (Severity.WARNING, "vm stuck")
    assert "lost behind its commit (it was revoked): it was finished" in finding.text
    assert "The source is kept" in finding.remedy
    async with scene.site.client() as client:
        shown = (await client.get(f"/v1/grants/{run.id}")).json()
    assert (shown["state"], shown["loss"], shown["late"]) == ("lost", "revoked", True)


async def test_a_run_begun_with_a_token_of_the_site_needs_no_grant(scene: Scene):
    async with scene.site.client() as client:
        answer = await client.post("/v1/migrations", json=MOVE)
        assert answer.status_code == 202
        assert (await client.get("/v1/grants")).json()["items"] == []
        assert (await client.get(f"/v1/grants/{answer.json()['id']}")).json()["code"] == "grant.unknown"
