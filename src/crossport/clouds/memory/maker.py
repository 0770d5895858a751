"""Make simulated clouds for a site: each tenant's in a directory of its own."""

import shutil
from pathlib import Path

from crossport import errors
from crossport.clouds.memory.cloud import MemoryCloud
from crossport.model.construct import EXPORT_SUBNET, IMPORT_SUBNET, Constructs, Flavor, Network, Quota
from crossport.model.request import CloudEntry, CloudRequest
from crossport.spi.making import own_place, place_in, vms_left
from crossport.units import GIB, MIB

__all__ = ["MemoryMaker"]

DRIVER = "memory"
NETWORKS = (Network(name="private", cidr="10.40.0.0/24", gateway="10.40.0.1"),)
RESERVED = (
    Network(name=EXPORT_SUBNET, cidr="192.0.2.0/28", reserved=True),
    Network(name=IMPORT_SUBNET, cidr="192.0.2.16/28", reserved=True),
)
QUOTA = Quota(vms=50, cpus=64, memory=64 * GIB, disk=1024 * GIB)


class MemoryMaker:
    """Implements `crossport.spi.making.CloudMaker` below the directory ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def make(self, tenant: str, request: CloudRequest) -> CloudEntry:
        """Make the cloud."""
        root = place_in(self._folder, tenant) / request.name
        if root.exists():
            raise errors.Conflict(
                "cloud.exists",
                f"There is a cloud in {root} already.",
                field="name",
                remedy="Choose another name, or destroy that cloud first.",
            )
        quota = request.quota or QUOTA
        MemoryCloud(request.name, root).found(
            Constructs(
                cloud=request.name,
                project=tenant,
                zones=request.zones,
                flavors=(Flavor(name="small", cpus=1, memory=256 * MIB, disk=GIB),),
                networks=(*(request.networks or NETWORKS), *RESERVED),
                security_groups=(),
                keys=request.keys,
                storage_classes=("standard",),
                free=quota,
                disk_free=quota.disk,
            )
        )
        return CloudEntry(name=request.name, driver=DRIVER, settings={"path": str(root)})

    async def unmake(self, tenant: str, entry: CloudEntry, *, confirmed: bool) -> tuple[str, ...]:
        """Say what the cloud has, and remove it when that is ``confirmed``."""
        root = own_place(place_in(self._folder, tenant), entry, DRIVER)
        if not root.exists():
            return (f"cloud {entry.name} (its directory {root} is gone)",)
        cloud = MemoryCloud(entry.name, root)
        if vms := await cloud.vms():
            raise vms_left(entry.name, vms)
        things = (f"cloud {entry.name} in {root}", *(f"image {one.name}" for one in await cloud.images()))
        if confirmed:
            shutil.rmtree(root)
        return things
