"""Make embedded clouds for a site, with sane defaults: each tenant's in a directory of its own."""

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from crossport import errors
from crossport.clouds.local.driver import LocalCloud
from crossport.clouds.local.making import create, destroy
from crossport.clouds.local.offer import checked_key, need_fit
from crossport.clouds.local.spec import CloudSpec, Layout
from crossport.clouds.local.state import kept_facts
from crossport.clouds.local.uid_range import RangeBook, usual
from crossport.model.construct import EXPORT_SUBNET, IMPORT_SUBNET
from crossport.model.request import CloudEntry, CloudRequest
from crossport.spi.making import own_place, place_in, vms_left
from crossport.spi.secret import Secret
from crossport.units import size_text

__all__ = ["LocalMaker"]

DRIVER = "local"
RESERVED = {EXPORT_SUBNET, IMPORT_SUBNET}


class LocalMaker:
    """Implements `crossport.spi.making.CloudMaker` below the directory ``folder``.

    ``token`` returns fresh random text.
    """

    def __init__(self, folder: Path, token: Callable[[], str]) -> None:
        self._folder = folder
        self._token = token
        self._ranges = RangeBook(folder / ".uid-ranges", self._ranges_of_clouds)

    def _ranges_of_clouds(self) -> Iterator[tuple[int, Path]]:
        """Return the range of users of each cloud that lies here, and where it lies."""
        for file in self._folder.glob("*/*/state.db"):
            facts = kept_facts(file)
            if "id" in facts:  # a cloud of an older release has the usual one
                yield int(facts.get("uid-range") or usual(facts["id"])), file.parent

    async def make(self, tenant: str, request: CloudRequest) -> CloudEntry:
        """Make the cloud; its service starts with the first call."""
        spec = _spec(request)
        root = place_in(self._folder, tenant) / spec.name
        await asyncio.to_thread(create, root, spec, Secret(self._token()), self._ranges)
        return CloudEntry(name=spec.name, driver=DRIVER, settings={"path": str(root)})

    async def unmake(self, tenant: str, entry: CloudEntry, *, confirmed: bool) -> tuple[str, ...]:
        """Say what the cloud has, and remove it when that is ``confirmed``."""
        root = own_place(place_in(self._folder, tenant), entry, DRIVER)
        if not Layout(root).state.exists():
            return (f"cloud {entry.name} (its directory {root} is gone)",)
        things = await _contents(entry.name, root)
        if confirmed:
            await destroy(root, must_be_empty=True)
        return things


def _spec(request: CloudRequest) -> CloudSpec:
    """Return the cloud with everything checked that a person said."""
    spec = CloudSpec(name=request.name, zones=request.zones, network=request.isolation)
    spec.check()
    for number, network in enumerate(request.networks):
        others = request.networks[:number]
        field = f"networks[{number}]"
        if network.reserved or network.name in RESERVED | {one.name for one in others}:
            raise errors.Conflict(
                "network.exists",
                f"There is a network {network.name} already.",
                field=f"{field}.name",
                remedy="Give each network a name of its own.",
            )
        need_fit(network, others, f"{field}.cidr")
    if not request.zones or not all(request.zones) or len(set(request.zones)) < len(request.zones):
        raise errors.Invalid(
            "zone.name.wrong", "Zones need names, each its own.", field="zones", remedy="Name at least one."
        )
    quota = request.quota or spec.quota
    for field in ("vms", "cpus", "memory", "disk"):
        if getattr(quota, field) < 0:
            raise errors.Invalid(
                "quota.negative",
                "No quota is below 0.",
                field=f"quota.{field}",
                remedy="Give 0 or more.",
            )
    keys = tuple(checked_key(key) for key in request.keys)
    networks = request.networks or spec.networks
    return dataclasses.replace(spec, networks=networks, quota=quota, keys=keys)


async def _contents(name: str, root: Path) -> tuple[str, ...]:
    cloud = LocalCloud(name, root, Secret((root / "token").read_text().strip()))
    try:
        vms, images = await cloud.vms(), await cloud.images()
    finally:
        await cloud.close()
    if vms:
        raise vms_left(name, vms)
    return (f"cloud {name} in {root}", *(f"image {one.name} ({size_text(one.size)})" for one in images))
