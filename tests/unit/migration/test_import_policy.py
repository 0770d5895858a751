"""The import policy of a site: checked before it is kept, told before a run, asked again at its end."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.migration.test_cold import expect_rolled_back
from tests.unit.migration.test_sealing import between
from tests.unit.migration.two_sites import between as request_between
from tests.unit.migration.two_sites import two_sites
from tests.unit.migration.world import World

from crossport import errors
from crossport.certify.policy import Exporter
from crossport.migration.admission import require_checked
from crossport.migration.end import Ends, Landing
from crossport.migration.import_policies import ImportPolicies
from crossport.migration.import_policy import POLICY
from crossport.migration.judge import dry_run
from crossport.migration.policy_finding import policy_findings
from crossport.model.artifact import Ticket
from crossport.model.certified import Check, Outcome
from crossport.model.finding import Finding, Severity
from crossport.model.import_policy import (
    ForbiddenPackage,
    ImportPolicy,
    ImportPolicyRequest,
    OwnCheck,
    Partner,
)
from crossport.model.inspection import Guest, Inspected
from crossport.model.permit import StatementKind
from crossport.model.run import Act, RunState

HERE = Partner(site="here")
FIRST = ImportPolicy(site="here", partners=(HERE,))
OTHER_KEY = "ab" * 32


def policies(world: World) -> ImportPolicies:
    return ImportPolicies(world.site.trust)


async def set_to(world: World, **changes: Any) -> None:
    await policies(world).set(ImportPolicyRequest(policy=replace(FIRST, **changes)))


async def blockers(world: World) -> list[Finding]:
    found = await dry_run(world.request(), world.parts)
    return [one for one in found.findings if one.severity is Severity.BLOCKER]


async def test_a_site_begins_by_admitting_itself(world: World):
    assert (await policies(world).shown()).policy == FIRST
    assert (await policies(world).shown()).generation == 0


async def test_a_policy_replaces_the_one_that_its_author_saw(world: World):
    book, strict = policies(world), replace(FIRST, max_disk_gib=1)
    assert (await book.set(ImportPolicyRequest(policy=FIRST, generation=0))).generation == 1
    assert (await book.set(ImportPolicyRequest(policy=strict, generation=1))).generation == 2
    with pytest.raises(errors.Conflict) as late:
        await book.set(ImportPolicyRequest(policy=FIRST, generation=1))
    assert (late.value.code, late.value.field) == ("import-policy.changed", "generation")
    assert (await book.shown()).policy == strict
    assert (await book.reset()).generation == 0
    assert (await book.reset()).policy == FIRST


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("site", {"site": "north"}),
        ("partners.1.site", {"partners": (HERE, Partner(site="norht"))}),
        ("partners.0.keys", {"partners": (Partner(site="here", keys=(OTHER_KEY,)),)}),
        ("partners", {"partners": (HERE, Partner(site="here", clouds=("alpha",)))}),
        ("formats", {"formats": ("qcow3",)}),
        ("required_checks", {"required_checks": ("a", "a")}),
        ("own_checks", {"own_checks": (OwnCheck.MALWARE, OwnCheck.MALWARE)}),
    ],
)
async def test_a_policy_that_makes_no_sense_is_refused_by_its_field(
    world: World, field: str, changes: dict[str, Any]
):
    with pytest.raises(errors.Invalid) as wrong:
        await set_to(world, **changes)
    assert (wrong.value.code, wrong.value.field) == ("import-policy.field.wrong", f"policy.{field}")
    assert (await policies(world).shown()).generation == 0


def meanwhile(world: World, **changes: Any) -> None:
    """Let another policy hold from the end of the next copy on."""

    async def late(ticket: Ticket) -> None:
        del ticket
        await world.documents.put(POLICY, "here", replace(FIRST, **changes))

    world.mover.after = late


ROWS: dict[str, dict[str, Any]] = {
    "policy.partner.untrusted": {"partners": ()},
    "policy.cloud.unlisted": {"partners": (Partner(site="here", clouds=("gamma",)),)},
    "policy.check.missing": {"required_checks": ("malware.scan",)},
    "policy.format.unlisted": {"formats": ("vmdk-stream",)},
}


@pytest.mark.parametrize("code", ROWS)
async def test_what_the_policy_will_refuse_is_told_before_anything_is_touched(world: World, code: str):
    await set_to(world, **ROWS[code])
    found = await blockers(world)
    assert {one.code for one in found} == {code}
    assert {one.subject for one in found} == {"site here"}
    assert all(one.text and one.remedy for one in found)


@pytest.mark.parametrize("code", ROWS)
async def test_the_same_is_refused_where_nobody_told_it(world: World, code: str):
    """A policy that is set while a run copies holds when the image comes to be admitted."""
    meanwhile(world, **ROWS[code])
    await expect_rolled_back(world, await world.migrate(), code)


async def test_what_cannot_be_judged_before_the_copy_is_told(world: World):
    own = world.sealer.key.id()
    partner = Partner(site="here", keys=(own,), max_age_hours=2)
    await set_to(world, partners=(partner,), sbom_required=True)
    found = (await dry_run(world.request(), world.parts)).findings
    (told,) = (one for one in found if one.code == "target.policy.asks")
    assert (told.severity, told.subject) == (Severity.INFO, "site here")
    for said in (f"one of the keys {own[:16]}…", "within 2 h of its seal", "has an SBOM"):
        assert said in told.text


async def test_a_key_that_was_rotated_away_from_the_policy_is_told_before_anything_is_touched(world: World):
    await world.documents.put(
        POLICY, "here", replace(FIRST, partners=(Partner(site="here", keys=("0" * 64,)),))
    )
    (found,) = await blockers(world)
    assert found.code == "policy.key.unlisted"
    assert world.sealer.key.id()[:16] in found.text


async def test_a_policy_that_asks_nothing_special_says_nothing(world: World):
    found = (await dry_run(world.request(), world.parts)).findings
    assert "target.policy.asks" not in {one.code for one in found}


async def test_disks_that_are_too_large_are_told(world: World):
    vm = await world.alpha.vm("web")
    large = replace(vm, disks=tuple(replace(disk, size=2 << 30) for disk in vm.disks))
    policy = replace(FIRST, max_disk_gib=1, max_image_gib=1)
    target = replace(await world.site.describe("beta"), policy=policy)
    codes = {one.code for one in policy_findings(target, Exporter("here", "alpha"), large)}
    assert codes == {"policy.disk.large", "policy.image.large"}


def stricter(world: World, call: str, **changes: Any) -> None:
    """Let another policy hold from just before the run makes this call on."""
    made = getattr(world.site, call)

    async def late(*asked: Any, **named: Any) -> object:
        await world.documents.put(POLICY, "here", replace(FIRST, **changes))
        return await made(*asked, **named)

    between(world, **{call: late})


@pytest.mark.parametrize("call", ["instantiate", "prepare_commit"])
async def test_a_guest_that_nobody_looked_at_does_not_leave_quarantine(world: World, call: str):
    stricter(world, call, own_checks=(OwnCheck.MALWARE,))
    report = await world.migrate()
    await expect_rolled_back(world, report, "policy.own-check.missing")
    assert "was not checked for malware" in report.text
    assert ("check" in world.context.calls) is (call == "prepare_commit")


async def test_what_the_policy_asks_only_once_it_is_verified_is_looked_at_then(world: World):
    stricter(world, "inspect", own_checks=(OwnCheck.PACKAGES,))
    world.inspector.guest = Guest(listed=True)
    assert (await world.migrate()).outcome is RunState.DONE
    assert len(world.inspector.looks) == 1


def test_a_check_that_was_not_passed_is_told_with_its_reason():
    policy = replace(FIRST, own_checks=(OwnCheck.MALWARE,))
    found = Check(name="malware", outcome=Outcome.FAILED, detail="Eicar-Test in /tmp/x")
    with pytest.raises(errors.Refused, match="Eicar-Test in /tmp/x") as caught:
        require_checked(policy, (found,), "web")
    assert caught.value.code == "policy.own-check.failed"
    require_checked(policy, (replace(found, outcome=Outcome.PASSED),), "web")


async def test_new_bytes_ask_for_new_checks(world: World):
    await set_to(world, own_checks=(OwnCheck.PACKAGES,))
    world.inspector.guest = Guest(listed=True)
    assert (await world.migrate()).outcome is RunState.DONE
    ends = Ends(world.documents)
    before = await ends.landing("run-1")
    assert (before.verified, before.passed, len(before.checks)) == (True, True, 1)
    await ends.begin_landing("run-1", Landing(cloud="beta"))
    after = await ends.landing("run-1")
    assert after == replace(before, verified=False, passed=False, image=None, checks=(), inspected=None)


async def test_another_image_asks_for_new_checks(world: World):
    await set_to(world, own_checks=(OwnCheck.PACKAGES,))
    world.inspector.guest = Guest(listed=True)
    assert (await world.migrate()).outcome is RunState.DONE
    ends = Ends(world.documents)
    image = (await ends.landing("run-1")).image
    assert image is not None
    await ends.admitted("run-1", replace(image, envelope="ab" * 32))
    after = await ends.landing("run-1")
    assert (after.verified, after.passed, after.checks, after.inspected) == (False, False, (), None)
    with pytest.raises(errors.Refused) as caught:
        await ends.verified("run-1", image.envelope, Inspected(), ())
    assert caught.value.code == "image.unverified"


async def test_a_policy_that_comes_between_both_commits_does_not_part_them(world: World):
    """Both would be down: the source gave the permit, and the target would say that it has no copy."""
    assert (await world.migrate()).outcome is RunState.DONE
    await set_to(world, own_checks=(OwnCheck.MALWARE,))
    (vm,) = await world.target_vms()
    act = Act(run="run-1", step="prepare-commit", epoch=1)
    assert (await world.site.prepare_commit(act, "beta", vm.id)).kind is StatementKind.PREPARED


async def test_a_check_that_the_site_cannot_make_is_told(world: World):
    await set_to(world, own_checks=(OwnCheck.MALWARE,))
    assert [one.code for one in await blockers(world)] == ["target.check.unable"]


async def test_a_partner_sees_what_is_asked_of_itself_alone(tmp_path: Path):
    both = await two_sites(tmp_path)
    policy = ImportPolicy(
        site="b",
        partners=(Partner(site="b"), Partner(site="a", clouds=("gamma",))),
        forbidden_packages=(ForbiddenPackage(name="xz-utils"),),
    )
    await both.b.documents.put(POLICY, "b", policy)
    described = await (await both.a.site("beta@b")).describe("beta@b")
    assert described.policy == replace(policy, partners=policy.partners[1:], forbidden_packages=())
    found = await dry_run(both.world.request(**request_between("a")), both.world.parts)
    assert [one.code for one in found.findings if one.severity is Severity.BLOCKER] == [
        "policy.cloud.unlisted"
    ]


async def test_a_partner_may_be_named_by_its_keys(tmp_path: Path):
    both = await two_sites(tmp_path)
    key = both.a.keys.sealer.key.id()
    book = ImportPolicies(both.b.local().trust)
    policy = ImportPolicy(site="b", partners=(Partner(site="a", keys=(key,)),))
    assert (await book.set(ImportPolicyRequest(policy=policy))).generation == 1
    assert (await both.world.migrate(None, **request_between("a"))).outcome is RunState.DONE
