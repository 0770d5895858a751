"""Migrations of a real guest over 1 Gbit/s with the seal, and without it, in turn.

Nobody can switch the seal off: here the site's own end is exchanged for one that leaves the source's image
unsealed and admits whatever arrives. All else, the gateways' claims and the reading at rest, is the same.
"""

import asyncio
import base64
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossport.convert.appliance import described
from crossport.convert.ovf_write import descriptor
from crossport.migration.ability import able
from crossport.migration.end import AdmittedImage
from crossport.migration.local_site import LocalSite
from crossport.migration.sealing import OVF
from crossport.model.artifact import Moved
from crossport.model.run import Act
from crossport.model.sealing import Admission, ClaimedDisk, SealedImage
from crossport.model.vm import VM
from crossport.spi.cloud import Inventory
from laboratory import TENANT, WAN_RATE_BPS, Guest, Laboratory, laboratory
from machine import evict
from ways import crossport_way

__all__ = ["SEALED", "UNSEALED", "sealed_moves"]

SEALED, UNSEALED = "sealed", "unsealed"


class _Sealed(LocalSite):
    """The site as it is. How long it took to seal and to admit is told to ``took``."""

    took: Callable[[str, float], None]

    async def seal(self, *given: Any, **named: Any) -> SealedImage:
        began = time.monotonic()
        image = await super().seal(*given, **named)
        self.took("seal_s", time.monotonic() - began)
        return image

    async def admit(self, *given: Any, **named: Any) -> Admission:
        began = time.monotonic()
        admission = await super().admit(*given, **named)
        self.took("admit_s", time.monotonic() - began)
        return admission


class _Unsealed(LocalSite):
    """A site that seals nothing, and takes what comes for what it should be."""

    async def seal(
        self, act: Act, cloud: str, vm: VM, moved: tuple[Moved, ...], importer: str, *, run: str = ""
    ) -> SealedImage:
        constructs = await able(await self._connect(cloud), Inventory).constructs()
        text = descriptor(described(vm, moved, constructs), version=OVF)
        return SealedImage(envelope="", descriptor=base64.b64encode(text).decode())

    async def admit(
        self, act: Act, cloud: str, image: SealedImage, moved: tuple[Moved, ...], *, run: str = ""
    ) -> Admission:
        admission = Admission(site=self.name, key="", made=self._clock.wall(), steps=())
        disks = tuple(
            ClaimedDisk(id=one.artifact, size=one.size, chunk_size=one.chunk_size, root=one.root)
            for one in moved
        )
        taken = AdmittedImage(
            envelope="", descriptor=image.descriptor, disks=disks, admission=admission, accepted=True
        )
        await self._ends.admitted(act.run, taken)
        return admission


async def sealed_moves(folder: Path, cache: Path, guest: Guest, runs: int) -> dict[str, Any]:
    """Return the times of so many migrations each way, and their medians."""
    rows: dict[str, list[dict[str, Any]]] = {SEALED: [], UNSEALED: []}
    async with laboratory(folder) as lab:
        vm = await lab.guest(guest, cache)
        for number in range(2 * runs):
            # Turn about, so that neither way is always the first.
            way = (SEALED, UNSEALED)[(number + number // 2) % 2]
            rows[way].append(await _one(lab, vm, number, way))
            print(f"{way} {number}: {rows[way][-1]['work_s']:.2f} s", file=sys.stderr)
    medians = {
        way: {name: statistics.median(row[name] for row in each) for name in each[0]}
        for way, each in rows.items()
    }
    return {
        "guest": guest.name,
        "link_bps": WAN_RATE_BPS,
        "runs": runs,
        "rows": rows,
        "median": medians,
    }


async def _one(lab: Laboratory, vm: VM, number: int, way: str) -> dict[str, Any]:
    spent = {"seal_s": 0.0, "admit_s": 0.0}

    def took(what: str, seconds: float) -> None:
        spent[what] += seconds

    own_site = type(lab.site.control).own_site

    def site(tenant: str) -> LocalSite:
        made = own_site(lab.site.control, tenant)
        made.__class__ = _Sealed if way == SEALED else _Unsealed
        vars(made)["took"] = took
        return made

    vars(lab.site.control)["own_site"] = site
    await asyncio.to_thread(evict, lab.folder)
    await lab.site.control.dry_run(TENANT, lab.request(vm))
    moved = await crossport_way(lab, vm, number)
    await lab.again(vm, moved.vm)
    return {
        "total_s": moved.total_s,
        "work_s": moved.total_s - moved.boot_s,
        "copy_s": moved.extra["copy_s"],
        "security_s": moved.phases["security_setup"],
        **spent,
        "bytes_sent": moved.extra["bytes_sent"],
        "bytes_read": moved.extra["bytes_read"],
    }
