"""The site's seal key where it does not lie in the signer's own files: in a hardware module or a key service.

Its public half is kept, so that a module that is away stops seals and nothing else. What a module's library
needs to see is lent to the signer's process, and only then; what judges a seal stays in that process.
"""

from collections.abc import Mapping
from dataclasses import field, replace
from pathlib import Path

from crossport import errors
from crossport.hypervisor.confine import Confinement
from crossport.identity.signers import KMS, files_of, open_signer
from crossport.identity.signing.vault import Half, Vault
from crossport.model.keyring import Algorithm, key_id
from crossport.model.record import record
from crossport.spi.signer import Signer

__all__ = ["PlacedSigner", "SealPlace", "admitting"]

# How names are looked up: /usr has the rest.
_RESOLVING = ("resolv.conf", "hosts", "nsswitch.conf", "gai.conf")


@record()
class SealPlace:
    """``place`` is written as `crossport.identity.signers` says.

    ``paths`` are what the library needs beside itself (its configuration, the token's files, a socket); they
    belong to the signer's user. ``environment`` are the variables it needs, which may be secret.
    """

    place: str
    paths: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)


def admitting(confinement: Confinement, where: SealPlace) -> Confinement:
    """Return ``confinement`` with what a key at this place needs; a service is reached over the network."""
    read = (*confinement.read, *(path for path in files_of(where.place) if not path.is_relative_to("/usr")))
    if in_service := where.place.startswith(KMS):
        read += tuple(path for name in _RESOLVING if (path := Path("/etc", name)).exists())
    write = (*confinement.write, *map(Path, where.paths))
    return replace(confinement, read=read, write=write, network=in_service)


class PlacedSigner:
    """A `crossport.spi.signer.Signer`. It is opened by its first signature, but for the very first time."""

    def __init__(self, place: str, vault: Vault) -> None:
        self.place = place
        self._vault = vault
        self._opened: Signer | None = None

    @property
    def key_id(self) -> str:
        """The key's id."""
        return key_id(self.public_key())

    @property
    def algorithm(self) -> Algorithm:
        """How it signs."""
        return self._half().algorithm

    def public_key(self) -> bytes:
        """Return the public half (SubjectPublicKeyInfo, DER)."""
        return self._half().der()

    def sign(self, payload: bytes) -> bytes:
        """Return the signature.

        Raise what `open_signer` raises, and Broken ``signer.place.other`` where another key lies by now.
        """
        half = self._half()
        opened = self._opened or open_signer(self.place)
        if opened.public_key() != half.der():
            raise errors.Broken(
                "signer.place.other",
                f"Another key lies at {self.place} than the one that this site has listed.",
                field="seal_key",
                remedy="Bring that key back, or name the new one by another label or ARN.",
            )
        self._opened = opened
        return opened.sign(payload)

    def _half(self) -> Half:
        known = self._vault.half(self.place)
        if known is None:
            self._opened = open_signer(self.place)
            known = Half.of(self._opened)
            self._vault.keep_half(self.place, known)
        return known
