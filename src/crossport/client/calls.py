"""Every call that the API answers, by the names of ``spi.control.Control``."""

from typing import Any

from crossport.client.call import Call, Page, path
from crossport.model.access import NewToken, ShownToken, TokenRequest
from crossport.model.audit import KeptRecord
from crossport.model.construct import Constructs, Image
from crossport.model.exchange import (
    AssessmentRequest,
    Console,
    Destruction,
    FetchRequest,
    ResolveRequest,
    Retirement,
    StopRequest,
)
from crossport.model.federation import NewProvider, Provider, TrustRule
from crossport.model.gateway import EnrollRequest, Enrolment, Gateway
from crossport.model.greeting import Greeting
from crossport.model.head import AuditProof, SignedHead
from crossport.model.limit import LinkLimit, LinkLimitStatus, RunLimit
from crossport.model.plan import Plan, PlanCheck, PlanStatus
from crossport.model.request import (
    Assessment,
    CloudEntry,
    CloudRequest,
    CloudStatus,
    DryRun,
    Evidence,
    ResolveAs,
    VmRequest,
)
from crossport.model.role import RevokeRequest, RotateRequest, SiteKeys
from crossport.model.run import Created, MigrationReport, MigrationRequest, RunRecord, RunState
from crossport.model.vm import VM
from crossport.spi.site import Cleaned

__all__ = [
    "add_cloud",
    "add_provider",
    "add_rule",
    "assess",
    "audit_heads",
    "audit_record",
    "audit_records",
    "cancel",
    "check_cloud",
    "check_plan",
    "clean",
    "cloud",
    "clouds",
    "console",
    "constructs",
    "create_cloud",
    "create_token",
    "create_vm",
    "cut_over",
    "decide",
    "delete_image",
    "destroy_cloud",
    "destruction",
    "drain_gateway",
    "delete_vm",
    "deletion",
    "dry_run",
    "enroll_gateway",
    "evidence",
    "finish_test",
    "gateway",
    "gateways",
    "images",
    "keys",
    "ledger",
    "limit_run",
    "limits",
    "migrate",
    "plan",
    "plan_status",
    "plans",
    "providers",
    "put_plan",
    "remove_cloud",
    "remove_limit",
    "remove_plan",
    "remove_provider",
    "remove_rule",
    "remove_gateway",
    "report",
    "resolve",
    "resume",
    "retire",
    "retirement",
    "revoke_key",
    "revoke_token",
    "rotate_key",
    "rules",
    "run",
    "run_plan",
    "runs",
    "site",
    "set_limit",
    "sign_audit",
    "start_vm",
    "stop_vm",
    "tokens",
    "fetch_image",
    "upload_image",
    "vm",
    "vms",
]

LIMIT = 200
"""Items that are asked for at once."""
LONG_S = 900.0
"""How long to wait for what looks at every VM of a cloud, or boots one."""


def site() -> Call[Greeting]:
    """Who serves, and what may I do?"""
    return Call("GET", path("site"), Greeting)


def clouds(after: str = "") -> Call[Page[CloudEntry]]:
    """List clouds."""
    return Call("GET", path("clouds"), Page[CloudEntry], query=_page(after))


def cloud(name: str) -> Call[CloudEntry]:
    """Show a cloud."""
    return Call("GET", path("clouds", name), CloudEntry)


def add_cloud(entry: CloudEntry) -> Call[CloudStatus]:
    """Connect a cloud."""
    return Call("POST", path("clouds"), CloudStatus, entry)


def check_cloud(name: str) -> Call[CloudStatus]:
    """Ask a cloud whether it answers."""
    return Call("GET", path("clouds", name, "status"), CloudStatus)


def remove_cloud(name: str) -> Call[None]:
    """Forget a cloud."""
    return Call("DELETE", path("clouds", name), None)


def create_cloud(request: CloudRequest) -> Call[CloudStatus]:
    """Make an embedded cloud."""
    return Call("POST", path("embedded-clouds"), CloudStatus, request, patience_s=LONG_S)


def destruction(name: str) -> Call[Destruction]:
    """Say what destroying an embedded cloud would remove."""
    return Call("GET", path("clouds", name, "destruction"), Destruction, patience_s=LONG_S)


def destroy_cloud(name: str) -> Call[Destruction]:
    """Destroy an embedded cloud."""
    return Call("POST", path("clouds", name, "destruction"), Destruction, patience_s=LONG_S)


def images(cloud: str, after: str = "") -> Call[Page[Image]]:
    """List the images of a cloud."""
    return Call("GET", path("clouds", cloud, "images"), Page[Image], query=_page(after), patience_s=LONG_S)


def upload_image(cloud: str, name: str, image_format: str) -> Call[Image]:
    """Take an image in; its bytes are handed to `Client.upload`."""
    query = {"format": image_format}
    return Call("PUT", path("clouds", cloud, "images", name), Image, query=query, patience_s=LONG_S)


def fetch_image(cloud: str, name: str, request: FetchRequest, key: str) -> Call[RunRecord]:
    """Have a run take in as an image what a web server has."""
    where = path("clouds", cloud, "images", name)
    return Call("POST", where, RunRecord, request, key=key, patience_s=LONG_S)


def delete_image(cloud: str, name: str) -> Call[None]:
    """Delete an image."""
    return Call("DELETE", path("clouds", cloud, "images", name), None, patience_s=LONG_S)


def constructs(cloud: str) -> Call[Constructs]:
    """Show what a VM can be mapped to."""
    return Call("GET", path("clouds", cloud, "constructs"), Constructs)


def vms(cloud: str, after: str = "") -> Call[Page[VM]]:
    """List the VMs of a cloud."""
    return Call("GET", path("clouds", cloud, "vms"), Page[VM], query=_page(after))


def vm(cloud: str, vm: str) -> Call[VM]:
    """Show a VM."""
    return Call("GET", path("clouds", cloud, "vms", vm), VM)


def create_vm(cloud: str, request: VmRequest, key: str) -> Call[VM]:
    """Make and start a VM."""
    return Call("POST", path("clouds", cloud, "vms"), VM, request, key=key, patience_s=LONG_S)


def start_vm(cloud: str, vm: str) -> Call[VM]:
    """Start a VM."""
    return Call("POST", path("clouds", cloud, "vms", vm, "start"), VM, patience_s=LONG_S)


def stop_vm(cloud: str, vm: str, request: StopRequest) -> Call[VM]:
    """Stop a VM."""
    patience_s = request.shutdown_s + 60
    return Call("POST", path("clouds", cloud, "vms", vm, "stop"), VM, request, patience_s=patience_s)


def deletion(cloud: str, vm: str, *, force_off: bool) -> Call[Destruction]:
    """Say what deleting a VM would remove."""
    query = {"force_off": "true"} if force_off else {}
    return Call("GET", path("clouds", cloud, "vms", vm, "deletion"), Destruction, query=query)


def delete_vm(cloud: str, vm: str, *, force_off: bool) -> Call[Destruction]:
    """Delete a VM with its disks."""
    query = {"force_off": "true"} if force_off else {}
    return Call(
        "POST", path("clouds", cloud, "vms", vm, "deletion"), Destruction, query=query, patience_s=LONG_S
    )


def console(cloud: str, vm: str) -> Call[Console]:
    """Show the end of a VM's console log."""
    return Call("GET", path("clouds", cloud, "vms", vm, "console"), Console)


def assess(source: str, target: str = "") -> Call[Assessment]:
    """Judge all VMs of a cloud."""
    request = AssessmentRequest(source=source, target=target)
    return Call("POST", path("assessments"), Assessment, request, patience_s=LONG_S)


def dry_run(request: MigrationRequest) -> Call[DryRun]:
    """Say what a migration would do."""
    return Call("POST", path("dry-runs"), DryRun, request, patience_s=LONG_S)


def migrate(request: MigrationRequest, key: str) -> Call[RunRecord]:
    """Start a migration."""
    return Call("POST", path("migrations"), RunRecord, request, key=key, patience_s=LONG_S)


def runs(
    *, state: RunState | None = None, kind: str = "", vm: str = "", after: str = ""
) -> Call[Page[RunRecord]]:
    """List runs, newest first."""
    chosen = {"state": state.value if state else "", "kind": kind, "vm": vm}
    query = {name: value for name, value in chosen.items() if value}
    return Call("GET", path("runs"), Page[RunRecord], query=_page(after) | query)


def run(run: str) -> Call[RunRecord]:
    """Show a run."""
    return Call("GET", path("runs", run), RunRecord)


def report(run: str) -> Call[MigrationReport]:
    """Return the report of a run that is final."""
    return _on_run("GET", run, "report", MigrationReport)


def evidence(run: str) -> Call[Evidence]:
    """Return all that is known about a run in doubt."""
    return _on_run("GET", run, "evidence", Evidence)


def ledger(run: str) -> Call[Page[Created]]:
    """List what the run created."""
    return _on_run("GET", run, "ledger", Page[Created])


def cancel(run: str) -> Call[RunRecord]:
    """Ask the run to stop."""
    return _on_run("POST", run, "cancel", RunRecord)


def resume(run: str) -> Call[RunRecord]:
    """Try a run that needs attention again."""
    return _on_run("POST", run, "resume", RunRecord)


def decide(run: str, *, commit: bool) -> Call[RunRecord]:
    """Commit or roll back a run that waits for it."""
    return _on_run("POST", run, "commit" if commit else "rollback", RunRecord)


def cut_over(run: str) -> Call[RunRecord]:
    """Let a warm migration shut its source down."""
    return _on_run("POST", run, "cutover", RunRecord)


def resolve(run: str, outcome: ResolveAs) -> Call[RunRecord]:
    """End a run that needs attention as a person says."""
    return Call("POST", path("runs", run, "resolve"), RunRecord, ResolveRequest(outcome=outcome))


def clean(run: str) -> Call[Cleaned]:
    """Remove what the run left behind."""
    return Call("POST", path("runs", run, "clean"), Cleaned, patience_s=LONG_S)


def finish_test(run: str) -> Call[Cleaned]:
    """Remove the copy of a test migration."""
    return Call("POST", path("runs", run, "finish-test"), Cleaned, patience_s=LONG_S)


def retirement(run: str) -> Call[Retirement]:
    """Say what retiring the source would delete."""
    return _on_run("GET", run, "retirement", Retirement)


def retire(run: str) -> Call[Retirement]:
    """Delete the retained source."""
    return Call("POST", path("runs", run, "retirement"), Retirement, patience_s=LONG_S)


def plans(after: str = "") -> Call[Page[Plan]]:
    """List plans."""
    return Call("GET", path("plans"), Page[Plan], query=_page(after))


def plan(name: str) -> Call[Plan]:
    """Show a plan."""
    return Call("GET", path("plans", name), Plan)


def put_plan(plan: Plan) -> Call[Plan]:
    """Keep a plan."""
    return Call("POST", path("plans"), Plan, plan)


def remove_plan(name: str) -> Call[None]:
    """Forget a plan."""
    return Call("DELETE", path("plans", name), None)


def check_plan(name: str) -> Call[PlanCheck]:
    """Dry-run every VM of a plan."""
    return Call("POST", path("plans", name, "check"), PlanCheck, patience_s=LONG_S)


def run_plan(name: str, key: str) -> Call[RunRecord]:
    """Start a plan."""
    return Call("POST", path("plans", name, "run"), RunRecord, key=key, patience_s=LONG_S)


def plan_status(name: str) -> Call[PlanStatus]:
    """Say how far a plan is."""
    return Call("GET", path("plans", name, "status"), PlanStatus)


def limits(after: str = "") -> Call[Page[LinkLimitStatus]]:
    """List the limits of links."""
    return Call("GET", path("limits"), Page[LinkLimitStatus], query=_page(after))


def set_limit(limit: LinkLimit) -> Call[LinkLimitStatus]:
    """Limit a link."""
    return Call("POST", path("limits"), LinkLimitStatus, limit)


def remove_limit(source: str, target: str) -> Call[None]:
    """Take a link's limit away."""
    return Call("DELETE", path("limits", source, target), None)


def limit_run(run: str, limit: RunLimit) -> Call[RunLimit]:
    """Limit a run."""
    return Call("POST", path("runs", run, "limit"), RunLimit, limit)


def keys() -> Call[SiteKeys]:
    """Return the role document."""
    return Call("GET", path("keys"), SiteKeys)


def rotate_key(request: RotateRequest) -> Call[SiteKeys]:
    """Let a new key follow."""
    return Call("POST", path("keys", "rotate"), SiteKeys, request)


def revoke_key(request: RevokeRequest) -> Call[SiteKeys]:
    """Revoke a key."""
    return Call("POST", path("keys", "revoke"), SiteKeys, request)


def audit_records(
    run: str = "", action: str = "", after: str = "", limit: int = 500
) -> Call[Page[KeptRecord]]:
    """Return records of the audit log, by number."""
    query = {"run": run, "action": action, "after": after, "limit": str(limit)}
    return Call("GET", path("audit"), Page[KeptRecord], query={k: v for k, v in query.items() if v})


def audit_record(number: int) -> Call[AuditProof]:
    """Return a record and its proof."""
    return Call("GET", path("audit", "records", str(number)), AuditProof)


def audit_heads(site: str = "", after: str = "") -> Call[Page[SignedHead]]:
    """Return the heads that the site keeps of a log."""
    query = {"site": site, "after": after}
    return Call("GET", path("audit", "heads"), Page[SignedHead], query={k: v for k, v in query.items() if v})


def sign_audit() -> Call[SignedHead]:
    """Have the audit log signed as it is now."""
    return Call("POST", path("audit", "heads"), SignedHead)


def tokens(after: str = "") -> Call[Page[ShownToken]]:
    """List tokens."""
    return Call("GET", path("tokens"), Page[ShownToken], query=_page(after))


def create_token(request: TokenRequest) -> Call[NewToken]:
    """Make a token."""
    return Call("POST", path("tokens"), NewToken, request)


def revoke_token(token: str) -> Call[None]:
    """Make a token worthless."""
    return Call("DELETE", path("tokens", token), None)


def providers(after: str = "") -> Call[Page[Provider]]:
    """List identity providers."""
    return Call("GET", path("identity", "providers"), Page[Provider], query=_page(after))


def add_provider(provider: NewProvider) -> Call[Provider]:
    """Believe an identity provider."""
    return Call("POST", path("identity", "providers"), Provider, provider)


def remove_provider(name: str) -> Call[None]:
    """Believe an identity provider no longer."""
    return Call("DELETE", path("identity", "providers", name), None)


def rules(after: str = "") -> Call[Page[TrustRule]]:
    """List trust rules."""
    return Call("GET", path("identity", "rules"), Page[TrustRule], query=_page(after))


def add_rule(rule: TrustRule) -> Call[TrustRule]:
    """Let a trust rule hold."""
    return Call("POST", path("identity", "rules"), TrustRule, rule)


def remove_rule(name: str) -> Call[None]:
    """Let a trust rule hold no longer."""
    return Call("DELETE", path("identity", "rules", name), None)


def enroll_gateway(request: EnrollRequest) -> Call[Enrolment]:
    """Let one new gateway join."""
    return Call("POST", path("gateways"), Enrolment, request)


def gateways(after: str = "") -> Call[Page[Gateway]]:
    """List gateways."""
    return Call("GET", path("gateways"), Page[Gateway], query=_page(after))


def gateway(gateway: str) -> Call[Gateway]:
    """Show one gateway."""
    return Call("GET", path("gateways", gateway), Gateway)


def drain_gateway(gateway: str) -> Call[Gateway]:
    """Let a gateway begin no new copy."""
    return Call("POST", path("gateways", gateway, "drain"), Gateway)


def remove_gateway(gateway: str) -> Call[None]:
    """Trust a gateway no longer."""
    return Call("DELETE", path("gateways", gateway), None)


def _on_run(method: str, run: str, action: str, kind: Any) -> Call[Any]:
    return Call(method, path("runs", run, action), kind)


def _page(after: str) -> dict[str, str]:
    return {"limit": str(LIMIT)} | ({"after": after} if after else {})
