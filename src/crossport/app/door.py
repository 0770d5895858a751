"""An address on which others reach this machine, as the settings say it."""

from crossport import errors
from crossport.app.settings import Settings, host_and_port

__all__ = ["door"]


def door(settings: Settings, address: str, field: str) -> tuple[str, int, tuple[str, ...]]:
    """Return the host and port to listen on, and the names by which others dial it, that of ``field``.

    Raise Invalid naming the setting.
    """
    host, port = host_and_port(address)
    if not host:
        raise errors.Invalid(
            "serve.door.form",
            f"{address!r} is not HOST:PORT.",
            field=field,
            remedy="Write 192.0.2.7:8444.",
        )
    bare = host.strip("[]")
    everywhere = bare in ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not listened on
    names = (*settings.hosts, *(() if everywhere else (host,)))
    if not names:
        raise errors.Invalid(
            "serve.door.unnamed",
            f"Nobody can dial {host}.",
            field="hosts",
            remedy="Name the addresses of this server in the setting hosts.",
        )
    return bare, port, tuple(dict.fromkeys(names))
