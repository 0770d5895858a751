"""The driver for OpenStack: proves the connection, tells the inventory, shows the serial console.

It has no ability yet to export or to import, and so a migration from or to such a cloud is refused before it
begins; what one would find there is told by `crossport vm` and `crossport assess`.
"""

import asyncio
from typing import Any
from urllib.parse import urlsplit

from crossport import errors
from crossport.clouds.openstack import offer
from crossport.clouds.openstack.client import Client
from crossport.clouds.openstack.server import LOCAL_DISKS, Surroundings, Thing, described, table
from crossport.model.construct import Constructs
from crossport.model.record import record
from crossport.model.vm import VM
from openstack import exceptions as sdk_errors

__all__ = ["OpenStackCloud"]

Things = tuple[Thing, ...]

NOTES = (
    "OpenStack does not tell which firmware and buses its hosts can give: asked for, they may be refused.",
)
_LINE = 16
"""Bytes of a short line of the console: Nova is asked for lines, and told more than are wanted is cut."""


@record()
class _Project:
    """What the token says of itself."""

    id: str
    name: str
    user: str


@record()
class _Wiring:
    """What the network service tells of the project."""

    networks: Things
    subnets: Things
    groups: Things

    def names(self) -> dict[str, str]:
        """Return the names of networks and subnets by their ids."""
        return offer.network_names(self.networks, self.subnets)


class OpenStackCloud:
    """One project in one region of an OpenStack cloud."""

    def __init__(self, name: str, client: Client) -> None:
        self.name = name
        self._client = client

    async def check(self) -> str:
        """Prove that the cloud accepts the credential and has its services; return what answered."""
        services = await self._client.services()
        project = await self._project()
        await self._client.ask(lambda cloud: _dicts(cloud.compute.availability_zones()))
        host = urlsplit(services["compute"]).hostname
        return (
            f"OpenStack at {host}, project {project.name}, as {project.user}: {', '.join(sorted(services))}"
        )

    async def installation(self) -> str:
        """Return the project's id, which no other has, and where the region's compute service is."""
        services = await self._client.services()
        project = await self._project()
        return f"{project.id} {self._client.region or urlsplit(services['compute']).netloc}"

    async def close(self) -> None:
        """Let go of connections. May be called twice."""
        await self._client.close()

    async def constructs(self, project: str = "") -> Constructs:
        """Return what a VM of the credential's project can be mapped to."""
        own = await self._own(project)
        ask = self._client.ask
        wiring, flavors, keys, zones, used, (volumes_used, classes) = await asyncio.gather(
            self._wiring(),
            ask(lambda cloud: _dicts(cloud.compute.flavors(details=True))),
            ask(lambda cloud: _dicts(cloud.compute.keypairs())),
            ask(lambda cloud: _dicts(cloud.compute.availability_zones())),
            ask(lambda cloud: _dict(cloud.compute.get_limits().absolute)),
            self._volume_offer(),
        )
        left = offer.free(used, volumes_used)
        return Constructs(
            cloud=self.name,
            project=own.name,
            zones=tuple(sorted(zone["name"] for zone in zones if zone["state"]["available"])),
            flavors=offer.flavors(flavors),
            networks=offer.networks(wiring.networks, wiring.subnets, wiring.names()),
            security_groups=offer.groups(wiring.groups, offer.group_names(wiring.groups)),
            keys=offer.keys(keys),
            storage_classes=classes or (LOCAL_DISKS,),
            free=left,
            disk_free=left.disk,
            disk_buses=offer.DISK_BUSES,
            nic_models=offer.NIC_MODELS,
            tpm=any(table(one, "extra_specs").get("hw:tpm_version") for one in flavors),
            notes=NOTES,
        )

    async def vms(self, project: str = "") -> tuple[VM, ...]:
        """Return all servers of the project, sorted by name, then id."""
        own = await self._own(project)
        servers = await self._client.ask(lambda cloud: _dicts(cloud.compute.servers(details=True)))
        found = await self._described(servers, own)
        return tuple(sorted(found, key=lambda vm: (vm.name, vm.id)))

    async def vm(self, reference: str) -> VM:
        """Return the server with this id, or the only one with this name."""
        found = [one for one in await self.vms() if reference in {one.id, one.name}]
        exact = [one for one in found if one.id == reference] or found
        if not exact:
            raise errors.NotFound(
                "vm.unknown",
                f"{self.name} has no VM {reference!r}.",
                field="vm",
                remedy=f"See what it has: crossport vm list {self.name}",
            )
        if len(exact) > 1:
            raise errors.Conflict(
                "vm.name.ambiguous",
                f"{len(exact)} VMs of {self.name} are named {reference}.",
                field="vm",
                remedy=f"Give the id of one of them: {', '.join(one.id for one in exact)}",
            )
        return exact[0]

    async def console_log(self, vm_id: str, last_bytes: int = 65536) -> str:
        """Return the end of what the guest has printed."""
        found = await self.vm(vm_id)

        def told(cloud: Any) -> str:
            lines = max(1, last_bytes // _LINE)
            try:
                answer = cloud.compute.get_server_console_output(found.id, length=lines)
            except (sdk_errors.ConflictException, sdk_errors.NotFoundException):
                return ""  # it has not run yet, or keeps none while it is off
            return str(answer.get("output") or "")

        return (await self._client.ask(told)).encode()[-last_bytes:].decode(errors="replace")

    async def _own(self, project: str) -> _Project:
        own = await self._project()
        if project not in {"", own.name, own.id}:
            raise errors.NotFound(
                "project.unknown",
                f"The credential of {self.name} is for the project {own.name} only.",
                field="project",
                remedy=f"Add the project {project} as a cloud of its own.",
            )
        return own

    async def _project(self) -> _Project:
        def token(cloud: Any) -> _Project:
            access = cloud.session.auth.get_access(cloud.session)
            return _Project(id=access.project_id, name=access.project_name, user=access.username)

        return await self._client.ask(token)

    async def _wiring(self) -> _Wiring:
        own = await self._project()
        ask = self._client.ask
        networks, subnets, groups = await asyncio.gather(
            ask(lambda cloud: _dicts(cloud.network.networks())),
            ask(lambda cloud: _dicts(cloud.network.subnets())),
            ask(lambda cloud: _dicts(cloud.network.security_groups(project_id=own.id))),
        )
        # An administrator is told of every project's networks, and can use only these.
        usable = tuple(
            one
            for one in networks
            if own.id == one["project_id"] or one["is_shared"] or one["is_router_external"]
        )
        ids = {one["id"] for one in usable}
        return _Wiring(
            networks=usable, subnets=tuple(one for one in subnets if one["network_id"] in ids), groups=groups
        )

    async def _volume_offer(self) -> tuple[Thing | None, tuple[str, ...]]:
        if not await self._client.has_volumes():
            return None, ()
        ask = self._client.ask
        limits, types = await asyncio.gather(
            ask(lambda cloud: _dict(cloud.block_storage.get_limits().absolute)),
            ask(lambda cloud: _dicts(cloud.block_storage.types())),
        )
        return limits, tuple(sorted(one["name"] for one in types if one["name"] != "__DEFAULT__")) or tuple(
            one["name"] for one in types
        )

    async def _described(self, servers: Things, own: _Project) -> list[VM]:
        ask = self._client.ask
        ids = {str(table(one, "image").get("id") or "") for one in servers} - {""}
        wiring, ports, floating, flavors, images, (volumes, snapshots) = await asyncio.gather(
            self._wiring(),
            ask(lambda cloud: _dicts(cloud.network.ports(project_id=own.id))),
            ask(lambda cloud: _dicts(cloud.network.ips(project_id=own.id))),
            ask(lambda cloud: _dicts(cloud.compute.flavors(details=True))),
            asyncio.gather(*(self._image(image) for image in sorted(ids))),
            self._volumes(),
        )
        around = Surroundings(
            project=own.name,
            images={str(one["id"]): one for one in images if one},
            flavors={str(one["id"]): one for one in flavors},
            volumes=volumes,
            snapshots=snapshots,
            ports=ports,
            floating=floating,
            subnets={str(one["id"]): one for one in wiring.subnets},
            networks=wiring.names(),
            groups=offer.group_names(wiring.groups),
        )
        return [described(server, around) for server in servers]

    async def _image(self, image: str) -> Thing:
        """Return the image as Glance tells it, empty when it is gone: servers outlive their images."""

        def told(cloud: Any) -> Thing:
            try:
                answer = cloud.image.get(f"/images/{image}")
                sdk_errors.raise_from_response(answer)
            except sdk_errors.NotFoundException:
                return {}
            return answer.json()

        return await self._client.ask(told)

    async def _volumes(self) -> tuple[Things, Things]:
        if not await self._client.has_volumes():
            return (), ()
        volumes, snapshots = await asyncio.gather(
            self._client.ask(lambda cloud: _dicts(cloud.block_storage.volumes(details=True))),
            self._client.ask(lambda cloud: _dicts(cloud.block_storage.snapshots(details=True))),
        )
        return volumes, snapshots


def _dict(told: Any) -> Thing:
    return told.to_dict(computed=False)


def _dicts(told: Any) -> Things:
    return tuple(_dict(one) for one in told)
