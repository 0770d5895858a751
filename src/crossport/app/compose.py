"""The composition root: what a site is made of by the settings. Everything else gets its parts handed in."""

import os
from pathlib import Path

from crossport.api import Services, Tokens
from crossport.app.master_key import MasterSource
from crossport.app.partner_parts import partner_address
from crossport.app.seal_place import seal_place
from crossport.app.settings import Settings, secret_text
from crossport.app.site import OpenSite, SiteSettings
from crossport.authorize import PolicyAuthorizer
from crossport.authorize import opened as policy_book
from crossport.engine.runs import RunFilter
from crossport.inspector import Clamd
from crossport.migration.grants import GrantTerms
from crossport.migration.hook import Command, Webhook
from crossport.migration.import_policies import ImportPolicies
from crossport.model.run import RunState
from crossport.spi.authorize import Authorizer
from crossport.spi.secret import Secret
from crossport.transfer.egress import Egress

__all__ = ["authorizer_of", "is_active", "services_of", "site_settings"]

NOBODY = ""
"""No tenant: what is asked is the site's."""
UNDER_WAY = (RunState.QUEUED, RunState.RUNNING, RunState.WAITING)


def site_settings(settings: Settings, master: MasterSource) -> SiteSettings:
    """Return what the settings say of the site itself. A webhook's secret is read from its file."""
    return SiteSettings(
        name=settings.site_name,
        state_dir=settings.home / "control",
        database_url=settings.database_url,
        node=settings.node or settings.site_name,
        keep_days=settings.keep_days,
        keep_runs=settings.keep_runs,
        stock_size=settings.stock_size,
        images_most=settings.published_images,
        egress=Egress(
            settings.egress,
            authorities=secret_text(settings.egress_ca, "egress_ca") if settings.egress_ca else "",
        ),
        fetch_size=settings.upload_size,
        partner_address=partner_address(settings),
        grant_terms=GrantTerms(settings.grant_hours, settings.partner_grant_hours),
        authorizer=authorizer_of(settings),
        master=master,
        seal=seal_place(settings, os.environ),
        scanner=Clamd(settings.clamd, settings.clamd_file_size) if settings.clamd else None,
        look=settings.look,
        commands={
            name: Command(argv=hook.command, timeout_s=hook.timeout_s)
            for name, hook in settings.hooks.items()
            if hook.command
        },
        webhooks={
            name: Webhook(
                hook.url, Secret(secret_text(hook.secret_file, f"hooks.{name}.secret_file")), hook.timeout_s
            )
            for name, hook in settings.hooks.items()
            if hook.url
        },
    )


def services_of(
    site: OpenSite, tokens: Tokens, authorizer: Authorizer, *, audit_reads: bool = False
) -> Services:
    """Return what the site's API makes reachable."""
    return Services(
        control=site.control,
        gateways=site.hub,
        tokens=tokens,
        rates=site.rates,
        making=site.making,
        keys=site.keys,
        trust=site.partners.office,
        served=site.served,
        imports=ImportPolicies(site.control.own_site(NOBODY).trust),
        federation=site.federation,
        grants=site.grants,
        audit=site.engine.audit,
        authorizer=authorizer,
        book=site.engine.audit,
        heads=site.heads,
        audit_reads=audit_reads,
    )


def authorizer_of(settings: Settings) -> PolicyAuthorizer:
    """Return what decides by the shipped policies and the operator's; raise Invalid naming what is wrong."""
    return PolicyAuthorizer(policy_book(Path(settings.policies) if settings.policies else None))


async def is_active(site: OpenSite) -> bool:
    """Say whether a run is under way that must not be ended."""
    return bool((await site.engine.runs.list(RunFilter(states=UNDER_WAY), limit=1)).runs)
