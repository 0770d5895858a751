"""The clouds of each tenant: kept in the site's documents, their secrets apart, connected when needed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Protocol

from crossport import errors
from crossport.migration.local_site import ABILITIES
from crossport.model.record import record
from crossport.model.request import CloudEntry, CloudStatus
from crossport.spi.cloud import Cloud, Identified
from crossport.spi.document import Document, Documents
from crossport.spi.driver import Connect
from crossport.spi.secret import Secret, Secrets

__all__ = ["CloudRegistry"]

KIND = "cloud"
INSTALLATION = "installation"
SECRET_SETTINGS = ("password", "secret", "token", "key", "yaml")
"""A setting whose last word is one of these is kept sealed, and shown as a reference only.

A clouds.yaml holds a password, a kubeconfig and their like a key.
"""


@record()
class Installation:
    """What the cloud ``name`` is a connection to."""

    name: str
    id: str


class Keeper(Protocol):
    """What keeps documents once it is open: the engine."""

    @property
    def documents(self) -> Documents:
        """Return them; not before it is open."""
        ...


class CloudRegistry:
    """Clouds by tenant and name. Connections are shared, and made anew when an entry changes."""

    def __init__(self, drivers: Mapping[str, Connect], engine: Keeper, secrets: Secrets) -> None:
        self._drivers = drivers
        self._engine = engine
        self._secrets = secrets
        self._connected: dict[tuple[str, str], tuple[CloudEntry, Cloud]] = {}
        self._connecting = asyncio.Lock()
        self.users: list[Callable[[str, str], Awaitable[None]]] = []
        """Each raises Conflict ``cloud.in-use`` while it uses a cloud: (tenant, name)."""

    @property
    def _documents(self) -> Documents:
        return self._engine.documents  # there once the engine is open

    async def add(self, tenant: str, entry: CloudEntry) -> CloudStatus:
        """Connect, and keep the entry when the cloud answers."""
        if entry.driver not in self._drivers:
            raise errors.Invalid(
                "cloud.driver.unknown",
                f"There is no driver {entry.driver}.",
                field="driver",
                remedy=f"Installed are: {', '.join(sorted(self._drivers))}.",
            )
        if entry.name in [known.name for known in await self.entries(tenant)]:
            raise _taken(entry.name)
        _check_references(tenant, entry)
        kept = await self._without_secrets(tenant, entry)
        try:
            status, installation = await self._tried(kept)
            await self._need_new(tenant, installation)
        except errors.Error:
            await self._forget_secrets(tenant, kept)
            raise
        try:
            await self._documents.put(KIND, _key(tenant, entry.name), kept, generation=0)
        except errors.Conflict:
            raise _taken(entry.name) from None
        if installation.id:
            await self._documents.put(INSTALLATION, _key(tenant, entry.name), installation)
        return status

    async def _tried(self, entry: CloudEntry) -> "tuple[CloudStatus, Installation]":
        cloud = await self._drivers[entry.driver](entry, self._secrets)
        try:
            status = await _status(entry, cloud)
            found = await cloud.installation() if isinstance(cloud, Identified) else ""
            return status, Installation(name=entry.name, id=found and f"{entry.driver} {found}")
        finally:
            await cloud.close()

    async def _need_new(self, tenant: str, installation: "Installation") -> None:
        """Raise Conflict when the tenant has the installation under another name."""
        names = {entry.name for entry in await self.entries(tenant)}
        for known in await self._documents.list(INSTALLATION, Installation, prefix=f"{tenant}/"):
            if installation.id and known.value.id == installation.id and known.value.name in names:
                raise errors.Conflict(
                    "cloud.installation.known",
                    f"This is the cloud that is connected as {known.value.name} already.",
                    field="settings",
                    remedy=f"Use {known.value.name}, or remove it first: a VM must not be moved from a cloud "
                    "to itself.",
                )

    async def _without_secrets(self, tenant: str, entry: CloudEntry) -> CloudEntry:
        settings = dict(entry.settings)
        for name, value in entry.settings.items():
            if name.replace("-", "_").split("_")[-1] in SECRET_SETTINGS and not value.startswith("secret:"):
                reference = f"cloud/{tenant}/{entry.name}/{name}"
                await self._secrets.put(reference, Secret(value))
                settings[name] = f"secret:{reference}"
        return replace(entry, settings=settings)

    async def entries(self, tenant: str) -> tuple[CloudEntry, ...]:
        """Return the tenant's clouds, by name."""
        documents = await self._documents.list(KIND, CloudEntry, prefix=f"{tenant}/")
        return tuple(document.value for document in documents)

    async def check(self, tenant: str, name: str) -> CloudStatus:
        """Ask the cloud now; one that does not answer is a bad status, not an error."""
        entry = (await self._document(tenant, name)).value
        try:
            cloud = await self.cloud(tenant, name)
            return await _status(entry, cloud)
        except (errors.Unavailable, errors.Refused) as error:
            return CloudStatus(entry=entry, good=False, text=str(error))

    async def need_unused(self, tenant: str, name: str) -> None:
        """Raise Conflict ``cloud.in-use`` while one of its users needs the cloud."""
        for user in self.users:
            await user(tenant, name)

    async def remove(self, tenant: str, name: str) -> None:
        """Forget the cloud and its secrets, unless one of its users needs it."""
        entry = (await self._document(tenant, name)).value
        await self.need_unused(tenant, name)
        await self._documents.delete(KIND, _key(tenant, name))
        await self._documents.delete(INSTALLATION, _key(tenant, name))
        await self._forget_secrets(tenant, entry)
        _, cloud = self._connected.pop((tenant, name), (None, None))
        if cloud:
            await cloud.close()

    async def _forget_secrets(self, tenant: str, entry: CloudEntry) -> None:
        for value in entry.settings.values():
            if value.startswith(_references(tenant, entry.name)):
                await self._secrets.forget(value.removeprefix("secret:"))

    async def cloud(self, tenant: str, name: str) -> Cloud:
        """Return the connection to a cloud; raise NotFound ``cloud.unknown``."""
        entry = (await self._document(tenant, name)).value
        async with self._connecting:
            known, cloud = self._connected.get((tenant, name), (None, None))
            if cloud is None or known != entry:
                if cloud:  # another node has changed the entry; whoever uses this one tries again
                    await cloud.close()
                cloud = await self._connect(entry)
                self._connected[tenant, name] = (entry, cloud)
            return cloud

    async def _connect(self, entry: CloudEntry) -> Cloud:
        connect = self._drivers.get(entry.driver)
        if connect is None:
            raise errors.Unavailable(
                "cloud.driver.missing",
                f"The driver {entry.driver} of {entry.name} is not installed here.",
                remedy="Install the package that has it, then start the site anew.",
            )
        return await connect(entry, self._secrets)

    async def close(self) -> None:
        """Close all connections."""
        connected, self._connected = self._connected, {}
        for _, cloud in connected.values():
            await cloud.close()

    async def _document(self, tenant: str, name: str) -> Document[CloudEntry]:
        try:
            return await self._documents.fetch(KIND, _key(tenant, name), CloudEntry)
        except errors.NotFound:
            known = ", ".join(entry.name for entry in await self.entries(tenant)) or "none yet"
            raise errors.NotFound(
                "cloud.unknown",
                f"There is no cloud {name}.",
                field="cloud",
                remedy=f"Known are: {known}. Add one with: crossport cloud add",
            ) from None


async def _status(entry: CloudEntry, cloud: Cloud) -> CloudStatus:
    """Ask ``cloud`` and return what it said."""
    text = await cloud.check()
    abilities = tuple(kind.__name__ for kind in ABILITIES if isinstance(cloud, kind))
    return CloudStatus(entry=entry, good=True, text=text, abilities=abilities)


def _references(tenant: str, name: str) -> str:
    return f"secret:cloud/{tenant}/{name}/"


def _check_references(tenant: str, entry: CloudEntry) -> None:
    """Refuse references to secrets that are not this cloud's own: its address is the tenant's choice."""
    for name, value in entry.settings.items():
        if value.startswith("secret:") and not value.startswith(_references(tenant, entry.name)):
            raise errors.Refused(
                "cloud.secret.foreign",
                "A cloud may only refer to secrets of its own.",
                field=f"settings.{name}",
                remedy="Give the secret itself; it is kept sealed.",
            )


def _key(tenant: str, name: str) -> str:
    return f"{tenant}/{name}"


def _taken(name: str) -> errors.Conflict:
    return errors.Conflict(
        "cloud.name.taken",
        f"There is already a cloud {name}.",
        field="name",
        remedy="Choose another name, or remove that one first.",
    )
