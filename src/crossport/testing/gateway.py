"""Gateways in memory: what `crossport.spi.gateway.Gateways` promises, without any that could connect."""

import hashlib
from dataclasses import replace

from crossport import errors
from crossport.model.gateway import EnrollRequest, Enrolment, Gateway
from crossport.spi.clock import Clock

__all__ = ["MemoryGateways"]

INVITED_S = 600.0
LIFETIME_S = 30 * 86400.0


class MemoryGateways:
    """Keeps gateways until the process ends. `joined` stands for a gateway that comes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._invited: dict[str, tuple[str, Enrolment]] = {}
        self._kept: dict[str, tuple[str, Gateway]] = {}

    async def enroll(self, tenant: str, request: EnrollRequest) -> Enrolment:
        """Let one new gateway join."""
        digest = hashlib.sha256(f"{len(self._invited)}".encode()).hexdigest()
        enrolment = Enrolment(
            gateway=f"gw-{digest[:12]}",
            cloud=request.cloud,
            subnet=request.subnet,
            expires=self._clock.wall() + INVITED_S,
            fingerprint=digest,
            join=f"crossport-join-1.{digest}",
        )
        self._invited[enrolment.gateway] = (tenant, enrolment)
        return enrolment

    async def joined(self, enrolment: Enrolment) -> None:
        """Let the gateway come that was enrolled."""
        tenant, known = self._invited[enrolment.gateway]
        self._kept[known.gateway] = (
            tenant,
            Gateway(
                id=known.gateway,
                cloud=known.cloud,
                subnet=known.subnet,
                joined=self._clock.wall(),
                expires=self._clock.wall() + LIFETIME_S,
            ),
        )

    async def says(self, gateway: str, *, connected: bool, jobs: int) -> None:
        """Let a gateway be there, or not, with so many jobs."""
        tenant, kept = self._kept[gateway]
        self._kept[gateway] = (tenant, replace(kept, connected=connected, jobs=jobs))

    async def gateways(self, tenant: str) -> tuple[Gateway, ...]:
        """Return those that joined, by id."""
        return tuple(gateway for _, (owner, gateway) in sorted(self._kept.items()) if owner == tenant)

    async def gateway(self, tenant: str, id: str) -> Gateway:  # noqa: A002 - the record's own word
        """Return one."""
        owner, gateway = self._kept.get(id, ("", None))
        if gateway is None or owner != tenant:
            raise errors.NotFound(
                "gateway.unknown",
                f"There is no gateway {id}.",
                field="gateway",
                remedy="See `crossport gateway list`.",
            )
        return gateway

    async def drain(self, tenant: str, id: str) -> Gateway:  # noqa: A002
        """Let it begin no new copy."""
        gateway = replace(await self.gateway(tenant, id), draining=True)
        self._kept[id] = (tenant, gateway)
        return gateway

    async def remove(self, tenant: str, id: str) -> None:  # noqa: A002
        """Trust it no longer."""
        await self.gateway(tenant, id)
        del self._kept[id]
