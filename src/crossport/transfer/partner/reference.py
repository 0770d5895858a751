"""What a partner is told instead of where a disk lies: a word that means something to this site alone."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

from crossport import errors
from crossport.model import codec
from crossport.model.artifact import Artifact, DiskRef
from crossport.model.record import record
from crossport.spi.document import Documents
from crossport.transfer.journals import shelf

__all__ = ["PARTNER", "References", "opaque"]

PARTNER = "partner"
"""The kind of a reference that only the site that made it can open."""
_KIND = "partner-reference"
_REMEDY = "Begin the run anew: its partner opens its disks again."


@record()
class _Kept:
    partner: str
    run: str
    artifact: Artifact


class References:
    """The references that partners were given, kept in the site's documents.

    A partner that comes back with an artifact gets what was kept of it, never what it says.
    """

    def __init__(self, documents: Callable[[], Documents]) -> None:
        """``documents`` is asked at each use."""
        self._documents = documents

    async def shown(self, partner: str, run: str, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        """Return the artifacts of this site's ``run`` as ``partner`` may see them; the same at each call."""
        return tuple([await self._shown(_Kept(partner=partner, run=run, artifact=one)) for one in artifacts])

    async def known(self, partner: str, run: str, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        """Return what ``partner`` was shown as these artifacts.

        Raise Refused (``transfer.reference.foreign``) for one that it was not shown in this run.
        """
        return tuple([await self._known(partner, run, one) for one in artifacts])

    async def forget(self, run: str) -> None:
        """Let nobody come back with artifacts of ``run``."""
        documents = self._documents()
        while found := await documents.list(_KIND, _Kept, prefix=f"{shelf(run)}/"):
            for one in found:
                await documents.delete(_KIND, one.key)

    async def _shown(self, kept: _Kept) -> Artifact:
        word = hashlib.sha256(codec.encoded(kept).encode()).hexdigest()
        await self._documents().put(_KIND, f"{shelf(kept.run)}/{word}", kept)
        ref = kept.artifact.ref
        told = DiskRef(kind=PARTNER, locator=word, size=ref.size, identity=opaque(ref.identity))
        return replace(kept.artifact, ref=told)

    async def _known(self, partner: str, run: str, artifact: Artifact) -> Artifact:
        key = f"{shelf(run)}/{artifact.ref.locator}"
        try:
            kept = (await self._documents().fetch(_KIND, key, _Kept)).value
        except errors.NotFound:
            kept = None
        if (
            kept is None
            or artifact.ref.kind != PARTNER
            or (kept.partner, kept.run) != (partner, run)
            or (kept.artifact.name, kept.artifact.role) != (artifact.name, artifact.role)
        ):
            raise errors.Refused(
                "transfer.reference.foreign",
                f"{partner} was not shown this {artifact.name[:40]!r} in this run.",
                remedy=_REMEDY,
            )
        return kept.artifact


def opaque(identity: str) -> str:
    """Return what a partner is told of a volume's identity: another one when it is another volume."""
    return hashlib.sha256(identity.encode()).hexdigest()[:32] if identity else ""
