"""The one running instance of an embedded cloud: its directory, state, network and the locks of its parts."""

import asyncio
import contextlib
import dataclasses
import errno
import hashlib
import os
import stat
import uuid
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

from crossport import errors
from crossport.clouds.local import uid_range
from crossport.clouds.local.fabric import Fabric
from crossport.clouds.local.spec import CloudSpec, Layout
from crossport.clouds.local.state import Guest, OpenImport, State, Volume
from crossport.hypervisor.qemu import Accelerator
from crossport.model import codec
from crossport.model.run import Act

__all__ = ["Installation", "identity", "plain_file", "runtime_directory"]

# The longest name below the runtime directory ("x-" and ten digits, "/nbd") leaves this much of 107 bytes.
_LONGEST_RUNTIME = 85


def identity(token: str) -> str:
    """Return the cloud's id, which no other cloud has, from its token."""
    return hashlib.sha256(b"crossport cloud " + token.encode()).hexdigest()[:10]


def runtime_directory(spec: CloudSpec, layout: Layout, cloud_id: str) -> Path:
    """Return where sockets lie that others open by their path: the kernel takes 107 bytes at most."""
    if spec.runtime:
        return Path(spec.runtime)
    inside = layout.root / "run"
    if len(bytes(inside)) <= _LONGEST_RUNTIME:
        return inside
    return Path(f"/tmp/crossport-{os.getuid()}-{cloud_id}")  # noqa: S108 - made 0700 and its owner checked


@contextlib.contextmanager
def plain_file(path: Path) -> Generator[int]:
    """Open a file or directory for reading, itself and not what a link of its name leads to.

    Raise Refused ``cloud.file.foreign`` for a link, a pipe or a device, OSError as open does.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in {errno.ELOOP, errno.ENXIO}:
            raise
        raise _foreign(path) from error
    try:
        kind = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise _foreign(path)
        yield descriptor
    finally:
        os.close(descriptor)


def _foreign(path: Path) -> errors.Refused:
    return errors.Refused(
        "cloud.file.foreign",
        f"{path} is no plain file: a program that runs for the guest has put something else there.",
        remedy="Do not start this VM again; what it kept there is lost, and its guest is not to be trusted.",
    )


@dataclasses.dataclass(kw_only=True)
class Installation:
    """What every part of the cloud works with. ``accelerator`` is None until something has to be started."""

    layout: Layout
    state: State
    fabric: Fabric
    cloud_id: str
    runtime: Path
    accelerator: Accelerator | None = None
    accelerator_reason: str = ""
    busy: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    allocation: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    _locks: dict[str, asyncio.Lock] = dataclasses.field(default_factory=dict[str, asyncio.Lock])

    @property
    def spec(self) -> CloudSpec:
        """What the cloud is now."""
        return codec.decoded(self.state.fact("spec"), CloudSpec)

    def change_spec(self, spec: CloudSpec) -> None:
        """Replace what the cloud is."""
        spec.check()
        self.state.remember("spec", codec.encoded(spec))

    @property
    def as_root(self) -> bool:
        """Whether guests get users of their own."""
        return os.geteuid() == 0

    def new_uid(self) -> int:
        """Return a user that nothing else in this cloud has now; without root there is only one."""
        if not self.as_root:
            return os.getuid()
        known = self.state.fact("uid-range")  # a cloud of an older release has the usual one
        base = uid_range.first_uid(int(known) if known else uid_range.usual(self.cloud_id))
        used = {one.uid for kind in (Guest, Volume, OpenImport) for one in self.state.every(kind)}
        used.add(int(self.state.fact("images-uid") or 0))
        while (uid := base + self.state.count_up("uid") % uid_range.COUNT) in used:
            continue
        return uid

    def images_uid(self) -> int:
        """Return the user that reads images for others, always the same one."""
        known = self.state.fact("images-uid")
        if not known:
            self.state.remember("images-uid", known := str(self.new_uid()))
        return int(known)

    def own(self, path: Path, uid: int) -> None:
        """Make the file or directory ``path`` the user's and nobody else's.

        It may lie where a guest's user can write: raise Refused ``cloud.file.foreign`` for a link.
        """
        with plain_file(path) as descriptor:
            os.fchmod(descriptor, 0o700 if stat.S_ISDIR(os.fstat(descriptor).st_mode) else 0o600)
            if self.as_root:
                os.fchown(descriptor, uid, uid)

    def path(self, volume: Volume) -> Path:
        """Return where the volume's bytes are."""
        return self.layout.root / volume.path

    def made_id(self, act: Act, what: str) -> str:
        """Return the id of a thing that this act makes: the same however often it is done."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.cloud_id}/{act.run}/{act.step}/{what}"))

    def guest(self, reference: str) -> Guest:
        """Return the guest with this id, or the only one with this name."""
        exact = self.state.find(reference, Guest)
        if exact is not None:
            return exact
        named = [guest for guest in self.state.every(Guest) if guest.vm.name == reference]
        if not named:
            raise errors.NotFound(
                "vm.unknown",
                f"{self.spec.name} has no VM {reference}.",
                remedy="List the VMs and use a name or id from there.",
                field="vm",
            )
        if len(named) > 1:
            raise errors.Conflict(
                "vm.name.ambiguous",
                f"{self.spec.name} has {len(named)} VMs named {reference}.",
                remedy=f"Use an id: {', '.join(guest.vm.id for guest in named)}.",
                field="vm",
            )
        return named[0]

    def volume(self, volume_id: str) -> Volume:
        """Return the volume; raise NotFound."""
        volume = self.state.find(volume_id, Volume)
        if volume is None:
            raise errors.NotFound(
                "volume.unknown",
                f"There is no volume {volume_id}.",
                remedy="See which volumes there are by the disks of: crossport vm show CLOUD VM",
            )
        return volume

    @contextlib.asynccontextmanager
    async def working(self, vm_id: str, word: str, act: Act | None = None) -> AsyncGenerator[None]:
        """Keep everybody else away from the VM, and show ``word`` as what is being done with it.

        ``act`` is admitted now and when its turn comes: a higher epoch may have come while it waited.
        """
        lock = self._locks.setdefault(vm_id, asyncio.Lock())
        if act is not None:
            self.state.admit(act)
        async with lock:
            if act is not None:
                self.state.admit(act)
            self.busy[vm_id] = word
            try:
                yield
            finally:
                self.busy.pop(vm_id, None)

    def is_busy(self, vm_id: str) -> bool:
        """Say whether somebody works on the VM."""
        return vm_id in self._locks and self._locks[vm_id].locked()
