"""The server's certificate: issued by the site's own CA, for a day, and issued anew in time."""

import ipaddress
import ssl
from pathlib import Path

from crossport import errors
from crossport.app.settings import Settings
from crossport.client.state_dir import StateDir
from crossport.identity import SiteIdentity, private_file
from crossport.spi.clock import Clock

__all__ = ["Certificate", "served_names"]

LIFETIME_S = 24 * 3600.0
RENEWAL_S = LIFETIME_S / 3
LOOK_S = 30.0
"""How long a certificate may be wrong after the clock was set."""


class Certificate:
    """The files that a TLS listener reads. Clients trust ``ca.pem`` of the control directory."""

    def __init__(self, settings: Settings, state: StateDir, clock: Clock) -> None:
        directory = state.path / "identity"
        self._hosts = served_names(settings)
        self._clock = clock
        self._identity = SiteIdentity.open(
            directory,
            settings.site_name,
            clock=clock,
            hosts=[host for host in self._hosts if not _local(host)],
        )
        self.certificate_file: Path = directory / "server.pem"
        self.key_file: Path = directory / "server-key.pem"
        private_file.write(state.path / "ca.pem", self._identity.authority_pem.encode())
        self.issue()

    def issue(self) -> None:
        """Write a new certificate and its key."""
        leaf = self._identity.issue("control", "api", lifetime_s=LIFETIME_S, hosts=self._hosts)
        private_file.write(self.certificate_file, leaf.certificate_pem.encode())
        private_file.write(self.key_file, leaf.key_pem.reveal().encode())
        self._expires = leaf.expires

    async def renew(self, context: ssl.SSLContext | None) -> None:
        """Give ``context`` a new certificate in time, for ever. Open connections keep theirs."""
        while context:
            await self._clock.sleep(LOOK_S)
            # More than a whole life is left when the clock was set back: then it is not valid yet.
            if not LIFETIME_S - RENEWAL_S < self._expires - self._clock.wall() <= LIFETIME_S:
                self.issue()
                context.load_cert_chain(self.certificate_file, self.key_file)


def served_names(settings: Settings) -> list[str]:
    """Return the names under which the server is reached: those that were set, and where it listens.

    Raise Invalid (``serve.hosts.missing``) when it listens everywhere and nothing says how it is called.
    """
    host = settings.listen.rpartition(":")[0].strip("[]")
    everywhere = host in ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on
    if everywhere and not settings.hosts:
        raise errors.Invalid(
            "serve.hosts.missing",
            f"{settings.listen} is every address of this machine, and its certificate has to name one.",
            field="hosts",
            remedy="Say by --host, or in the setting hosts, by which names and addresses clients reach it.",
        )
    own = [] if everywhere or not host else [host]
    return list(dict.fromkeys([*settings.hosts, *own, "localhost", "127.0.0.1"]))


def _local(host: str) -> bool:
    """Say whether every authority may vouch for ``host`` anyway."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
