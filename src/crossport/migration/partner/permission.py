"""Which rule lets a partner make a call here, and whether the policies of this site allow it."""

from crossport import errors
from crossport.migration.partner.foreign import ForeignRun, RunEnd, foreign_id
from crossport.migration.partner.serving import Ask
from crossport.model.authorization import Decision, Principal, Question, Resource
from crossport.model.partner import Partner, TenantRule
from crossport.spi.authorize import Authorizer

__all__ = ["OPERATIONS", "permitted"]

OPERATIONS = {RunEnd.SOURCE: "end.export", RunEnd.TARGET: "end.import", RunEnd.NONE: "end.serve"}
"""What a call is for policies: by the end at which it makes something, else serve.

So a policy against the first two lets what has begun be rolled back and cleaned up.
"""


def permitted(
    partner: Partner, ask: Ask, run: str, authorizer: Authorizer, known: ForeignRun | None = None
) -> TenantRule:
    """Return the rule by which the partner's tenant acts here on this cloud; raise Refused.

    ``run`` is the partner's word for the run of the call, empty for a call without one. In a run that is
    ``known`` here its tenant acts as it did when it began, whatever the rules are now: whether it may still
    go on is said by its grant, and it can be taken back in any case.
    """
    rule = _of(known) if known and _begun(known, ask) else _rule(partner, ask)
    makes = ask.end if ask.MAKES else RunEnd.NONE
    principal = Principal(tenant=rule.ours, partner=partner.name, clouds=rule.clouds)
    here = foreign_id(partner.name, run) if run else ""
    resource = Resource(kind="end", tenant=rule.ours, id=here, clouds=(ask.cloud,), run=here)
    question = Question(principal=principal, operation=OPERATIONS[makes], resource=resource)
    decision = authorizer.decide(question)
    if not decision.allowed:
        raise _denied(partner, ask, decision)
    return rule


def _denied(partner: Partner, ask: Ask, decision: Decision) -> errors.Refused:
    by = f" ({', '.join(decision.policies)})" if decision.policies else ""
    return errors.Refused(
        "partner.policy.denied",
        f"Tenant {ask.tenant} of {partner.name} may not do this here{by}: {decision.reason}",
        field="tenant",
        remedy="The operator of this site decides that by its policies.",
    )


def _begun(known: ForeignRun, ask: Ask) -> bool:
    return (known.theirs, known.cloud) == (ask.tenant, ask.cloud)


def _of(known: ForeignRun) -> TenantRule:
    return TenantRule(theirs=known.theirs, ours=known.tenant, clouds=(known.cloud,))


def _rule(partner: Partner, ask: Ask) -> TenantRule:
    rules = [rule for rule in partner.tenants if rule.theirs == ask.tenant]
    if not rules:
        raise errors.Refused(
            "partner.tenant.none",
            f"Tenant {ask.tenant} of {partner.name} acts as nobody here.",
            field="tenant",
            remedy=f"The operator of this site allows it: crossport trust allow {partner.name}",
        )
    for rule in rules:
        if ask.cloud in rule.clouds:
            return rule
    raise errors.Refused(
        "partner.cloud.none",
        f"Tenant {ask.tenant} of {partner.name} may not use a cloud {ask.cloud} here.",
        field="cloud",
        remedy=f"The operator of this site allows it: crossport trust allow {partner.name}",
    )
