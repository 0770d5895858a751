"""What the signer keeps in its directory, each file 0600: its keys, the role document, and what it signed.

Everything is on disk before an answer leaves, so that a signer that is killed goes on where it was.
"""

import base64
import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from crossport import errors
from crossport.identity import private_file
from crossport.identity.key_signer import KeySigner
from crossport.model import codec
from crossport.model.head import SignedHead
from crossport.model.keyring import Algorithm, key_id
from crossport.model.record import record
from crossport.spi.signer import Signer

__all__ = ["Done", "Half", "Vault"]

ROOT, NEXT_ROOT = "root", "next-root"


@record()
class Done:
    """A line of the log: what the signer did with which key. ``at`` is in Unix seconds."""

    at: float
    what: str
    key: str
    of: str


@record()
class Half:
    """The public half of a key that lies elsewhere (SubjectPublicKeyInfo, DER, in base64)."""

    public_key: str
    algorithm: Algorithm

    @classmethod
    def of(cls, signer: Signer) -> "Half":
        """Return that of ``signer``."""
        return cls(public_key=base64.b64encode(signer.public_key()).decode(), algorithm=signer.algorithm)

    def der(self) -> bytes:
        """Return it as it is."""
        return base64.b64decode(self.public_key)


@record()
class _Heads:
    last: Mapping[str, SignedHead] = field(default_factory=dict[str, SignedHead])


@record()
class _Halves:
    at: Mapping[str, Half] = field(default_factory=dict[str, Half])


class Vault:
    """The directory of one signer. No two processes use it at the same time."""

    def __init__(self, directory: Path) -> None:
        """Use ``directory``, which is made when it is first needed."""
        self._directory = directory
        self._document = directory / "roles.json"
        self._log = directory / "log"

    def root(self) -> KeySigner:
        """Return the key that signs the role document, made now if there is none.

        Raise Refused when others can enter the directory, Broken ``signer.root.lost`` when there is a
        document and no key that could sign the next one.
        """
        private_file.make_private(self._directory)
        path = self._directory / f"{ROOT}.key"
        if private_file.read(path) is None:
            if self.document():
                raise errors.Broken(
                    "signer.root.lost",
                    f"{path} is gone, and with it the root of this site's role document.",
                    remedy="Bring the file back from a backup (mode 0600); partners trust no other root.",
                )
            KeySigner.made(Algorithm.ECDSA_P256).keep(path)
        return KeySigner.opened(path)

    def next_root(self) -> KeySigner:
        """Return the key that is to follow the root, kept; the same one until `follow_root`."""
        path = self._directory / f"{NEXT_ROOT}.key"
        if private_file.read(path) is None:
            KeySigner.made(Algorithm.ECDSA_P256).keep(path)
        return KeySigner.opened(path)

    def follow_root(self) -> None:
        """Let that key be the root. The one before is gone: it has signed all that it had to."""
        (self._directory / f"{NEXT_ROOT}.key").replace(self._directory / f"{ROOT}.key")
        private_file.sync(self._directory)

    def made(self) -> KeySigner:
        """Return a new key, kept."""
        signer = KeySigner.made(Algorithm.ECDSA_P256)
        signer.keep(self._directory / f"{signer.key_id}.key")
        return signer

    def document(self) -> bytes | None:
        """Return the envelope of the newest role document, None before the first."""
        return private_file.read(self._document)

    def keep(self, document: bytes) -> None:
        """Keep the envelope of a new role document."""
        private_file.write(self._document, document)

    def spend(self, nonce: str, now: float, expires: float) -> bool:
        """Note that ``nonce`` is used up, until ``expires``; return False when it was before."""
        path = self._directory / "nonces"
        lines = (private_file.read(path) or b"").decode().splitlines()
        live = [line for line in lines if float(line.partition(" ")[0]) > now]
        if any(line.partition(" ")[2] == nonce for line in live):
            return False
        private_file.write(path, "\n".join([*live, f"{expires} {nonce}"]).encode())
        return True

    def head(self, site: str) -> SignedHead | None:
        """Return the last head of this site's audit log that was signed here."""
        return self._heads().last.get(site)

    def keep_head(self, site: str, head: SignedHead) -> None:
        """Keep the last head of a site."""
        last = {**self._heads().last, site: head}
        private_file.write(self._directory / "heads.json", codec.encoded(_Heads(last=last)).encode())

    def _heads(self) -> _Heads:
        kept = private_file.read(self._directory / "heads.json")
        return codec.decoded(kept, _Heads) if kept else _Heads()

    def half(self, place: str) -> Half | None:
        """Return the public half of the key that lies at ``place``, as far as it was ever reached."""
        return self._halves().at.get(place)

    def keep_half(self, place: str, half: Half) -> None:
        """Keep it."""
        at = {**self._halves().at, place: half}
        private_file.write(self._directory / "places.json", codec.encoded(_Halves(at=at)).encode())

    def lies_elsewhere(self, id_: str) -> bool:
        """Say whether the key with this id is no file here, because it lies at a place."""
        return any(key_id(half.der()) == id_ for half in self._halves().at.values())

    def _halves(self) -> _Halves:
        kept = private_file.read(self._directory / "places.json")
        return codec.decoded(kept, _Halves) if kept else _Halves()

    def signer(self, id_: str) -> KeySigner:
        """Return the signer with this id; raise NotFound ``signer.key.absent``."""
        return KeySigner.opened(self._directory / f"{id_}.key")

    def note(self, done: Done) -> None:
        """Add a line to the log."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._log, flags, 0o600)
        try:
            os.write(descriptor, codec.encoded(done).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
