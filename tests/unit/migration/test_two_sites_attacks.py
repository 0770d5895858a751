"""A partner that asks for what is not its own, or states what it must not: refused, and nothing changes.

South serves; north is a partner with a rule for one tenant and one cloud, and says whatever it likes.
"""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.migration.two_sites import TENANT, Keys, TwoSites, between, two_sites
from tests.unit.migration.world import HTTP, act, disk_bytes

from crossport import errors
from crossport.authorize import PolicyAuthorizer, opened
from crossport.clouds.memory import MemoryCloud
from crossport.identity import statement as statements
from crossport.migration.cold import ColdMigration
from crossport.migration.partner import calls
from crossport.migration.partner.foreign import RunEnd, foreign_id
from crossport.migration.partner.serving import Ask
from crossport.migration.standing import Standing
from crossport.model import codec
from crossport.model.artifact import Artifact, DiskRef, ExportPoint, Role, Way
from crossport.model.health import HealthChecks, Probe, ProbeKind
from crossport.model.keyring import KeyRole
from crossport.model.message import Reply
from crossport.model.permit import SignedStatement, Stated, Statement, StatementKind
from crossport.model.run import RunState
from crossport.model.vm import PowerState
from crossport.spi.site import Description, StopRule
from crossport.testing.run import Killed, KillPoint
from crossport.testing.world import web_vm

STOP = StopRule(shutdown_s=5.0, power_off=True)
RULE: dict[str, Any] = {"tenant": TENANT, "cloud": "alpha", "step": "attack"}


def stated(kind: StatementKind, **changes: Any) -> Stated:
    said = Statement(kind=kind, site="b", run="run-1", vm="vm", epoch=1, made=0.0)
    stated = Stated(to="a", initiator="b", statement=replace(said, **changes.pop("statement", {})))
    return replace(stated, **changes)


@pytest.fixture
async def two(tmp_path: Path) -> TwoSites:
    """North is b, and executes; south is a, has the VM, and serves."""
    return await two_sites(tmp_path, "b")


async def asked(two: TwoSites, ask: Ask, run: str = "run-1", epoch: int = 1) -> str | None:
    content = two.b.written("a", ask.OPERATION, codec.encoded(ask), run=run, epoch=epoch)
    return codec.decoded(await two.b.link.call("a", ask.OPERATION, content), Reply).answer


async def refused(two: TwoSites, code: str, ask: Ask, run: str = "run-1", epoch: int = 1) -> None:
    before = await state_of(two)
    with pytest.raises(errors.Error) as caught:
        await asked(two, ask, run, epoch)
    assert caught.value.code == code, str(caught.value)
    assert caught.value.remedy
    assert await state_of(two) == before


async def state_of(two: TwoSites) -> object:
    ends = [await two.a.documents.list(kind, object) for kind in ("source-end", "target-end", "reservation")]
    return await two.world.alpha.vms(), ends


async def held(two: TwoSites, *, until: str = "prepare-commit") -> None:
    """Let north's run go as far as ``until``, and die there."""
    two.world.context.kill(until, KillPoint.BEFORE_CALL)
    with pytest.raises(Killed):
        await ColdMigration(two.world.context, two.world.request(**between("b")), two.world.parts).run()


async def test_a_tenant_without_a_rule_and_a_cloud_outside_of_it(two: TwoSites, tmp_path: Path):
    two.a.clouds["other"] = MemoryCloud("other", tmp_path / "other")
    for ask in (calls.Describe, calls.Clean, calls.Reserve):
        more: dict[str, Any] = {"keep_vm": False} if ask is calls.Clean else {"vm": "web"}
        await refused(two, "partner.tenant.none", ask(**{**RULE, "tenant": "acme"}, **more))
        await refused(two, "partner.cloud.none", ask(**{**RULE, "cloud": "other"}, **more))


async def test_a_vm_that_is_not_the_runs_own(two: TwoSites):
    other = await two.world.alpha.create_vm(act("make"), replace(web_vm(), name="db"), "boot and data")
    web = await two.world.source_vm()
    await asked(two, calls.Reserve(**RULE, vm=web.id))
    export = calls.OpenForReading(**RULE, vm=other.id, point=ExportPoint.STOPPED, stop=STOP)
    await refused(two, "partner.run.other", export)
    await refused(two, "partner.run.other", calls.Reserve(**RULE, vm=other.id))
    await refused(two, "partner.run.other", calls.Withdraw(**RULE, vm=other.id, sure=True))


TYPED = HealthChecks(probes=(Probe(kind=ProbeKind.COMMAND, command="cat /etc/shadow", expect="root"),))


async def test_a_command_that_is_typed_in_a_vm_it_has_not_made(two: TwoSites):
    """Its rule lets it move this VM, seen by everybody; not do in it what it likes, as root and unseen."""
    web = await two.world.source_vm()
    check = calls.Check(**RULE, vm=web.id, checks=TYPED)
    await refused(two, "partner.check.command", check, run="", epoch=0)
    await held(two, until="copy-disk-0")
    await refused(two, "partner.check.command", check, run="", epoch=0)
    await asked(two, replace(check, checks=HTTP), run="", epoch=0)


@pytest.mark.parametrize("initiator", ["a", "b"])
async def test_an_honest_run_has_its_command_typed_in_its_copy(tmp_path: Path, initiator: str):
    two = await two_sites(tmp_path, initiator)
    request = replace(two.world.request(**between(initiator)), checks=TYPED)
    report = await ColdMigration(two.world.context, request, two.world.parts).run()
    assert report.outcome is RunState.DONE
    assert report.health
    assert [result.probe.kind for result in report.health.results] == [ProbeKind.COMMAND]


async def test_a_command_in_a_copy_that_was_opened(tmp_path: Path):
    two = await two_sites(tmp_path, "a")
    await ColdMigration(two.world.context, two.world.request(**between("a")), two.world.parts).run()
    (copy,) = await two.world.target_vms()
    ask = calls.Check(tenant=TENANT, cloud="beta", step="attack", vm=copy.id, checks=TYPED)
    content = two.a.written("b", ask.OPERATION, codec.encoded(ask), run="", epoch=0)
    with pytest.raises(errors.Refused) as caught:
        await two.a.link.call("b", ask.OPERATION, content)
    assert caught.value.code == "partner.check.command"


async def test_a_run_that_changes_its_end(two: TwoSites):
    await held(two)
    await refused(two, "partner.run.other", calls.PrepareImport(**RULE, rooms=()))
    await refused(two, "partner.run.other", calls.PrepareCommit(**RULE, vm=""))
    await refused(two, "partner.run.other", calls.GiveUp(**RULE, vm="", sure=True))


async def test_a_reference_that_it_was_not_shown(two: TwoSites):
    await held(two, until="copy-disk-0")
    web = await two.world.source_vm()
    path = str(two.world.alpha.disk_path(web.disks[0].id))
    real = Artifact(role=Role.DISK, name="disk-0", ref=DiskRef(kind="file", locator=path, size=1 << 20))
    for one in (real, replace(real, ref=replace(real.ref, kind="partner"))):
        ticket = calls.GiveTicket(**RULE, artifact=one, way=Way.READ)
        await refused(two, "transfer.reference.foreign", ticket)
        await refused(two, "transfer.reference.foreign", calls.Compare(**RULE, artifacts=(one,), moved=()))


async def test_an_epoch_that_is_over(two: TwoSites):
    await held(two)
    await asked(two, calls.Clean(**RULE, keep_vm=True), epoch=5)
    await refused(two, "message.epoch.old", calls.Clean(**RULE, keep_vm=True), epoch=4)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (stated(StatementKind.PREPARED, to="c"), "permit.statement.other"),
        (stated(StatementKind.PREPARED, initiator="a"), "permit.statement.other"),
        (stated(StatementKind.PREPARED, statement={"run": "run-2"}), "permit.statement.other"),
        (stated(StatementKind.PREPARED, statement={"site": "a"}), "permit.statement.other"),
        (stated(StatementKind.NEVER_STARTED), "permit.statement.wrong"),
        (stated(StatementKind.START_PERMITTED), "permit.statement.wrong"),
        (stated(StatementKind.OPENED), "permit.statement.wrong"),
    ],
)
async def test_a_statement_that_does_not_say_what_is_needed(two: TwoSites, said: Stated, code: str):
    await held(two)
    web = await two.world.source_vm()
    signed = statements.signed(statements.payload_of(said), two.b.keys.permit)
    await refused(two, code, calls.Permit(**RULE, vm=web.id, other=signed))


async def test_a_statement_that_nobody_or_another_key_signed(two: TwoSites):
    await held(two)
    web = await two.world.source_vm()
    payload = statements.payload_of(stated(StatementKind.PREPARED))
    good = statements.signed(payload, two.b.keys.permit)
    unsigned = SignedStatement(payload=good.payload, key=good.key, signature="")
    changed = replace(good, payload=base64.b64encode(payload + b" ").decode())
    for said in (unsigned, changed):
        await refused(two, "permit.signature.wrong", calls.Permit(**RULE, vm=web.id, other=said))
    stranger = Keys("b", two.world.clock.now)
    for signer in (stranger.permit, two.b.keys.root, two.a.keys.permit):
        said = statements.signed(payload, signer)
        await refused(two, "permit.key.unknown", calls.Permit(**RULE, vm=web.id, other=said))
    assert await asked(two, calls.Permit(**RULE, vm=web.id, other=good))


async def test_a_key_of_another_role(two: TwoSites):
    await held(two)
    web = await two.world.source_vm()
    seal = two.b.keys.key(two.b.keys.permit, two.world.clock.now, KeyRole.SEAL)
    two.b.keys.document = replace(two.b.keys.document, version=2, keys=(seal,))
    known = await two.a.link.partner("b")
    two.a.link.know(replace(known, roles=two.b.keys.envelope))
    said = statements.signed(statements.payload_of(stated(StatementKind.PREPARED)), two.b.keys.permit)
    await refused(two, "permit.key.unknown", calls.Permit(**RULE, vm=web.id, other=said))


async def test_a_source_is_not_released_on_the_word_of_the_unsigned(two: TwoSites):
    await held(two)
    web = await two.world.source_vm()
    await asked(two, calls.Withdraw(**RULE, vm=web.id, sure=False))
    gone = statements.signed(
        statements.payload_of(stated(StatementKind.NEVER_STARTED)), Keys("b", two.world.clock.now).permit
    )
    await refused(two, "permit.key.unknown", calls.Release(**RULE, vm=web.id, other=gone))
    assert (await two.world.source_vm()).power is PowerState.STOPPED


@pytest.mark.parametrize("step", ["../../etc", "a/b", "", ".hidden", "x" * 200])
async def test_a_step_that_is_no_name(two: TwoSites, step: str):
    body = codec.encoded(calls.Clean(**{**RULE, "step": "ok"}, keep_vm=True)).replace('"ok"', f'"{step}"')
    content = two.b.written("a", "site.clean", body, run="run-1", epoch=1)
    with pytest.raises(errors.Invalid) as caught:
        await two.b.link.call("a", "site.clean", content)
    assert caught.value.field == "step"


async def test_what_changes_something_belongs_to_a_run(two: TwoSites):
    web = await two.world.source_vm()
    await refused(two, "partner.run.none", calls.Reserve(**RULE, vm=web.id), run="")
    await refused(two, "partner.run.none", calls.Clean(**RULE, keep_vm=False), run="")
    await refused(two, "partner.run.none", calls.Withdraw(**RULE, vm=web.id, sure=True), run="")


async def test_the_run_of_another_partner_is_not_reached(two: TwoSites):
    await held(two)
    ours = foreign_id("b", "run-1")
    for name in (ours, f"b/{ours}", f"b {ours}"[:3]):
        assert foreign_id("b", name) != ours
    two.link.accept("a", "c")
    c = two.link.site("c")
    rules = (await two.a.link.partner("b")).tenants
    two.a.link.allow("c", *rules)
    thief = type(two.b)("c", c, two.world.clock, two.b.mover)
    ask = calls.Clean(**RULE, keep_vm=False)
    content = thief.written("a", ask.OPERATION, codec.encoded(ask), run="run-1", epoch=9)
    before = await state_of(two)
    await c.call("a", ask.OPERATION, content)
    assert await state_of(two) == before
    look = calls.Stand(**RULE, run="run-1", which=RunEnd.SOURCE)
    content = thief.written("a", look.OPERATION, codec.encoded(look))
    answer = codec.decoded(await c.call("a", look.OPERATION, content), Reply).answer
    assert codec.decoded(answer or "", Standing).hold is None


async def test_a_revoked_partner_reaches_nothing_and_is_reached_by_nothing(two: TwoSites):
    two.a.link.revoke("b")
    await refused(two, "partner.revoked", calls.Describe(**RULE), run="", epoch=0)
    with pytest.raises(errors.Refused) as caught:
        await two.a.peer.abroad.site(TENANT, "b").describe("beta@b")
    assert caught.value.code == "partner.revoked"


async def test_a_partner_that_answers_nonsense_does_not_get_through(two: TwoSites):
    async def nonsense(partner: object, content: bytes) -> bytes:
        del partner, content
        return codec.encoded(Reply(answer='{"constructs": 1}')).encode()

    two.a.link.answers["site.describe"] = nonsense
    with pytest.raises(errors.Broken) as caught:
        await two.b.peer.abroad.site(TENANT, "a").describe("alpha@a")
    assert caught.value.code == "partner.answer.malformed"


async def test_errors_of_a_partner_say_whose_they_are(two: TwoSites):
    with pytest.raises(errors.NotFound) as caught:
        await two.b.peer.abroad.site(TENANT, "a").describe("alpha@a", "nobody")
    assert caught.value.text.startswith("At a: ")
    answer = await asked(two, calls.Describe(**RULE, vm="web"), run="", epoch=0)
    assert codec.decoded(answer or "", Description).vm is not None


async def test_after_all_attacks_the_run_goes_on(two: TwoSites):
    await held(two)
    web = await two.world.source_vm()
    said = statements.signed(
        statements.payload_of(stated(StatementKind.PREPARED)), Keys("b", two.world.clock.now).permit
    )
    await refused(two, "permit.key.unknown", calls.Permit(**RULE, vm=web.id, other=said))
    two.world.context = two.world.context.successor()
    report = await two.world.migrate(None, **between("b"))
    assert report.outcome is RunState.DONE
    (copy,) = await two.world.target_vms()
    assert disk_bytes(two.world.beta, copy) == disk_bytes(two.world.alpha, await two.world.source_vm())


FROZEN = """@id("north.leaves-alpha")
@reason("Nothing of alpha goes to a partner this week.")
forbid (principal, action == Action::"end.export", resource)
when { principal has partner && resource has clouds && resource.clouds.contains("alpha") };
"""


async def test_a_policy_of_the_operator_holds_for_partners(two: TwoSites, tmp_path: Path):
    folder = tmp_path / "policies"
    folder.mkdir(mode=0o755)
    (folder / "own.cedar").write_text(FROZEN)
    two.a.authorizer = PolicyAuthorizer(opened(folder))
    two.a.start()
    vm = (await two.world.source_vm()).id
    ask = calls.OpenForReading(**RULE, vm=vm, point=ExportPoint.STOPPED, stop=STOP)
    with pytest.raises(errors.Refused) as caught:
        await asked(two, ask)
    assert (caught.value.code, caught.value.field) == ("partner.policy.denied", "tenant")
    assert "Nothing of alpha goes to a partner this week." in caught.value.text
    assert "north.leaves-alpha" in caught.value.text
    assert (await two.world.source_vm()).power is PowerState.RUNNING
    assert await two.a.peer.foreign.find(foreign_id("b", "run-1")) is None
    assert await asked(two, calls.Stand(**RULE, run="run-1", which=RunEnd.SOURCE), run="") is not None
