"""Where copies are read and written: a socket per export or import, which only the gateway's user may open.

The servers are processes of their own and outlive the service. What a socket serves is written in the state,
so a server that was lost is started again with the same exports.
"""

import hashlib
import os
import shutil
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

from crossport import errors
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.state import Volume
from crossport.hypervisor import daemon, nbd_server, unix_socket
from crossport.hypervisor.nbd_server import Served
from crossport.model.artifact import Artifact, DiskRef

__all__ = ["artifact", "close", "control_of", "ensure_runtime", "listening", "open_volumes", "socket_path"]

NO_BITMAPS: Mapping[str, str] = MappingProxyType({})


def ensure_runtime(cloud: Installation) -> None:
    """Make the directory of the sockets; refuse one that somebody else has put there."""
    cloud.runtime.mkdir(mode=0o711, parents=True, exist_ok=True)
    facts = cloud.runtime.lstat()
    if facts.st_uid != os.geteuid() or cloud.runtime.is_symlink():
        raise errors.Refused(
            "cloud.runtime.foreign",
            f"{cloud.runtime} belongs to somebody else.",
            field="runtime",
            remedy="Choose another directory in the cloud's spec.",
        )


def socket_path(cloud: Installation, key: str) -> Path:
    """Return the socket of the export or import ``key``. Its directory's name tells nothing."""
    return cloud.runtime / f"x-{hashlib.sha256(key.encode()).hexdigest()[:10]}" / "nbd"


def artifact(volume: Volume, path: Path, *, name: str = "", bitmap: str = "") -> Artifact:
    """Return the reference by which a gateway opens ``volume`` at the socket ``path``.

    ``bitmap`` is the one that tells what changed.
    """
    locator = f"unix:{path}?export={volume.id}" + (f"&bitmap={quote(bitmap)}" if bitmap else "")
    ref = DiskRef(kind="nbd", locator=locator, size=volume.size, identity=volume.identity)
    return Artifact(role=volume.role, name=name or volume.name, ref=ref)


async def open_volumes(
    cloud: Installation,
    key: str,
    volumes: Sequence[Volume],
    *,
    writable: bool,
    bitmaps: Mapping[str, str] = NO_BITMAPS,
) -> daemon.Daemon | None:
    """Serve the volumes at the socket of ``key``; return the server, None when there is nothing to serve.

    ``bitmaps`` are served with the volumes of these ids. Empty files are not: there is nothing in them.
    """
    served = [
        Served(
            name=volume.id,
            path=cloud.path(volume),
            format=volume.format,
            writable=writable,
            bitmap=bitmaps.get(volume.id, ""),
        )
        for volume in volumes
        if volume.size
    ]
    if not served:
        return None
    path = socket_path(cloud, key)
    with listening(cloud, path) as listener:
        return await nbd_server.serve(
            served,
            listener=listener,
            control=control_of(cloud, key),
            uid=volumes[0].uid,
            log=cloud.layout.exports / f"{path.parent.name}.log",
        )


def listening(cloud: Installation, path: Path) -> socket.socket:
    """Return a listening socket at ``path``, in a directory that only the gateway's user enters.

    It stays the service's own: who could write there could have another file given to that user.
    """
    ensure_runtime(cloud)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    listener = unix_socket.listening(path)
    gateway = cloud.spec.gateway_uid
    if cloud.as_root:
        os.chown(path, gateway, gateway, follow_symlinks=False)
        os.chown(path.parent, os.geteuid(), gateway)
        path.parent.chmod(0o710)
    return listener


def control_of(cloud: Installation, key: str) -> Path:
    """Return the control socket of the server of ``key``."""
    return cloud.layout.exports / f"{socket_path(cloud, key).parent.name}.control"


async def close(cloud: Installation, key: str, server: daemon.Daemon | None, *, in_order: bool) -> None:
    """End the server: ``in_order`` after it wrote everything down, else at once. May be called twice."""
    control = control_of(cloud, key)
    if server is not None:
        if in_order:
            await nbd_server.finish(server, control)
        else:
            await daemon.kill(server)
    control.unlink(missing_ok=True)
    control.with_suffix(".log").unlink(missing_ok=True)
    folder = socket_path(cloud, key).parent
    if folder.exists():
        shutil.rmtree(folder)
