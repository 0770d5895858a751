"""Unix sockets whose path may be longer than the 107 bytes that the kernel takes.

The directory is opened first, and the socket is named through ``/proc/self/fd``: that is short, whatever the
directory is called.
"""

import contextlib
import os
import socket
from pathlib import Path

__all__ = ["LONGEST_PATH", "connected", "listening"]

LONGEST_PATH = 107  # sun_path without its final NUL, unix(7)


def listening(path: Path, *, backlog: int = 64) -> socket.socket:
    """Return a socket that listens at ``path``, replacing what was there; only its owner may connect.

    Clients can connect from now on; they are served once somebody accepts.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        # The mode of a bound socket is that of its descriptor before bind, less the umask.
        os.fchmod(listener.fileno(), 0o600)
        listener.bind(f"/proc/self/fd/{directory}/{path.name}")
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(directory)
    return listener


def connected(path: Path, *, timeout_s: float) -> socket.socket:
    """Return a socket connected to ``path``; raise OSError as connect does."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(timeout_s)
    with contextlib.ExitStack() as failed:
        failed.callback(client.close)
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            client.connect(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
        failed.pop_all()
    return client
