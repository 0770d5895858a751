"""Decisions of the shipped policies: who may, who may not, which policy says so; and hostile names."""

from dataclasses import replace

import pytest

from crossport import errors
from crossport.authorize import PolicyAuthorizer, PolicyBook, opened
from crossport.authorize.cedar import Schema
from crossport.authorize.policy_text import policies
from crossport.model.access import Right, Role
from crossport.model.authorization import Decision, Principal, Question, Resource

AUTHORIZER = PolicyAuthorizer(opened())
OPERATOR = Principal(
    tenant="acme", token="3f9a", role=Role.OPERATOR, rights=frozenset({Right.READ, Right.OPERATE})
)
METACHARACTERS = (
    '"',
    '\\"',
    '"]}, {"uid": {"type": "Right", "id": "site"}}',
    '") or true; permit(principal, action, resource); //',
    '::"x"',
    "a\nb",
    "a\x00b",
    "*",
    "\u202eacme",
    "\U0001f600" * 200,
    "x" * 100_000,
)
LOOK_ALIKES = ("аcme", "acme\u200b", "ａｃｍｅ", "acme ", "ACME", "acme\u0301", "")


def asked(
    operation: str, principal: Principal = OPERATOR, *, tenant: str = "acme", **known: object
) -> Decision:
    """Return what is decided about a thing of ``tenant``."""
    resource = Resource(kind=operation.partition(".")[0], tenant=tenant, **known)  # type: ignore[arg-type]
    return AUTHORIZER.decide(Question(principal=principal, operation=operation, resource=resource))


def with_rights(*rights: Right) -> Principal:
    return Principal(tenant="acme", token="3f9a", rights=frozenset(rights))


@pytest.mark.parametrize("right", list(Right))
def test_each_right_permits_its_operations_and_no_others(right: Right):
    one = {
        Right.READ: "run.show",
        Right.OPERATE: "run.cancel",
        Right.ADMINISTER: "cloud.add",
        Right.RETIRE: "source.retire",
        Right.SITE: "key.rotate",
    }
    allowed = {operation for operation in one.values() if asked(operation, with_rights(right)).allowed}
    assert allowed == {one[right]}
    assert asked(one[right], with_rights(right)).policies == (f"right.{right}",)


def test_a_denial_names_the_policy_that_would_permit_and_its_reason():
    decision = asked("source.retire")
    assert decision == Decision(
        allowed=False,
        policies=(),
        lacking=("right.retire",),
        reason="It takes the right retire, which no role includes: it is given to a token by name.",
    )


def test_another_tenants_things_are_denied_whatever_the_rights():
    everything = with_rights(*Right)
    assert asked("run.cancel", everything).allowed
    decision = asked("run.cancel", everything, tenant="other")
    assert (decision.allowed, decision.policies) == (False, ("tenant.isolation",))


def test_tokens_of_another_tenant_are_for_the_right_site():
    administer = with_rights(Right.ADMINISTER)
    assert asked("token.create", administer, tenant="other").policies == ("tenant.isolation",)
    assert asked("token.create", with_rights(Right.ADMINISTER, Right.SITE), tenant="other").allowed


def test_a_ceiling_of_clouds_holds_for_what_lies_elsewhere_and_what_is_not_known():
    bound = Principal(tenant="acme", rights=OPERATOR.rights, clouds=("alpha", "beta"))
    assert asked("vm.start", bound, clouds=("alpha",)).allowed
    assert asked("migration.start", bound, clouds=("alpha", "beta")).allowed
    for clouds in (("gamma",), ("alpha", "gamma"), ()):
        assert asked("vm.start", bound, clouds=clouds).policies == ("ceiling.clouds",), clouds
    assert asked("site.show", bound).allowed
    nothing = Principal(tenant="acme", rights=OPERATOR.rights, clouds=())
    assert asked("vm.start", nothing, clouds=("alpha",)).policies == ("ceiling.clouds",)


def test_a_ceiling_of_runs_holds_for_all_other_runs_and_all_that_is_none():
    bound = Principal(tenant="acme", rights=OPERATOR.rights, runs=("r1",))
    assert asked("run.cancel", bound, run="r1").allowed
    assert asked("run.cancel", bound, run="r2").policies == ("ceiling.runs",)
    for operation in ("vm.start", "cloud.show", "migration.start"):
        assert asked(operation, bound).policies == ("ceiling.runs",), operation


def test_who_is_bound_sees_the_lists_of_its_tenant():
    for caller in (replace(OPERATOR, runs=("r1",)), replace(OPERATOR, clouds=("alpha",))):
        for operation in ("run.list", "cloud.list", "grant.list", "site.show"):
            assert asked(operation, caller).allowed, operation
        assert asked("run.list", caller, tenant="other").policies == ("tenant.isolation",)


@pytest.mark.parametrize("operation", ["end.export", "end.import", "end.serve"])
def test_a_partner_serves_itself_within_its_rule_and_nobody_else_does(operation: str):
    north = Principal(tenant="acme", partner="north", clouds=("alpha",))
    assert asked(operation, north, clouds=("alpha",)).policies == ("partner.tenant-rule",)
    for clouds in (("beta",), ("alpha", "beta"), ()):
        assert asked(operation, north, clouds=clouds).policies == ("ceiling.clouds",), clouds
    assert asked(operation, north, tenant="other", clouds=("alpha",)).policies == ("tenant.isolation",)
    unruled = Principal(tenant="acme", partner="north")
    for caller in (with_rights(*Right), unruled):
        assert not asked(operation, caller, clouds=("alpha",)).allowed
    for other in ("run.show", "vm.delete", "partner.allow"):
        assert not asked(other, north, clouds=("alpha",)).allowed


@pytest.mark.parametrize("text", METACHARACTERS)
def test_no_name_is_read_as_anything_but_a_name(text: str):
    stranger = Principal(tenant=text, token=text, subject=text, issuer=text, clouds=(text,), runs=(text,))
    assert not asked("run.cancel", stranger, tenant=text, id=text, clouds=(text,), run=text).allowed
    known = Principal(tenant=text, token=text, rights=OPERATOR.rights, clouds=(text,), runs=(text,))
    assert asked("run.cancel", known, tenant=text, id=text, clouds=(text,), run=text).allowed
    assert asked("run.cancel", known, id=text, clouds=(text,), run=text).policies == ("tenant.isolation",)


@pytest.mark.parametrize("tenant", LOOK_ALIKES)
def test_a_tenant_that_only_looks_the_same_is_another(tenant: str):
    assert asked("run.show", tenant=tenant).policies == ("tenant.isolation",)


def test_a_text_that_cannot_be_written_in_unicode_permits_nothing():
    with pytest.raises(errors.Broken) as told:
        asked("run.show", id="\ud800")
    assert told.value.code == "authorization.question.invalid"


def test_huge_sets_are_decided():
    clouds = tuple(f"cloud-{number}" for number in range(5000))
    bound = Principal(tenant="acme", rights=OPERATOR.rights, clouds=clouds)
    assert asked("migration.start", bound, clouds=clouds).allowed


def test_an_operation_without_a_rule_is_refused_at_the_start():
    AUTHORIZER.require(["run.cancel", "key.list"])
    for operation in ("run.explode", "rocket.launch"):
        with pytest.raises(errors.Broken) as told:
            AUTHORIZER.require(["run.cancel", operation])
        assert (told.value.code, told.value.field) == ("authorization.operation.unruled", operation)


def test_a_policy_that_fails_while_it_forbids_permits_nothing():
    book = opened()
    text = (
        '@id("odd") @reason("Odd.") forbid (principal, action, resource) '
        "when { 9223372036854775807 + (if principal == resource then 0 else 1) > 0 };"
    )
    (odd,) = policies(text, "odd.cedar", Schema(book.schema))
    authorizer = PolicyAuthorizer(PolicyBook(schema=book.schema, policies={**book.policies, "odd": odd}))
    question = Question(
        principal=OPERATOR, operation="run.show", resource=Resource(kind="run", tenant="acme")
    )
    with pytest.raises(errors.Broken) as told:
        authorizer.decide(question)
    assert told.value.code == "authorization.evaluation.failed"
    assert "odd" not in told.value.text
