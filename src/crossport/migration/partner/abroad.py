"""The partners' ends of this site's runs: which site a cloud belongs to, and what is known of it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import structlog

from crossport import errors
from crossport.migration.partner.foreign import RunEnd
from crossport.migration.partner.notary import Evidence, Notary
from crossport.migration.partner.remote_site import RemoteSite
from crossport.migration.standing import Standing
from crossport.model.grant import Granted
from crossport.model.name import parted
from crossport.model.run import MigrationRequest

__all__ = ["Abroad", "abroad_site", "at_home"]

ASK_S = 10.0
"""How long the end of a run waits for a partner to say as whom it served it."""
log: Any = structlog.get_logger("crossport.abroad")


class Abroad:
    """Asks partners. ``remote`` returns the site of a partner for a tenant of ours: (tenant, partner)."""

    def __init__(self, remote: Callable[[str, str], RemoteSite], notary: Notary) -> None:
        self._remote = remote
        self._notary = notary

    def site(self, tenant: str, partner: str) -> RemoteSite:
        """Return a partner's site, as it serves this tenant."""
        return self._remote(tenant, partner)

    async def standing(self, tenant: str, run: str, cloud: str, vm: str) -> Standing:
        """Return how the end of ``run`` at a partner's cloud stands; with ``vm`` it is the source's."""
        which = RunEnd.SOURCE if vm else RunEnd.TARGET
        return await self._remote(tenant, parted(cloud)[1]).standing(run, cloud, which, vm)

    async def tenants(self, request: MigrationRequest, run: str) -> dict[str, str]:
        """Return as which tenant of its site each partner's cloud served ``run``.

        One that does not answer now is left out: a run does not end otherwise for that.
        """
        found = dict[str, str]()
        for cloud, vm in ((request.source, request.vm), (request.target, "")):
            if not parted(cloud)[1]:
                continue
            try:
                async with asyncio.timeout(ASK_S):
                    told = await self.standing(request.tenant, run, cloud, vm)
            except (errors.Error, TimeoutError) as error:
                log.warning("partner.tenant.untold", run=run, cloud=cloud, reason=str(error))
                continue
            if told.tenant:
                found[cloud] = told.tenant
        return found

    async def granted(self, tenant: str, run: str, cloud: str) -> Granted:
        """Return whether ``run`` still has its right at the partner's ``cloud``."""
        return await self._remote(tenant, parted(cloud)[1]).granted(run, cloud)

    async def evidence(self, run: str) -> tuple[Evidence, ...]:
        """Return what both sides have signed."""
        return await self._notary.evidence(run)

    async def forget(self, run: str) -> None:
        """Drop what both sides have signed."""
        await self._notary.forget(run)


def abroad_site(abroad: Abroad | None, tenant: str, partner: str) -> RemoteSite:
    """Return a partner's site; raise NotFound where this site has no partners at all."""
    if abroad is None:
        raise errors.NotFound(
            "partner.unknown",
            f"This site has no partner {partner}.",
            field="partner",
            remedy="Name a cloud of this site, or let both sites accept one another.",
        )
    return abroad.site(tenant, partner)


def at_home(request: MigrationRequest, site: str) -> MigrationRequest:
    """Return the request with the clouds of ``site`` by their own names; raise Invalid if it has none."""
    source, target = _own(request.source, site), _own(request.target, site)
    if "@" in source and "@" in target:
        raise errors.Invalid(
            "migrate.partner.both",
            f"Neither {source} nor {target} is a cloud of this site, {site}.",
            field="target",
            remedy="Ask one of the two sites that the clouds belong to.",
        )
    return replace(request, source=source, target=target)


def _own(cloud: str, site: str) -> str:
    name, owner = parted(cloud)
    return name if owner == site else cloud
