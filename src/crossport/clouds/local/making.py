"""Make an embedded cloud, and remove one entirely.

A cloud is made in a directory beside its place and moved there when it is whole, so of two makers one wins
and nobody sees half a cloud. Removing takes the lock first, ends processes and networks, and only then
deletes files.
"""

import asyncio
import dataclasses
import hashlib
import os
import shutil
import signal
from pathlib import Path

from crossport import errors
from crossport.clouds.local import orphan, reserve
from crossport.clouds.local.installation import identity
from crossport.clouds.local.network import reserved_networks, usual_kind
from crossport.clouds.local.ownership import end_owner, locked, open_installation
from crossport.clouds.local.spec import CloudSpec, Layout
from crossport.clouds.local.state import Guest, State, Volume
from crossport.clouds.local.uid_range import RangeBook
from crossport.hypervisor import daemon
from crossport.model import codec
from crossport.spi.secret import Secret

__all__ = ["create", "destroy"]

_END_S = 30.0
_POLL_S = 0.1


def create(root: Path, spec: CloudSpec, token: Secret, ranges: RangeBook | None = None) -> None:
    """Make a cloud in ``root``, which must not exist, and write its token to the 0600 file ``token`` there.

    ``token`` must be random, of 16 characters at least: the cloud's identity is derived from it. Nothing is
    started. With ``ranges`` its guests' users are those of no other cloud in that book. Raise Conflict
    ``cloud.exists``, Invalid for a spec that cannot be.
    """
    spec.check()
    if len(token.reveal()) < 16:
        raise errors.Invalid(
            "cloud.token.short",
            "A token has 16 characters at least.",
            field="token",
            remedy="Draw a longer one, such as: openssl rand -hex 16",
        )
    root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    cloud_id = identity(token.reveal())
    draft = Layout(root.with_name(f".{root.name}.{cloud_id}"))
    try:
        for folder in draft.directories():
            folder.mkdir(mode=0o700)
        descriptor = os.open(draft.token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token.reveal() + "\n")
        state = State(draft.state)
        with state.together():
            state.remember("spec", codec.encoded(_whole(spec, root, cloud_id)))
            state.remember("id", cloud_id)
            if ranges is not None and not root.exists():  # otherwise it will not be moved there
                state.remember("uid-range", str(ranges.take(cloud_id, draft.root, root)))
            state.remember("token", hashlib.sha256(token.reveal().encode()).hexdigest())
        state.close()
        reserve.keep(draft)
        _move(draft.root, root)
    finally:
        shutil.rmtree(draft.root, ignore_errors=True)


def _whole(spec: CloudSpec, root: Path, cloud_id: str) -> CloudSpec:
    """Return the spec with everything decided that depends on this machine."""
    kind = usual_kind() if spec.network == "auto" else spec.network
    home = spec.home or str(root.resolve().parent)
    ours = tuple(network for network in spec.networks if not network.reserved)
    networks = (*ours, *reserved_networks(cloud_id, home=home))
    return dataclasses.replace(spec, network=kind, home=home, networks=networks)


def _move(draft: Path, root: Path) -> None:
    try:
        # A directory is replaced only by rename if it is empty; a cloud never is.
        draft.rename(root)
    except OSError as error:
        raise errors.Conflict(
            "cloud.exists",
            f"There is something in {root} already.",
            field="root",
            remedy="Choose another name, or remove that cloud first.",
        ) from error


async def destroy(root: Path, *, must_be_empty: bool = False) -> tuple[str, ...]:
    """Remove the cloud in ``root`` with everything it has on this machine; say in words what was removed.

    Not an error when there is none. Raise Unavailable ``cloud.busy`` when its service does not end, Conflict
    ``cloud.vms.left`` when it ``must_be_empty`` and has VMs or volumes.
    """
    layout = Layout(root.resolve())
    if not layout.state.exists():
        return ()
    lock = await _taken(layout)
    try:
        reserve.give_up(layout)
        cloud = open_installation(layout)
        try:
            if must_be_empty and (cloud.state.every(Guest) or cloud.state.every(Volume)):
                raise errors.Conflict(
                    "cloud.vms.left",
                    f"{cloud.spec.name} has VMs or volumes.",
                    field="cloud",
                    remedy="Delete them, or wait until what is being written there has ended.",
                )
            removed = [f"cloud {cloud.spec.name} in {root}"]
            for one in orphan.known_daemons(cloud):
                if daemon.alive(one):
                    removed.append(f"process {one.pid}")
                await daemon.kill(one)
            starters = {one.starter for one in orphan.known_daemons(cloud)}
            removed += _killed(layout.root, starters)
            await cloud.fabric.destroy()
            shutil.rmtree(cloud.runtime, ignore_errors=True)
        finally:
            cloud.state.close()
        shutil.rmtree(layout.root)
    finally:
        os.close(lock)
    return tuple(removed)


async def _taken(layout: Layout) -> int:
    for _ in range(round(_END_S / _POLL_S)):
        if not end_owner(layout):
            return locked(layout)
        await asyncio.sleep(_POLL_S)
    raise errors.Unavailable(
        "cloud.busy",
        f"The service of the cloud in {layout.root} does not end.",
        remedy="Look at its log, then try again.",
    )


def _killed(root: Path, ending: set[int]) -> list[str]:
    """End what the state does not know; ``ending`` does so already."""
    removed: list[str] = []
    for pid, _, program in orphan.processes(root):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        if pid not in ending:
            removed.append(f"orphan {pid} ({program})")
    return removed
