"""What a partner does here is told in the audit log under its name, and found again when its keys are lost.

The site is put together as the server does it. The link is left out: the partner's messages are handed over.
"""

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.api.site import Site, site

from crossport import errors
from crossport.audit.head import signed
from crossport.identity.key_signer import KeySigner
from crossport.identity.messages import Messages
from crossport.migration.end import AdmittedImage, Landing
from crossport.migration.heads import KIND
from crossport.migration.partner.calls import Clean
from crossport.migration.partner.foreign import foreign_id
from crossport.migration.partner.notary import KIND as STATEMENT
from crossport.migration.partner.notary import Evidence
from crossport.migration.plans import MIGRATE, labels
from crossport.model import codec
from crossport.model.audit import AuditKind, AuditRecord, Result
from crossport.model.head import Head, Witnessed
from crossport.model.keyring import Algorithm
from crossport.model.partner import CompromiseRequest, Partner, PartnerState, TenantRule, Touched
from crossport.model.permit import SignedStatement, Statement, StatementKind
from crossport.model.run import MigrationRequest
from crossport.model.sealing import Admission
from crossport.testing.document import MemoryDocuments

RULE = TenantRule(theirs="acme", ours="default", clouds=("alpha",))


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as one:
        yield one


def partner(one: Site, state: PartnerState = PartnerState.ACCEPTED) -> Partner:
    return Partner(
        name="north",
        authorities=(one.opened.identity.authority_pem,),
        address="https://north.example:1",
        root="",
        roles="",
        state=state,
        tenants=(RULE,),
        since=0.0,
        changed=0.0,
        refreshed=0.0,
    )


async def clean(one: Site, run: str, **changes: str) -> None:
    """Let the partner's run be cleaned up here."""
    ask = Clean(**{"tenant": "acme", "cloud": "alpha", "step": "clean", **changes}, keep_vm=True)
    messages = Messages("north", MemoryDocuments, one.clock, lambda: secrets.token_hex(16))
    content = messages.written("test", ask.OPERATION, codec.encoded(ask), run=run, epoch=1)
    await one.opened.partners.operations.answering(ask.OPERATION)(partner(one), content)


async def told(one: Site, run: str) -> list[AuditRecord]:
    found = await one.opened.engine.audit.records(run=run)
    return [codec.decoded(each.text, AuditRecord) for each in found]


async def traced(one: Site, since: float = 0.0) -> list[Touched]:
    return [each for trace in one.opened.partners.office.traces for each in await trace("north", since)]


async def test_a_call_of_a_partner_leaves_intent_and_outcome_under_its_name(served: Site):
    await clean(served, "run-1")
    intent, outcome = await told(served, foreign_id("north", "run-1"))
    assert (intent.kind, outcome.kind, outcome.intent) == (AuditKind.INTENT, AuditKind.OUTCOME, intent.number)
    assert (intent.action, intent.actor) == ("site.clean", "partner north")
    assert (intent.tenant, intent.subject) == ("default", "test/alpha")
    assert outcome.result is Result.DONE


async def test_a_compromise_lists_runs_of_both_sides_and_heads(served: Site):
    opened = served.opened
    await opened.partners.book.add(partner(served, PartnerState.REVOKED))
    await clean(served, "run-1")
    request = MigrationRequest(vm="web", source="alpha", target="beta@north")
    for number, wanted in enumerate((request, MigrationRequest(vm="db", source="alpha", target="beta"))):
        run = f"own-{number}"
        await opened.engine.submit(
            MIGRATE, wanted, run_id=run, tenant="default", subject=wanted.vm, labels=labels(wanted)
        )
    await head(served, "north", "test", 10.0)
    await head(served, "north", "south", 20.0)
    await head(served, "test", "north", 30.0)
    found = await opened.partners.office.compromise("north", CompromiseRequest())
    assert found.partner == "north"
    assert [(one.kind, one.id) for one in found.touched] == [
        ("head", "north/10"),
        ("run", foreign_id("north", "run-1")),
        ("run", "own-0"),
    ]
    assert [one.about for one in found.touched] == [
        "of its audit log, countersigned by test",
        "its run run-1, by tenant acme as default, at alpha",
        "web from alpha to beta@north",
    ]
    assert all(one.at > 0 for one in found.touched)


async def head(one: Site, of: str, witness: str, time: float) -> None:
    """Let a countersigned head be kept."""
    said = Head(site=of, size=int(time), root="00" * 32, time=time)
    seen = signed(Witnessed(witness=witness, time=time, head=said), KeySigner.made(Algorithm.ED25519))
    await one.store.put(KIND, f"{of}/{int(time):016d}/{witness}", seen)


async def test_what_was_over_by_then_is_left_out_and_what_went_on_is_not(served: Site):
    await clean(served, "run-1")
    (begun,) = [one.at for one in await traced(served)]
    (last, *_) = [one.time for one in reversed(await told(served, foreign_id("north", "run-1")))]
    assert begun < last
    assert [(one.kind, one.at) for one in await traced(served, last)] == [("run", last)]
    assert await traced(served, last + 0.001) == []


async def test_what_a_partner_may_not_do_is_not_done_under_anybodys_name(served: Site):
    with pytest.raises(errors.Refused) as caught:
        await clean(served, "run-1", tenant="zeta")
    assert caught.value.code == "partner.tenant.none"
    assert await told(served, foreign_id("north", "run-1")) == []


async def test_a_compromise_lists_what_the_partner_stated_and_sealed(served: Site):
    """The partner's own clock does not count: what it says of the time may be untrue."""
    run = foreign_id("north", "run-1")
    said = Statement(kind=StatementKind.START_PERMITTED, site="north", run=run, vm="vm-1", epoch=1, made=0.0)
    signed_ = SignedStatement(payload="", key="ab" * 32, signature="")
    told = Evidence(initiator="north", partner="north", statement=said, signed=signed_, kept=50.0)
    own = replace(told, statement=replace(said, site="test", kind=StatementKind.OPENED))
    for one in (told, own):
        await served.store.put(STATEMENT, f"{run}/{one.statement.site}/{one.statement.kind}", one)
    admission = Admission(site="north", key="cd" * 32, made=60.0, steps=())
    for run_, site_ in (("run-2", "north"), ("run-3", "south")):
        image = AdmittedImage(
            envelope="ef" * 32, descriptor="", disks=(), admission=replace(admission, site=site_)
        )
        await served.store.put("target-end", run_, Landing(cloud="beta", image=image))
    found = {(one.kind, one.id, one.at, one.about) for one in await traced(served, 50.0)}
    assert found == {
        ("statement", f"{run}/start-permitted", 50.0, f"of VM vm-1, epoch 1, signed with key {'ab' * 8}"),
        ("seal", "ef" * 32, 60.0, f"sealed with key {'cd' * 8}, admitted in run run-2"),
    }
    assert await traced(served, 61.0) == []
