"""The simple mover: two confined worker processes, one per end, joined by one TLS connection."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from crossport.model.artifact import DiskRef, Moved, Place, Progress, Ticket
from crossport.spi.clock import Clock
from crossport.spi.secret import Secret, Secrets

__all__ = ["Certificates", "Credential", "Settings", "SimpleMover"]


class Credential(Protocol):
    """A short-lived certificate with its key."""

    @property
    def certificate_pem(self) -> str: ...
    @property
    def key_pem(self) -> Secret: ...
    @property
    def fingerprint(self) -> str: ...


class Certificates(Protocol):
    """Who makes them: ``identity.SiteIdentity``."""

    @property
    def authority_pem(self) -> str: ...
    def issue(self, role: str, name: str, *, lifetime_s: float = 3600) -> Credential: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """How copies are made."""

    chunk_size: int = 256 << 10


class SimpleMover:
    """Copies as `crossport.spi.mover.Mover` says."""

    def __init__(
        self,
        certificates: Certificates,
        clock: Clock,
        secrets: Secrets | None = None,
        settings: Settings | None = None,
    ) -> None: ...

    async def move(self, read: Ticket, write: Ticket, report: Callable[[Progress], None]) -> Moved:
        """Copy all that ``read`` gives to ``write``."""
        raise NotImplementedError

    async def digest(self, ref: DiskRef, place: Place, chunk_size: int = 256 << 10) -> str:
        """Return the hex Merkle root over ``ref``'s first ``ref.size`` bytes at rest."""
        raise NotImplementedError
