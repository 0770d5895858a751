"""Find an object of a web server by way of a worker, so that it can be read as a disk."""

from typing import Any

from crossport import errors
from crossport.model.artifact import DiskRef, Place
from crossport.transfer.egress import Guard
from crossport.transfer.host import WorkerHost
from crossport.transfer.job import LookJob
from crossport.transfer.meter import number

__all__ = ["WebLook"]

_TIMEOUT_S = 60.0


class WebLook:
    """Looks with the workers that ``host`` starts, at what ``egress`` admits."""

    def __init__(self, host: WorkerHost, egress: Guard) -> None:
        self._host = host
        self._egress = egress

    async def look(self, url: str, place: Place) -> DiskRef:
        """Return the object at ``url``, as it is now, as a disk that a worker at ``place`` can read.

        Raise as the guard does, NotFound and Refused as the server answers, Refused for one without ranges.
        """
        sought = DiskRef(kind="http", locator=url, size=0)
        async with self._host.started("look", sought, place) as worker:
            worker.egress = self._egress
            await worker.give(LookJob(url, _TIMEOUT_S).line())
            said: dict[str, Any] = await worker.event("done")
        identity = said.get("identity")
        if not isinstance(identity, str) or len(identity) > 1024:
            raise errors.Broken(
                "transfer.worker.malformed", "A worker told no sound identity.", remedy=errors.SAME_RELEASE
            )
        return DiskRef(kind="http", locator=url, size=number(said, "size"), identity=identity)
