"""The abilities of a cloud, each small enough to be true or absent.

Rules for every implementation:

* A call that changes something takes an ``Act``. Done twice with the same run and step it makes one thing
  and answers alike. An epoch lower than the highest seen of that run is refused (errors.Refused,
  ``cloud.epoch.old``).
* Whatever is made carries the tag `RUN_TAG` with the run's id, where the cloud has tags.
* errors.Unavailable means that the same call may be made again; NotFound, Conflict, Invalid and Refused are
  final. No other exception leaves a driver.
* Cancelling a call leaves the cloud in a state in which it can be made again.
"""

from typing import Protocol, runtime_checkable

from crossport.model.artifact import Artifact, DiskRef, Export, ExportPoint, Marks, Place, Role, Way
from crossport.model.construct import Constructs, Image
from crossport.model.health import Probe, ProbeResult
from crossport.model.permit import Fence
from crossport.model.record import record
from crossport.model.run import Act, Created
from crossport.model.vm import VM

__all__ = [
    "RUN_TAG",
    "ChangeTracker",
    "Cloud",
    "Console",
    "Exporter",
    "Fencer",
    "GatewayHost",
    "Identified",
    "Importer",
    "Inventory",
    "NewVM",
    "Power",
    "Prober",
    "Provisioner",
    "Publisher",
    "RoomFor",
]

RUN_TAG = "crossport-run"
"""The tag of everything that a run makes, where the cloud has tags; its value is the run's id."""


@runtime_checkable
class Cloud(Protocol):
    """A connection to one installation, under the name the site gave it."""

    name: str

    async def check(self) -> str:
        """Prove that the cloud answers and accepts the credential; return what answered, in words.

        Raise errors.Unavailable or errors.Refused otherwise.
        """
        ...

    async def close(self) -> None:
        """Let go of connections. May be called twice."""
        ...


@runtime_checkable
class Identified(Protocol):
    """Telling installations apart: of two names for one, each could fence what the other has just started."""

    async def installation(self) -> str:
        """Return what names the installation, and the project in it: the same however it is reached."""
        ...


@runtime_checkable
class Inventory(Protocol):
    """What exists."""

    async def constructs(self, project: str = "") -> Constructs:
        """Return what a VM of ``project`` (the credential's own when empty) can be mapped to."""
        ...

    async def vms(self, project: str = "") -> tuple[VM, ...]:
        """Return all VMs, sorted by name, then id."""
        ...

    async def vm(self, reference: str) -> VM:
        """Return the VM with this id, or the only one with this name.

        Raise NotFound, or Conflict (``vm.name.ambiguous``) when several have the name.
        """
        ...


@runtime_checkable
class Power(Protocol):
    """Starting and stopping."""

    async def start(self, act: Act, vm_id: str) -> None:
        """Start or resume the VM; return when the hypervisor says that it runs. Refuse a fenced one."""
        ...

    async def shut_down(self, act: Act, vm_id: str, timeout_s: float) -> bool:
        """Ask the guest to shut down; say whether it was off within ``timeout_s``. True if it was off."""
        ...

    async def power_off(self, act: Act, vm_id: str) -> None:
        """Take the power away. The disks are as after a power cut."""
        ...


@runtime_checkable
class Fencer(Protocol):
    """Keeping a stopped VM stopped."""

    async def fence(self, act: Act, vm_id: str) -> Fence:
        """Make sure that nothing starts the stopped VM: locked, autostart off, NICs detached, as can be.

        Raise Conflict when it runs.
        """
        ...

    async def unfence(self, act: Act, vm_id: str) -> None:
        """Undo ``fence``. Not an error when it is not fenced."""
        ...


@runtime_checkable
class Exporter(Protocol):
    """Reading a VM out."""

    def points(self) -> frozenset[ExportPoint]:
        """Say which states of a VM can be exported here."""
        ...

    async def suspend(self, act: Act, vm_id: str) -> None:
        """Stop the guest with its memory kept in a file. Not an error when it is suspended already."""
        ...

    async def export(self, act: Act, vm_id: str, point: ExportPoint) -> Export:
        """Open everything that makes the VM for reading, until ``end_export``.

        For STOPPED the VM must be off and for SUSPENDED suspended, else Conflict. The artifacts read the
        same bytes however often they are opened. For SNAPSHOT the file systems are kept still at the moment
        where an agent in the guest can do that, for seconds at most; ``Export.frozen`` says whether they
        were. Whoever dies meanwhile, the guest goes on.
        """
        ...

    async def end_export(self, act: Act, vm_id: str) -> None:
        """Close what the run opened for reading and remove what it made for that. May be called twice."""
        ...


@runtime_checkable
class ChangeTracker(Protocol):
    """Telling which parts of a VM's disks were written since a mark, so that a copy can follow a running VM.

    A mark is a moment with a name, the run's own. It outlasts exports, power cycles and its setter's death,
    or it is lost. What may have been written behind it is told as changed, and sometimes more; never less.
    """

    async def export_changes(self, act: Act, vm_id: str, point: ExportPoint, marks: Marks) -> Export:
        """Open the VM as ``Exporter.export`` does; the disks' references tell what changed.

        Extents that are certainly the same as at ``marks.since`` are told as not changed; of a mark that is
        not known or was lost, everything is told as changed. ``marks.mark`` is set at the moment of the
        export, between two writes of the guest. A mark that was set before stays where it was set: made
        again, the call may open a later moment. Marks other than these two are forgotten.
        """
        ...

    async def end_tracking(self, act: Act, vm_id: str) -> None:
        """Forget all marks of the run. Exports stay open. Not an error when there are none, or no VM."""
        ...


@record()
class RoomFor:
    """One artifact for which the target makes room."""

    name: str
    role: Role
    size: int
    storage_class: str = ""


@record()
class NewVM:
    """A VM to be made. Its ``vm`` has the target's construct names; ``artifacts`` are from prepare_import.

    ``quarantine`` starts it so that only this cloud's own probes reach it. ``isolated`` keeps it there for
    good: a test copy. ``resume`` starts from the memory artifact.
    """

    vm: VM
    artifacts: tuple[Artifact, ...]
    quarantine: bool = True
    isolated: bool = False
    resume: bool = False


@runtime_checkable
class Importer(Protocol):
    """Writing a VM in."""

    async def prepare_import(self, act: Act, rooms: tuple[RoomFor, ...]) -> tuple[Artifact, ...]:
        """Make volumes that read as zero, and open them for writing, until ``seal_import``.

        The answer has one artifact per room, in order. Raise errors.Blocked when there is no room, Conflict
        ``import.sealed`` in the epoch that has sealed them. Made again for the same rooms under a higher
        epoch, the writers of the lower one are cut off, and what they made durable stays, under the same
        identity: whoever writes then must not take the volumes for empty.
        """
        ...

    async def seal_import(self, act: Act) -> tuple[Artifact, ...]:
        """Close all writers of the run, durably, and return the artifacts opened for reading (to verify)."""
        ...

    async def instantiate(self, act: Act, new: NewVM) -> VM:
        """Define and start the VM from sealed artifacts; return it when the hypervisor says it runs."""
        ...

    async def open_network(self, act: Act, vm_id: str) -> None:
        """End the quarantine: from here on the VM's security groups alone decide. May be called twice."""
        ...

    async def remove(self, act: Act, thing: Created) -> None:
        """Remove a thing the run made (VM, volume, seed, port). Not an error when it is gone."""
        ...

    async def tagged(self, run: str) -> tuple[Created, ...]:
        """Return everything in the cloud that carries the run's tag."""
        ...


@runtime_checkable
class Publisher(Protocol):
    """Images that the cloud publishes to a project: what a VM has of them need not be sent here."""

    async def published(self, project: str = "") -> tuple[Image, ...]:
        """Return those that ``project`` (the credential's own when empty) may read, the newest first.

        An image's id is of its content: it never means other bytes.
        """
        ...

    async def open_images(self, act: Act, ids: tuple[str, ...], project: str = "") -> tuple[DiskRef, ...]:
        """Open images for reading, as disks of their sizes, until ``close_images``; nobody can write them.

        Raise NotFound (``image.unknown``) for one that is not published to the project, as for none.
        """
        ...

    async def close_images(self, act: Act) -> None:
        """Close what the run has open. Not an error when that is nothing, or an image is gone."""
        ...


@runtime_checkable
class Prober(Protocol):
    """Asking a guest, from inside its cloud, whether it is well."""

    async def probe(self, vm_id: str, probe: Probe) -> ProbeResult:
        """Try once, within a few seconds. A guest that does not answer is a bad result, not an error."""
        ...


@runtime_checkable
class GatewayHost(Protocol):
    """A seat for data-plane processes in the reserved subnets."""

    async def place(self, way: Way) -> Place:
        """Return the seat for reading out (VMExportSubnet) or writing in (VMImportSubnet)."""
        ...


@runtime_checkable
class Console(Protocol):
    """The serial console."""

    async def console_log(self, vm_id: str, last_bytes: int = 65536) -> str:
        """Return the end of what the guest has printed."""
        ...


@runtime_checkable
class Provisioner(Protocol):
    """Making and deleting VMs outside any migration."""

    async def create_vm(self, act: Act, vm: VM, image: str, power_on: bool = True) -> VM:
        """Make a VM as described, its first disk a copy of the cloud's image ``image``."""
        ...

    async def delete_vm(self, act: Act, vm_id: str) -> tuple[str, ...]:
        """Delete the VM and its disks; return in words what was deleted. Not an error when it is gone."""
        ...

    def deletes(self, vm: VM) -> tuple[str, ...]:
        """Say in words what ``delete_vm`` would delete."""
        ...
