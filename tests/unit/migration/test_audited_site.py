"""Every call at an end of a migration that may change something is told, without what may be secret."""

import inspect
import json
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.migration.world import World, act

from crossport import errors
from crossport.migration.audited_site import LOOKS, audited
from crossport.model import codec
from crossport.model.audit import AuditKind, Result
from crossport.model.run import RunState
from crossport.spi.site import Site
from crossport.testing.audit import MemoryAudit


def told_by(world: World, audit: MemoryAudit) -> None:
    """Let both ends of the world tell ``audit`` what they do."""
    plain = world.parts.site

    async def site(cloud: str) -> Site:
        return audited(await plain(cloud), audit, "acme")

    world.parts = replace(world.parts, site=site)


async def test_a_migration_is_told_call_by_call(world: World):
    audit = MemoryAudit()
    told_by(world, audit)
    assert (await world.migrate()).outcome is RunState.DONE
    intents = [one for one in audit.records if one.kind is AuditKind.INTENT]
    outcomes = {one.intent: one for one in audit.records if one.kind is AuditKind.OUTCOME}
    actions = [one.action for one in intents]
    assert actions.index("site.export") < actions.index("site.instantiate") < actions.index("site.commit")
    assert {one.run for one in intents} == {"run-1"}
    assert all(outcomes[one.number].result is Result.DONE for one in intents)
    assert [outcomes[one.number].facts.get("stated") for one in intents if one.action == "site.commit"] == [
        "start-permitted",
        "opened",
    ]
    text = json.dumps([codec.plain(one) for one in audit.records])
    assert "secret" not in text
    assert "nbd" not in text


async def test_nothing_is_done_at_an_end_that_the_log_does_not_take(world: World):
    audit = MemoryAudit()
    told_by(world, audit)
    audit.full = True
    with pytest.raises(errors.Unavailable) as raised:
        await (await world.parts.site("alpha")).clean(act("clean"), "alpha", keep_vm=True)
    assert raised.value.code == "audit.unwritten"


@pytest.mark.parametrize("name", [name for name, _ in inspect.getmembers(Site, inspect.isfunction)])
async def test_each_call_of_the_promise_is_told_or_only_looks(name: str):
    if name.startswith("_"):
        return
    audit = MemoryAudit()

    async def call() -> None: ...

    end: Any = type("End", (), {"name": "here", name: staticmethod(call)})()
    await getattr(audited(end, audit, "acme"), name)()
    assert [one.action for one in audit.records] == (
        [] if name in LOOKS else [f"site.{name.replace('_', '-')}"] * 2
    )
