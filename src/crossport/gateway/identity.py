"""What a gateway keeps on its machine, each file 0600: its key, its certificate, and whom it belongs to."""

import fcntl
import os
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509

from crossport import errors
from crossport.gateway.join import Invitation, Nodes
from crossport.gateway.trust import gateway_context
from crossport.identity import private_file
from crossport.model import codec
from crossport.model.record import record
from crossport.spi.secret import Secret

__all__ = ["Kept", "Membership"]

_VERSION = 1


@record()
class Membership:
    """Whose gateway this is, and how its site is reached."""

    version: int
    gateway: str
    site: str
    authority: str
    nodes: Nodes


class Kept:
    """The directory ``gateway/<id>`` of one gateway."""

    def __init__(self, directory: Path) -> None:
        private_file.make_private(directory)
        self.directory = directory
        self._membership = directory / "membership.json"
        self._key = directory / "key.pem"
        self._certificate = directory / "certificate.pem"

    @classmethod
    def all(cls, home: Path) -> tuple["Kept", ...]:
        """Return those below ``home`` that joined their site, by id."""
        found = sorted(path.parent for path in (home / "gateway").glob("*/certificate.pem"))
        return tuple(cls(path) for path in found)

    @contextmanager
    def owned(self) -> Generator[None]:
        """Own the directory; raise Conflict (``gateway.state.owned``) when another process does."""
        path = self.directory / "owner.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.Conflict(
                "gateway.state.owned",
                f"Gateway {self.directory.name} runs on this machine already.",
                remedy="Stop the other process first.",
            ) from error
        else:
            yield
        finally:
            os.close(descriptor)

    @property
    def joined(self) -> bool:
        """Whether there is all that is needed to connect."""
        return self._certificate.exists()

    def key(self) -> Secret:
        """Return the gateway's key; raise Broken where there is none."""
        return Secret(self._content(self._key))

    def new_key(self, key: Secret) -> None:
        """Keep the key, before anything is asked for it."""
        private_file.write(self._key, key.reveal().encode())

    def certificate(self) -> str:
        """Return the certificate as PEM."""
        return self._content(self._certificate)

    def certify(self, certificate: str) -> None:
        """Keep a certificate; from the first on the gateway counts as joined.

        Raise Broken (``gateway.certificate.unfit``) for one that is not of the gateway's own key.
        """
        try:
            gateway_context(self.membership().authority, certificate, self.key())
        except (ssl.SSLError, ValueError) as error:
            raise errors.Broken(
                "gateway.certificate.unfit",
                "The site sent a certificate that is not of this gateway's key.",
                remedy="The one that it has stays in use. See the site's log.",
            ) from error
        private_file.write(self._certificate, certificate.encode())

    def validity(self) -> tuple[float, float]:
        """Return from when until when the certificate is good, in Unix seconds."""
        certificate = x509.load_pem_x509_certificate(self.certificate().encode())
        return certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()

    def membership(self) -> Membership:
        """Return whom the gateway belongs to."""
        found = codec.decoded(self._content(self._membership), Membership)
        if found.version > _VERSION:
            raise errors.Conflict(
                "gateway.state.newer",
                f"{self.directory} was written by a newer Crossport.",
                remedy="Use that version or a later one.",
            )
        return found

    def belong(self, invitation: Invitation, nodes: Nodes) -> None:
        """Note whom the gateway belongs to."""
        self._write(
            Membership(
                version=_VERSION,
                gateway=invitation.gateway,
                site=invitation.site,
                authority=invitation.authority,
                nodes=nodes,
            )
        )

    def reached(self, nodes: Nodes) -> None:
        """Note how the site is reached now, if that is something new."""
        former = self.membership()
        if nodes and nodes != former.nodes:
            self._write(
                Membership(
                    version=_VERSION,
                    gateway=former.gateway,
                    site=former.site,
                    authority=former.authority,
                    nodes=nodes,
                )
            )

    def _write(self, membership: Membership) -> None:
        private_file.write(self._membership, codec.encoded(membership).encode())

    def _content(self, path: Path) -> str:
        content = private_file.read(path)
        if content is None:
            raise errors.Broken(
                "gateway.state.missing",
                f"There is no {path}.",
                remedy="Remove this gateway from its site, and enroll a new one.",
            )
        return content.decode()
