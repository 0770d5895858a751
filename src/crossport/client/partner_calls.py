"""The calls about partners that the API answers, by the names of ``spi.trust.Trust``."""

from crossport.client.call import Call, Page, path
from crossport.model.partner import (
    AcceptRequest,
    AuthorityRequest,
    Compromise,
    CompromiseRequest,
    ConfirmRequest,
    InviteRequest,
    PartnerInvitation,
    ShownPartner,
    TenantRule,
)
from crossport.model.partner_run import CleanRequest, PartnerRun
from crossport.spi.site import Cleaned

__all__ = [
    "accept_partner",
    "allow_tenant",
    "clean_partner_run",
    "compromise_partner",
    "confirm_partner",
    "disallow_tenant",
    "forget_partner",
    "invite_partner",
    "partner",
    "partner_run",
    "partner_runs",
    "partners",
    "revoke_partner",
    "rotate_authority",
]


def invite_partner(request: InviteRequest) -> Call[PartnerInvitation]:
    """Let one site exchange keys with this one."""
    return Call("POST", path("partner-invitations"), PartnerInvitation, request)


def accept_partner(request: AcceptRequest) -> Call[ShownPartner]:
    """Exchange keys with the site that wrote the invitation."""
    return Call("POST", path("partners"), ShownPartner, request)


def confirm_partner(partner: str, request: ConfirmRequest) -> Call[ShownPartner]:
    """Trust a site that exchanged keys."""
    return Call("POST", path("partners", partner, "confirm"), ShownPartner, request)


def partners(after: str = "") -> Call[Page[ShownPartner]]:
    """List partners."""
    return Call("GET", path("partners"), Page[ShownPartner], query={"after": after} if after else {})


def partner(partner: str) -> Call[ShownPartner]:
    """Show one partner."""
    return Call("GET", path("partners", partner), ShownPartner)


def allow_tenant(partner: str, request: TenantRule) -> Call[ShownPartner]:
    """Let a tenant of the partner act here."""
    return Call("POST", path("partners", partner, "tenants"), ShownPartner, request)


def disallow_tenant(partner: str, theirs: str) -> Call[ShownPartner]:
    """Let a tenant of the partner act here no longer."""
    return Call("DELETE", path("partners", partner, "tenants", theirs), ShownPartner)


def rotate_authority(request: AuthorityRequest) -> Call[Page[ShownPartner]]:
    """Make a new authority for the link, and tell it to partners."""
    return Call("POST", path("partner-authority"), Page[ShownPartner], request)


def revoke_partner(partner: str) -> Call[ShownPartner]:
    """Trust a partner no longer."""
    return Call("POST", path("partners", partner, "revoke"), ShownPartner)


def compromise_partner(partner: str, request: CompromiseRequest) -> Call[Compromise]:
    """Trust a partner no longer because its keys were in other hands."""
    return Call("POST", path("partners", partner, "compromise"), Compromise, request)


def forget_partner(partner: str) -> Call[None]:
    """Keep nothing of a site that is not trusted."""
    return Call("DELETE", path("partners", partner), None)


def partner_runs(partner: str = "", after: str = "") -> Call[Page[PartnerRun]]:
    """List runs of partners that have an end here."""
    query = {name: value for name, value in (("partner", partner), ("after", after)) if value}
    return Call("GET", path("partner-runs"), Page[PartnerRun], query=query)


def partner_run(run: str) -> Call[PartnerRun]:
    """Show one, by this site's word for it."""
    return Call("GET", path("partner-runs", run), PartnerRun)


def clean_partner_run(run: str, request: CleanRequest) -> Call[Cleaned]:
    """Remove what one left here."""
    return Call("POST", path("partner-runs", run, "clean"), Cleaned, request, patience_s=600.0)
