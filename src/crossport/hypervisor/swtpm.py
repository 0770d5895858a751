"""A software TPM 2.0 for one VM: swtpm, confined to the directory that keeps its state.

It serves one connection, QEMU's, and ends with it. The state that makes the TPM what it is
lies in one file, which travels with the VM.
"""

import socket
from pathlib import Path

from crossport.hypervisor import daemon, unix_socket
from crossport.hypervisor.confine import Confinement, Limits

__all__ = ["STATE_NAME", "serve_tpm"]

STATE_NAME = "tpm2-00.permall"


async def serve_tpm(state: Path, *, uid: int, log: Path) -> tuple[socket.socket, daemon.Daemon]:
    """Start a TPM over the directory ``state``, which ``uid`` owns; return the end for QEMU."""
    path = log.with_suffix(".socket")
    with unix_socket.listening(path, backlog=1) as listener:
        argv = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state},mode=0600"]
        argv += ["--ctrl", f"type=unixio,fd={listener.fileno()}", "--flags", "startup-clear"]
        argv += ["--terminate", "--log", "level=1"]
        confinement = Confinement(
            write=(state,), uid=uid, gid=uid, outlives_parent=True, limits=Limits(cpu_s=None)
        )
        running = await daemon.start(argv, confinement, log=log, descriptors=(listener.fileno(),))
        link = unix_socket.connected(path, timeout_s=5)
    link.setblocking(True)
    return link, running
