"""Whether a run still has its right: the decision alone, and how grants are kept."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.migration.world import TestClock

from crossport import errors
from crossport.migration.grant import Trusted, late_finding, loss_of, lost, refused
from crossport.migration.grants import HOUR_S, KEPT_S, Grants, GrantTerms
from crossport.model.access import Role
from crossport.model.federation import Provider, Subject, TrustRule
from crossport.model.grant import Begun, GrantScope, GrantState, Holder, Loss, RunGrant
from crossport.model.partner import Partner, PartnerState, TenantRule
from crossport.model.run import RunRecord, RunState
from crossport.testing.document import MemoryDocuments

ISSUER = "https://login.acme.example"
PROVIDER = Provider(name="acme", issuer=ISSUER, audience="https://site.example")
RULE = TrustRule(name="ops", provider="acme", claims={"groups": "ops"}, tenant="acme", role=Role.OPERATOR)
ALICE = Holder(tenant="acme", subject=Subject(issuer=ISSUER, sub="alice"), rule=RULE)
OURS = TenantRule(theirs="shop", ours="acme", clouds=("beta", "gamma"))
NORTH = Partner(
    name="north",
    authorities=(),
    address="https://north.invalid:8445",
    root="",
    roles="",
    state=PartnerState.ACCEPTED,
    tenants=(OURS,),
    since=0.0,
    changed=0.0,
    refreshed=0.0,
)
PERSONS = RunGrant(run="run-1", tenant="acme", since=0.0, until=100.0, holder=ALICE)
NORTHS = RunGrant(
    run="p-1", tenant="acme", since=0.0, until=100.0, partner="north", theirs="shop", clouds=("beta",)
)
TRUSTED = Trusted(rules=(RULE,), providers=(PROVIDER,), partners=(NORTH,))


def now_trusted(**changes: Any) -> Trusted:
    return replace(TRUSTED, **changes)


@pytest.mark.parametrize(
    ("grant", "trusted", "now", "loss"),
    [
        (PERSONS, TRUSTED, 99.9, None),
        (PERSONS, TRUSTED, 100.0, Loss.EXPIRED),
        (PERSONS, now_trusted(partners=()), 1.0, None),
        (PERSONS, now_trusted(rules=()), 1.0, Loss.RULE),
        (PERSONS, now_trusted(rules=(replace(RULE, role=Role.VIEWER),)), 1.0, Loss.RULE),
        (PERSONS, now_trusted(rules=(replace(RULE, claims={"groups": "dev"}),)), 1.0, Loss.RULE),
        (PERSONS, now_trusted(providers=()), 1.0, Loss.PROVIDER),
        (PERSONS, now_trusted(providers=(replace(PROVIDER, issuer=ISSUER + "/x"),)), 1.0, Loss.PROVIDER),
        (PERSONS, now_trusted(rules=(), providers=()), 1.0, Loss.PROVIDER),
        (replace(PERSONS, loss=Loss.REVOKED), TRUSTED, 1.0, Loss.REVOKED),
        (replace(PERSONS, loss=Loss.REVOKED), now_trusted(rules=()), 200.0, Loss.REVOKED),
        (NORTHS, TRUSTED, 99.9, None),
        (NORTHS, TRUSTED, 100.0, Loss.EXPIRED),
        (NORTHS, now_trusted(rules=(), providers=()), 1.0, None),
        (NORTHS, now_trusted(partners=()), 1.0, Loss.PARTNER),
        *(
            (NORTHS, now_trusted(partners=(replace(NORTH, state=state),)), 1.0, Loss.PARTNER)
            for state in PartnerState
            if state is not PartnerState.ACCEPTED
        ),
        (NORTHS, now_trusted(partners=(replace(NORTH, tenants=()),)), 1.0, Loss.TENANT),
        *(
            (NORTHS, now_trusted(partners=(replace(NORTH, tenants=(rule,)),)), 1.0, Loss.TENANT)
            for rule in (
                replace(OURS, clouds=("gamma",)),
                replace(OURS, theirs="other"),
                replace(OURS, ours="other"),
            )
        ),
    ],
)
def test_a_right_holds_as_long_as_everything_that_it_hangs_on(
    grant: RunGrant, trusted: Trusted, now: float, loss: Loss | None
):
    assert loss_of(grant, trusted, now) is loss


@pytest.mark.parametrize("loss", Loss)
def test_every_loss_is_told_with_its_reason_and_a_remedy(loss: Loss):
    for error in (lost(loss, "run-1", "north"), refused(loss, "run-1")):
        assert (error.code, error.field) == ("grant.lost", "run")
        assert error.remedy
    assert "north" in lost(loss, "run-1", "north").text
    assert late_finding(PERSONS, loss).remedy


class Kept:
    """Grants, and the runs that there are."""

    def __init__(self) -> None:
        documents = MemoryDocuments()
        self.clock = TestClock()
        self.grants = Grants(lambda: documents, self.clock, GrantTerms(hours=2, partner_hours=5))
        self.runs = set[str]()
        self.grants.is_run = self.known

    async def known(self, run: str) -> bool:
        return run in self.runs

    async def begin(self, run: str, holder: Holder | None = ALICE) -> None:
        async def start() -> RunRecord:
            self.runs.add(run)
            return RunRecord(
                id=run, kind="migrate", tenant="acme", state=RunState.QUEUED, subject="web", created=0.0
            )

        await self.grants.begun(Begun(run=run, about="web", clouds=("alpha",), holder=holder), start)


@pytest.fixture
def kept() -> Kept:
    return Kept()


async def test_a_run_of_somebody_a_provider_knows_holds_a_grant(kept: Kept):
    await kept.begin("run-1")
    (grant,) = await kept.grants.live()
    assert (grant.holder, grant.about, grant.clouds) == (ALICE, "web", ("alpha",))
    assert grant.until - grant.since == 2 * HOUR_S


async def test_the_rule_says_how_long_a_run_may_go_on(kept: Kept):
    await kept.begin("run-1", replace(ALICE, rule=replace(RULE, hours=7)))
    (grant,) = await kept.grants.live()
    assert grant.until - grant.since == 7 * HOUR_S


async def test_a_run_that_needs_no_grant_gets_none_from_whoever_asks_for_it_again(kept: Kept):
    await kept.begin("run-1", None)
    await kept.begin("run-1")
    assert await kept.grants.live() == ()


async def test_a_run_that_was_not_begun_holds_nothing(kept: Kept):
    async def blocked() -> RunRecord:
        raise errors.Blocked("vm.fenced", "It is in the way.")

    with pytest.raises(errors.Blocked):
        await kept.grants.begun(Begun(run="run-1", about="web", holder=ALICE), blocked)
    assert await kept.grants.live() == ()


async def test_everybody_sees_and_revokes_what_is_within_reach(kept: Kept):
    await kept.begin("run-1")
    own = GrantScope(tenant="acme", subject=ALICE.subject)
    bobs = GrantScope(tenant="acme", subject=replace(ALICE.subject, sub="bob"))
    for scope in (own, GrantScope(tenant="acme"), GrantScope(tenant="")):
        assert [grant.run for grant in await kept.grants.listed(scope)] == ["run-1"]
    for scope in (bobs, GrantScope(tenant="other")):
        assert await kept.grants.listed(scope) == ()
        with pytest.raises(errors.NotFound) as caught:
            await kept.grants.revoke("run-1", scope, "token x")
        assert (caught.value.code, caught.value.field) == ("grant.unknown", "run")
    taken = await kept.grants.revoke("run-1", own, "token x")
    assert (taken.state, taken.loss, taken.by) == (GrantState.LOST, Loss.REVOKED, "token x")
    assert await kept.grants.revoke("run-1", GrantScope(tenant=""), "token y") == taken


async def test_what_is_over_is_seen_for_a_while_and_taken_from_nobody(kept: Kept):
    await kept.begin("run-1")
    (grant,) = await kept.grants.live()
    await kept.grants.over(grant)
    await kept.grants.over(grant)
    everything = GrantScope(tenant="")
    assert await kept.grants.live() == ()
    assert [each.state for each in await kept.grants.listed(everything)] == [GrantState.OVER]
    assert (await kept.grants.revoke("run-1", everything, "token x")).state is GrantState.OVER
    kept.clock.now += KEPT_S
    await kept.grants.prune()
    assert len(await kept.grants.listed(everything)) == 1
    kept.clock.now += 3 * HOUR_S
    await kept.grants.prune()
    assert await kept.grants.listed(everything) == ()
