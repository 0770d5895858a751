"""What gateways vouch for: when a worker is done, whoever started it signs what it read or wrote.

A worker handles hostile bytes and has no lasting key. The gateway, or this machine where there is none,
adds its own claim to what the worker says last.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from crossport.gateway.office import Authority
from crossport.gateway.trust import GATEWAY, new_key, request_for
from crossport.identity.claim import Kind, signed_claim
from crossport.model import codec
from crossport.model.artifact import Copied, Digest, DiskRef, Moved, Place, Progress, Ticket
from crossport.model.sealing import Claim, ClaimedDisk
from crossport.model.signed_claim import SignedClaim
from crossport.spi.clock import Clock
from crossport.spi.mover import Mover
from crossport.spi.sealing import Claimant
from crossport.spi.secret import Secret
from crossport.transfer import noise
from crossport.transfer.host import Pipe, Way
from crossport.transfer.job import Job
from crossport.transfer.pair import tells_root

__all__ = ["OWN", "ClaimingMover", "ClaimingPipe", "GatewayClaims", "OwnClaims", "own_name"]

OWN = "own-"
"""Begins the names under which nodes claim; the office names no gateway so."""
LIFETIME_S = 30 * 86400.0
_PROBES = (noise.NOISE, noise.VOID)


def own_name(node: str) -> str:
    """Return the name under which the node claims what workers on its own machine did."""
    return OWN + hashlib.sha256(node.encode()).hexdigest()[:12]


class GatewayClaims:
    """A Claimant: a gateway of ``site``, with the certificate and the key (PEM) that it has by now."""

    def __init__(self, site: str, certificate: Callable[[], str], key: Callable[[], Secret]) -> None:
        self._site = site
        self._certificate = certificate
        self._key = key

    def claim(self, run: str, disk: ClaimedDisk, *, written: bool) -> SignedClaim:
        """Return the signed claim."""
        return self._signed(run, disk, Kind.WRITTEN if written else Kind.READ)

    def converted(self, run: str, disk: ClaimedDisk) -> SignedClaim:
        """Return the signed claim."""
        return self._signed(run, disk, Kind.CONVERTED)

    def _signed(self, run: str, disk: ClaimedDisk, kind: Kind) -> SignedClaim:
        claim = Claim(site=self._site, run=run, disks=(disk,))
        return signed_claim(claim, kind, self._certificate(), self._key())


class OwnClaims:
    """A Claimant: this node, for workers on its own machine. Its key is made here and kept nowhere.

    ``clock`` is the site's time.
    """

    def __init__(self, authority: Authority, node: str, clock: Clock) -> None:
        self._authority = authority
        self._name = own_name(node)
        self.clock = clock
        self._key = new_key()
        self._certificate, self._expires = "", 0.0

    def claim(self, run: str, disk: ClaimedDisk, *, written: bool) -> SignedClaim:
        """Return the signed claim."""
        return self._current().claim(run, disk, written=written)

    def converted(self, run: str, disk: ClaimedDisk) -> SignedClaim:
        """Return the signed claim."""
        return self._current().converted(run, disk)

    def _current(self) -> GatewayClaims:
        """Return who signs, with a certificate that is good for long yet."""
        if self.clock.wall() > self._expires - LIFETIME_S / 2:
            request = request_for(self._key)
            signed = self._authority.certify(request, GATEWAY, self._name, lifetime_s=LIFETIME_S)
            self._certificate, self._expires = signed.certificate_pem, signed.expires
        return GatewayClaims(self._authority.site, lambda: self._certificate, lambda: self._key)


class ClaimingPipe:
    """The way to a worker, as `crossport.transfer.host.Pipe`: what it says last comes with a claim."""

    def __init__(self, pipe: Pipe, way: Way, claimant: Claimant) -> None:
        self.name = pipe.name
        self.certificate = pipe.certificate
        self._pipe = pipe
        self._way = way
        self._claimant = claimant
        self._job: Job | None = None

    async def give(self, line: bytes) -> None:
        """Hand the worker a line; the first is its job."""
        if self._job is None and self._way in {"send", "receive"}:
            self._job = Job.of(line)
        await self._pipe.give(line)

    async def said(self) -> dict[str, Any]:
        """Return what the worker says next."""
        said = {name: value for name, value in (await self._pipe.said()).items() if name != "claim"}
        if said.get("event") != "done" or self._job is None or self._job.ticket.ref.kind in _PROBES:
            return said
        if not tells_root(said):
            return said  # whoever reads this refuses it
        return {**said, "claim": codec.plain(self._claim(self._job, said["root"]))}

    def _claim(self, job: Job, found: str) -> SignedClaim:
        hello = job.hello
        disk = ClaimedDisk(id=hello.artifact, size=hello.size, chunk_size=hello.chunk_size, root=found)
        run = job.spoken[1] if job.spoken else hello.run  # as the site calls it that initiated the copy
        return self._claimant.claim(run, disk, written=self._way == "receive")


class ClaimingMover:
    """A mover in this process, whose reading and writing ``claimant`` vouches for."""

    def __init__(self, mover: Mover, claimant: Claimant) -> None:
        self._mover = mover
        self._claimant = claimant

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        """Copy as the mover does."""
        moved = await self._mover.move(read, write, report)
        disk = ClaimedDisk(id=moved.artifact, size=moved.size, chunk_size=moved.chunk_size, root=moved.root)
        return replace(
            moved,
            claim=self._claimant.claim(read.run, disk, written=False),
            arrival=self._claimant.claim(write.run, disk, written=True),
        )

    async def forget(self, run: str) -> None:
        """Forget as the mover does."""
        await self._mover.forget(run)

    async def digest(
        self, ref: DiskRef, place: Place, chunk_size: int, copied: Copied | None = None
    ) -> Digest:
        """Read at rest as the mover does."""
        return await self._mover.digest(ref, place, chunk_size, copied)
