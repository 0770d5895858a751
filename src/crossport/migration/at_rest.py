"""Reading at rest: what a copy has written, and the stopped source that it came from."""

from crossport import errors
from crossport.model.artifact import Artifact, Copied, Moved, Place
from crossport.spi.mover import Mover
from crossport.spi.site import Compared

__all__ = ["AtRest", "named"]


class AtRest:
    """Reads what lies at one place of a tenant."""

    def __init__(self, mover: Mover, place: Place) -> None:
        self._mover = mover
        self._place = place

    async def check(self, run: str, artifacts: tuple[Artifact, ...], moved: tuple[Moved, ...]) -> None:
        """Raise Refused when what lies there is not what the source sent. Nothing is read twice in vain."""
        by_name = named(artifacts, moved, self._place.cloud)
        for one in moved:
            copied = Copied(self._place.tenant, run, one.artifact)
            ref, cloud = by_name[one.artifact].ref, self._place.cloud
            root = (await self._mover.digest(ref, self._place, one.chunk_size, copied)).root
            if root != one.root:
                raise errors.Refused(
                    "image.digest.mismatch",
                    f"{one.artifact} at {cloud} is not what the source sent: {root[:16]}… instead of "
                    f"{one.root[:16]}….",
                    remedy="Nothing was started. Migrate again; if it repeats, suspect the target's storage.",
                )

    async def compare(self, artifacts: tuple[Artifact, ...], moved: tuple[Moved, ...]) -> Compared:
        """Read all of the artifacts; return which are not what arrived."""
        by_name = named(artifacts, moved, self._place.cloud)
        read, differing = 0, list[str]()
        for one in moved:
            found = await self._mover.digest(by_name[one.artifact].ref, self._place, one.chunk_size)
            read += found.read
            if found.root != one.root:
                differing.append(one.artifact)
        return Compared(read=read, differing=tuple(differing))


def named(artifacts: tuple[Artifact, ...], moved: tuple[Moved, ...], cloud: str) -> dict[str, Artifact]:
    """Return the artifacts by name; raise Refused when one that was moved is not among them, or
    two have the same name."""
    by_name = {artifact.name: artifact for artifact in artifacts}
    if len(by_name) < len(artifacts):  # then one could be read, and the other started
        names = [artifact.name for artifact in artifacts]
        twice = next(name for name in by_name if names.count(name) > 1)
        raise errors.Refused(
            "image.artifact.twice",
            f"{cloud} holds more than one {twice} of this run.",
            remedy="Begin a new run: this one made room twice for the same.",
        )
    for one in moved:
        if one.artifact not in by_name:
            raise errors.Refused(
                "image.artifact.missing",
                f"{cloud} does not hold {one.artifact} of this run.",
                remedy="Begin a new run: something has removed it.",
            )
    return by_name
