"""Who owns a cloud's directory: exactly one process, which holds its lock, and how it is opened then."""

import fcntl
import os
import signal

from crossport import errors
from crossport.clouds.local.installation import Installation, runtime_directory
from crossport.clouds.local.network import Kind, fabric
from crossport.clouds.local.spec import CloudSpec, Layout
from crossport.clouds.local.state import State
from crossport.model import codec

__all__ = ["end_owner", "locked", "open_installation"]


def locked(layout: Layout) -> int:
    """Take the cloud's lock and return it open; raise Conflict ``cloud.owned`` when another has it."""
    descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise errors.Conflict(
            "cloud.owned", f"Another process owns the cloud in {layout.root}.", remedy="Let it end."
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def end_owner(layout: Layout) -> bool:
    """Ask the service that owns the directory to end; say whether there was one."""
    try:
        os.close(locked(layout))
    except errors.Conflict:
        pid = layout.lock.read_text().strip()
        # The lock is held, so its holder lives and this is its number.
        if pid.isdecimal():
            os.kill(int(pid), signal.SIGTERM)
        return True
    return False


def open_installation(layout: Layout) -> Installation:
    """Return the cloud of this directory, whose lock the caller has. Nothing is started."""
    state = State(layout.state)
    spec = codec.decoded(state.fact("spec"), CloudSpec)
    cloud_id = state.fact("id")
    kind: Kind = "user" if spec.network == "user" else "enforced"
    return Installation(
        layout=layout,
        state=state,
        fabric=fabric(kind, cloud_id, spec.name, home=spec.home, wan_rate_bps=spec.wan_rate_bps),
        cloud_id=cloud_id,
        runtime=runtime_directory(spec, layout, cloud_id),
    )
