"""What the command line gets from the machine it runs on; ``app`` implements it, tests bring their own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    # Only for types: importing it costs more than `crossport --help` may.
    from crossport.client.embedded import Starter

__all__ = ["GatewayOptions", "Place", "ServeOptions", "Surroundings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the site is: ``server`` is an https address, empty for the one of ``home`` on this machine.

    ``ca`` is the file of the authority that signed the server's certificate, ``token_file`` the file of
    the token; empty means those of the state directory.
    """

    home: Path
    server: str = ""
    ca: str = ""
    token_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How to serve. ``idle_s`` None and empty texts are what the settings say.

    ``told`` is called once requests are answered.
    """

    home: Path
    embedded: bool = False
    listen: str = ""
    hosts: tuple[str, ...] = ()
    database_url_file: str = ""
    idle_s: float | None = None
    told: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """Which gateway to run: that of the text ``join``, else ``gateway``, else the only one of ``home``.

    ``authority`` is the expected fingerprint in ``join``; workers enter the network namespace ``namespace``.
    Of the machine's files only those below ``disks`` are opened, where any are named.
    """

    home: Path
    join: str = field(default="", repr=False)
    authority: str = ""
    gateway: str = ""
    namespace: str = ""
    disks: tuple[Path, ...] = ()


class Surroundings(Protocol):
    """The machine, the terminal, the clock, and the server that can be run here."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables."""
        ...

    @property
    def stdin(self) -> TextIO:
        """Where a person types."""
        ...

    @property
    def stdout(self) -> TextIO:
        """Where results go."""
        ...

    @property
    def stderr(self) -> TextIO:
        """Where messages go."""
        ...

    def place(self) -> Place:
        """Return where the settings say the site is; raise Invalid for wrong settings."""
        ...

    def starter(self, home: Path) -> "Starter":
        """Return what starts a server for ``home``."""
        ...

    def serve(self, options: ServeOptions) -> None:
        """Serve until told to stop. Raise Conflict when the state directory has an owner."""
        ...

    def run_gateway(self, options: GatewayOptions) -> None:
        """Run a gateway until told to stop. Raise Refused when its site does not take it (any more)."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def wall(self) -> float:
        """Return Unix seconds."""
        ...

    def new_key(self) -> str:
        """Return a text that was never used, to name a request."""
        ...

    def run_tool(self) -> Callable[[list[str]], tuple[int, str]]:
        """Return what runs a program for the doctor: its exit status and output."""
        ...
