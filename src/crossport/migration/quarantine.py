"""What arrived, until its guest may go to its networks: read, looked into, started behind a wall, opened.

Reading at rest and the look into the guest go on at once: both only read what nobody writes any more. Who
executes the run may be a partner that leaves a call out, makes it twice, or names another VM. So what stands
in the way is asked for where it would be passed, and never taken from an answer that was given before.
"""

import asyncio
import base64
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from crossport import errors
from crossport.convert.ovf_read import read_descriptor
from crossport.migration.admission import require_checked
from crossport.migration.belongings import copy_of
from crossport.migration.end import AdmittedImage, Ends, Landing
from crossport.migration.inspecting import GuestInspection, SealedGuest, checks_of
from crossport.model.artifact import Artifact, Place
from crossport.model.inspection import Inspected
from crossport.model.run import Act
from crossport.spi.cloud import NewVM
from crossport.spi.run import Ledger

__all__ = ["Quarantine", "require_passed", "require_whole"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Quarantine:
    """The quarantine of one site."""

    ends: Ends
    ledger: Ledger
    inspection: GuestInspection

    async def arrived(
        self,
        act: Act,
        image: AdmittedImage,
        artifacts: tuple[Artifact, ...],
        place: Place,
        reading: Coroutine[Any, Any, None],
    ) -> None:
        """Let ``reading`` compare what lies there with what was sent, and look into the guest meanwhile.

        Both are noted. Raise what either raises; a fault of the reading is told first: in a copy that is not
        what was sent anything may be found.
        """
        found = await _beside(reading, self._inspected(image, artifacts, place))
        await self.ends.verified(act.run, image.envelope, found, checks_of(found))

    async def look(
        self, act: Act, image: AdmittedImage, artifacts: tuple[Artifact, ...], place: Place
    ) -> Inspected:
        """Look into the guest for what the policy asks by now, and note it."""
        found = await self._inspected(image, artifacts, place)
        await self.ends.verified(act.run, image.envelope, found, checks_of(found))
        return found

    async def _inspected(
        self, image: AdmittedImage, artifacts: tuple[Artifact, ...], place: Place
    ) -> Inspected:
        facts = read_descriptor(base64.b64decode(image.descriptor)).appliance.guest
        sealed = SealedGuest(base64.b64decode(image.sbom), facts)
        return await self.inspection.inspect(artifacts, place, sealed)

    async def require_unstarted(self, act: Act, cloud: str) -> None:
        """Raise Refused when the guest was started: then its disks say what it wrote there itself."""
        if any(thing.kind == "vm" for thing in await self.ledger.entries(act.run, cloud)):
            raise errors.Refused(
                "inspect.guest.started",
                "The guest was started: what its disks say now is what it wrote there itself.",
                remedy="Migrate it again: it is read, and looked into, before it is started.",
            )

    async def require_checked(self, landing: Landing, vm: str) -> None:
        """Raise Refused unless the guest passed all that the policy wants it to be checked for."""
        require_checked(await self.inspection.trust.policy(), landing.checks, vm)

    async def has(self, act: Act, cloud: str, vm_id: str) -> bool:
        """Say whether the run itself made that VM."""
        return bool(vm_id) and copy_of(await self.ledger.entries(act.run, cloud)) == vm_id


def require_whole(run: str, image: AdmittedImage, new: NewVM) -> None:
    """Raise Refused unless ``new`` is made of what was admitted: all of it, and nothing beside."""
    wanted, sealed = sorted(one.name for one in new.artifacts), sorted(disk.id for disk in image.disks)
    if wanted != sealed:
        raise errors.Refused(
            "image.unsealed",
            f"A VM shall be started of {', '.join(wanted) or 'nothing'}, and the seal is over "
            f"{', '.join(sealed)}.",
            remedy=f"Nothing was started. See how far it is with: crossport run show {run}",
        )


def require_passed(run: str, landing: Landing, *, own: bool) -> None:
    """Raise Refused unless this site has stated that its copy may be opened, and it is the run's ``own``."""
    if landing.passed and own:
        return
    raise errors.Refused(
        "permit.copy.unprepared",
        f"Nothing of run {run} is opened: this site has not stated that its copy passed and stands here.",
        remedy=f"The copy stays in quarantine. See both ends with: crossport run show {run}",
    )


async def _beside(reading: Coroutine[Any, Any, None], looking: Coroutine[Any, Any, T]) -> T:
    """Return what ``looking`` returns once both are done; when the reading fails, the look is ended."""
    look = asyncio.create_task(looking)
    try:
        await reading
        return await look
    finally:
        look.cancel()
        await asyncio.gather(look, return_exceptions=True)
