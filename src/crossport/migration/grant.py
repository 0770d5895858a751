"""Whether a run still has the right to go on, and in which words it is told that it has not. Pure."""

from crossport import errors
from crossport.model.federation import Provider, Subject, TrustRule
from crossport.model.finding import Finding, Severity
from crossport.model.grant import Holder, Loss, RunGrant
from crossport.model.partner import Partner, PartnerState
from crossport.model.record import record

__all__ = ["LATE", "Trusted", "late_finding", "lost", "loss_of", "refused"]

LATE = "grant.late"
"""The code of the finding about a right that was lost behind the commit."""

_WORDS = {
    Loss.REVOKED: "it was revoked",
    Loss.EXPIRED: "its time is over",
    Loss.SIGN_IN: "the identity provider ended the sign-in by which it was begun",
    Loss.RULE: "the trust rule that it hangs on holds no longer",
    Loss.PROVIDER: "the identity provider is believed no longer",
    Loss.TENANT: "the partner's tenant may not act here any more",
    Loss.PARTNER: "the partner is trusted no longer",
}
_REMEDY = "Ask the site's operator for the right, then begin a new run."


@record()
class Trusted:
    """Whom a site believes and lets act at this moment. ``ended`` are whose provider ended their sign-in."""

    rules: tuple[TrustRule, ...] = ()
    providers: tuple[Provider, ...] = ()
    partners: tuple[Partner, ...] = ()
    ended: frozenset[Subject] = frozenset()


def loss_of(grant: RunGrant, trusted: Trusted, now: float) -> Loss | None:
    """Return how the right of ``grant`` is lost, None while it holds. What was lost once stays so."""
    if grant.loss:
        return grant.loss
    found = _of_person(grant.holder, trusted) if grant.holder else _of_partner(grant, trusted)
    return found or (Loss.EXPIRED if grant.until <= now else None)


def _of_person(holder: Holder, trusted: Trusted) -> Loss | None:
    believed = {(each.name, each.issuer) for each in trusted.providers}
    if (holder.rule.provider, holder.subject.issuer) not in believed:
        return Loss.PROVIDER
    if holder.rule not in trusted.rules:
        return Loss.RULE
    return Loss.SIGN_IN if holder.subject in trusted.ended else None


def _of_partner(grant: RunGrant, trusted: Trusted) -> Loss | None:
    partner = next((each for each in trusted.partners if each.name == grant.partner), None)
    if partner is None or partner.state is not PartnerState.ACCEPTED:
        return Loss.PARTNER
    allowed = any(
        (rule.theirs, rule.ours) == (grant.theirs, grant.tenant) and set(grant.clouds) <= set(rule.clouds)
        for rule in partner.tenants
    )
    return None if allowed else Loss.TENANT


def lost(loss: Loss, run: str, where: str = "") -> errors.Cancelled:
    """Return the error with which ``run`` is ended, whose right at the site ``where`` is lost."""
    at = f" at {where}" if where else ""
    return errors.Cancelled(
        "grant.lost", f"Run {run} has no right any more{at}: {_WORDS[loss]}.", field="run", remedy=_REMEDY
    )


def refused(loss: Loss, run: str) -> errors.Refused:
    """Return the error for a partner that goes on with a run whose right is lost."""
    error = lost(loss, run)
    return errors.Refused(error.code, error.text, field=error.field, remedy=error.remedy)


def late_finding(grant: RunGrant, loss: Loss) -> Finding:
    """Return what is told of a right that was lost behind the commit."""
    return Finding(
        "grant.late",
        Severity.WARNING,
        f"vm {grant.about}" if grant.about else f"run {grant.run}",
        f"The right to this run was lost behind its commit ({_WORDS[loss]}): it was finished.",
        "Nothing is taken back by itself. The source is kept: decide whether the VM should stay.",
    )
