"""The simulated cloud: every ability of a real one over a directory.

Its guests are as well as their first disk: a VM answers probes when it runs and its boot disk begins with
``boot``. Three tags make a guest misbehave: ``guest.shutdown=refuse``, ``guest.health=bad``, and
``guest.health=bad-elsewhere`` (well at home, ill in any other cloud).
"""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

from crossport import errors
from crossport.clouds.memory import image as images_of
from crossport.clouds.memory import sharing, tracking
from crossport.clouds.memory import volume as volumes
from crossport.clouds.memory.store import Store
from crossport.model.artifact import Artifact, DiskRef, Export, ExportPoint, Marks, Place, Role, Way
from crossport.model.construct import EXPORT_SUBNET, IMPORT_SUBNET, Constructs, Image, Quota
from crossport.model.health import Probe, ProbeResult
from crossport.model.permit import Fence
from crossport.model.record import record
from crossport.model.run import Act, Created
from crossport.model.vm import VM, Disk, PowerState
from crossport.spi.cloud import RUN_TAG, NewVM, RoomFor

__all__ = ["BOOTABLE", "MemoryCloud"]

BOOTABLE = b"boot"
HOME_TAG = "memory-home"
ISOLATED_TAG = "memory-isolated"


@record()
class _Epoch:
    highest: int


class MemoryCloud:
    """A simulated cloud named ``name`` whose state lies in ``root``."""

    def __init__(self, name: str, root: Path) -> None:
        self.name = name
        self._store = Store(root)

    # Cloud
    async def check(self) -> str:
        """Say what this is; Unavailable before it was founded."""
        self._constructs()
        return f"simulated cloud in {self._store.root}"

    async def installation(self) -> str:
        """Return the directory, whatever links lead to it."""
        return str(self._store.root.resolve())

    async def close(self) -> None:
        """Nothing is held."""

    def found(self, constructs: Constructs) -> None:
        """Set what the cloud offers."""
        self._store.put("cloud", "constructs", constructs)

    def disk_path(self, disk_id: str) -> Path:
        """Return the file that is the disk, for tests that look into it."""
        return self._store.disk(disk_id)

    # Inventory
    async def constructs(self, project: str = "") -> Constructs:
        """Return what the cloud offers, less what its VMs use."""
        whole = self._constructs()
        if project and project != whole.project:
            raise errors.NotFound(
                "project.unknown",
                f"{self.name} has no project {project}.",
                remedy=f"Its project is {whole.project}.",
            )
        vms = self._store.every("vms", VM)
        disk = sum(volume.size for volume in volumes.every(self._store))
        disk += sum(disk.size for vm in vms for disk in vm.disks)
        return dataclasses.replace(
            whole,
            free=Quota(
                vms=whole.free.vms - len(vms),
                cpus=whole.free.cpus - sum(vm.cpus for vm in vms),
                memory=whole.free.memory - sum(vm.memory for vm in vms),
                disk=whole.free.disk - disk,
            ),
        )

    async def vms(self, project: str = "") -> tuple[VM, ...]:
        """Return all VMs."""
        del project
        self._constructs()
        return tuple(sorted(map(_shown, self._store.every("vms", VM)), key=lambda vm: (vm.name, vm.id)))

    async def vm(self, reference: str) -> VM:
        """Return one VM by id or name."""
        by_id = self._store.find("vms", reference, VM)
        exact = [by_id] if by_id else [vm for vm in self._store.every("vms", VM) if vm.name == reference]
        if not exact:
            self._constructs()  # a cloud that is gone has lost no VM
            raise errors.NotFound(
                "vm.unknown",
                f"{self.name} has no VM {reference}.",
                remedy=f"List them with: crossport vm list {self.name}",
                field="vm",
            )
        if len(exact) > 1:
            raise errors.Conflict(
                "vm.name.ambiguous",
                f"{self.name} has {len(exact)} VMs named {reference}.",
                remedy=f"Use an id: {', '.join(vm.id for vm in exact)}.",
                field="vm",
            )
        return _shown(exact[0])

    # Provisioner
    async def create_vm(self, act: Act, vm: VM, image: str, power_on: bool = True) -> VM:
        """Make a VM whose first disk begins with ``image``: an image, or a text as it is."""
        with self._store.locked():
            self._admit(act)
            known = self._store.find("vms", _made(act, "vm"), VM)
            if known:
                return known
            self._check_room(vm)
            disk = dataclasses.replace(vm.disks[0], id=_made(act, "disk-0"), boot=True)
            self._store.make_disk(disk.id, disk.size, images_of.beginning(self._store, image, disk.size))
            made = dataclasses.replace(
                vm,
                id=_made(act, "vm"),
                disks=(disk, *vm.disks[1:]),
                power=PowerState.RUNNING if power_on else PowerState.STOPPED,
                tags={**vm.tags, RUN_TAG: act.run, HOME_TAG: self.name},
            )
            return sharing.keep(self._store, made)

    def deletes(self, vm: VM) -> tuple[str, ...]:
        """Say what would be deleted."""
        own = [disk for disk in vm.disks if not disk.used_by]
        return (f"vm {vm.name} ({vm.id})", *(f"disk {disk.name} ({disk.size} bytes)" for disk in own))

    async def delete_vm(self, act: Act, vm_id: str) -> tuple[str, ...]:
        """Delete the VM and its disks."""
        with self._store.locked():
            self._admit(act)
            vm = self._store.find("vms", vm_id, VM)
            if vm is None:
                return ()
            if vm.power is PowerState.RUNNING:
                raise errors.Conflict("vm.running", f"{vm.name} runs.", remedy="Stop it first.")
            sharing.drop(self._store, vm)
            return self.deletes(vm)

    # ImageStore
    async def images(self) -> tuple[Image, ...]:
        """Return the images."""
        return images_of.listed(self._store)

    async def add_image(
        self, name: str, image_format: str, content: AsyncIterator[bytes], project: str = ""
    ) -> Image:
        """Take any content in, for ``project`` alone or for all: there is nobody whom it could harm."""
        return await images_of.add(self._store, name, image_format, content, project)

    async def drop_image(self, name: str) -> None:
        """Delete an image."""
        images_of.drop(self._store, name)

    # Publisher
    async def published(self, project: str = "") -> tuple[Image, ...]:
        """Return the images that the project may read."""
        return images_of.published(self._store, project or self._constructs().project)

    async def open_images(self, act: Act, ids: tuple[str, ...], project: str = "") -> tuple[DiskRef, ...]:
        """Open copies of images."""
        with self._store.locked():
            self._admit(act)
            return images_of.opened(self._store, act.run, ids, await self.published(project))

    async def close_images(self, act: Act) -> None:
        """Drop the copies."""
        with self._store.locked():
            self._admit(act)
            images_of.close(self._store, act.run)

    # Power
    async def start(self, act: Act, vm_id: str) -> None:
        """Start the VM."""
        with self._store.locked():
            self._admit(act)
            vm = self._known(vm_id)
            if vm.fenced:
                raise errors.Refused(
                    "vm.fenced",
                    f"{vm.name} is fenced and must not start.",
                    remedy="It was migrated: use the copy at the target, or roll the run back.",
                )
            self._put(vm, power=PowerState.RUNNING)

    async def shut_down(self, act: Act, vm_id: str, timeout_s: float) -> bool:
        """Ask the guest; one with the tag guest.shutdown=refuse does not."""
        del timeout_s
        with self._store.locked():
            self._admit(act)
            vm = self._known(vm_id)
            if vm.power is PowerState.RUNNING and vm.tags.get("guest.shutdown") == "refuse":
                return False
            self._put(vm, power=PowerState.STOPPED)
            return True

    async def power_off(self, act: Act, vm_id: str) -> None:
        """Take the power away."""
        with self._store.locked():
            self._admit(act)
            self._put(self._known(vm_id), power=PowerState.STOPPED)

    # Fencer
    async def fence(self, act: Act, vm_id: str) -> Fence:
        """Lock the stopped VM."""
        with self._store.locked():
            self._admit(act)
            vm = self._known(vm_id)
            if vm.power is PowerState.RUNNING:
                raise errors.Conflict(
                    "vm.running", f"{vm.name} runs and cannot be fenced.", remedy="Stop it first."
                )
            self._put(vm, fenced=True)
            return Fence(done=("locked", "autostart off"), not_done=())

    async def unfence(self, act: Act, vm_id: str) -> None:
        """Unlock."""
        with self._store.locked():
            self._admit(act)
            self._put(self._known(vm_id), fenced=False)

    # Exporter
    def points(self) -> frozenset[ExportPoint]:
        """All of them."""
        return frozenset(ExportPoint)

    async def suspend(self, act: Act, vm_id: str) -> None:
        """Stop with the memory kept: make-believe memory of 64 KiB."""
        with self._store.locked():
            self._admit(act)
            vm = self._known(vm_id)
            if vm.power is PowerState.STOPPED:
                raise errors.Conflict(
                    "vm.stopped",
                    f"{vm.name} is off; there is no memory to keep.",
                    remedy="Move it cold: --mode cold",
                )
            self._store.make_disk(f"{vm.id}-memory", 65536, b"memory of " + vm.name.encode())
            self._put(vm, power=PowerState.SUSPENDED)

    async def export(self, act: Act, vm_id: str, point: ExportPoint) -> Export:
        """Open the disks; a snapshot is a copy made now."""
        with self._store.locked():
            self._admit(act)
            return self._exported(vm_id, point, f"{act.run}-{act.step}")

    def _exported(self, vm_id: str, point: ExportPoint, moment: str) -> Export:
        """Open the disks; copies for a snapshot have names that begin with ``moment``."""
        vm = self._known(vm_id)
        wanted = {ExportPoint.STOPPED: PowerState.STOPPED, ExportPoint.SUSPENDED: PowerState.SUSPENDED}
        if point in wanted and vm.power is not wanted[point]:
            raise errors.Conflict(
                "vm.power.wrong",
                f"{vm.name} is {vm.power}, not {wanted[point]}.",
                remedy="Bring it into that state, then try again.",
            )
        artifacts = [
            Artifact(role=Role.DISK, name=f"disk-{i}", ref=self._readable(disk, point, moment))
            for i, disk in enumerate(vm.disks)
            if not disk.seed
        ]
        if point is ExportPoint.SUSPENDED:
            ref = DiskRef(kind="file", locator=str(self._store.disk(f"{vm.id}-memory")), size=65536)
            artifacts.append(Artifact(role=Role.MEMORY, name="memory", ref=ref))
        frozen = point is ExportPoint.SNAPSHOT and vm.tags.get("guest.agent") == "yes"
        return Export(vm=_shown(vm), point=point, artifacts=tuple(artifacts), frozen=frozen)

    def _readable(self, disk: Disk, point: ExportPoint, moment: str) -> DiskRef:
        path = self._store.disk(disk.id)
        if point is ExportPoint.SNAPSHOT:
            copy = self._store.disk(f"{moment}-{disk.id}-snapshot")
            if not copy.exists():
                fresh = copy.with_suffix(".new")
                fresh.write_bytes(path.read_bytes())
                fresh.replace(copy)
            path = copy
        return DiskRef(kind="file", locator=str(path), size=disk.size, identity=disk.id)

    async def end_export(self, act: Act, vm_id: str) -> None:
        """Remove the run's snapshots."""
        with self._store.locked():
            self._admit(act)
            self._drop_snapshots(act)

    def _drop_snapshots(self, act: Act, *, but: str = "") -> None:
        for path in (self._store.root / "disks").glob(f"{act.run}-*-snapshot"):
            if not but or not path.name.startswith(f"{but}-"):
                path.unlink(missing_ok=True)

    # ChangeTracker
    async def export_changes(self, act: Act, vm_id: str, point: ExportPoint, marks: Marks) -> Export:
        """Open the disks; what changed is found by comparing them with what they held at the mark."""
        with self._store.locked():
            self._admit(act)
            moment = f"{act.run}-{marks.mark or act.step}"
            self._drop_snapshots(act, but=moment)
            export = self._exported(vm_id, point, moment)
            return tracking.tracked(self._store, act.run, export, marks)

    async def end_tracking(self, act: Act, vm_id: str) -> None:
        """Forget the run's marks."""
        with self._store.locked():
            self._admit(act)
            tracking.forget_marks(self._store, act.run, vm_id)

    # Importer
    async def prepare_import(self, act: Act, rooms: tuple[RoomFor, ...]) -> tuple[Artifact, ...]:
        """Make disks; under a higher epoch, take away what older writers have open."""
        with self._store.locked():
            self._admit(act)
            wanted = sum(room.size for room in rooms)
            if wanted > self._constructs().disk_free:
                raise errors.Blocked(
                    "target.disk.full",
                    f"{self.name} has no room for {wanted} bytes.",
                    remedy="Free space at the target, or choose another target.",
                )
            return tuple(
                volumes.artifact(self._store, volumes.writable(self._store, act, room)) for room in rooms
            )

    async def seal_import(self, act: Act) -> tuple[Artifact, ...]:
        """Close the run's disks for writing."""
        with self._store.locked():
            self._admit(act)
            mine = [one for one in volumes.every(self._store) if one.run == act.run]
            for one in mine:
                volumes.put(self._store, dataclasses.replace(one, sealed=True))
            return tuple(volumes.artifact(self._store, one) for one in mine)

    async def instantiate(self, act: Act, new: NewVM) -> VM:
        """Define and start the VM from sealed disks."""
        with self._store.locked():
            self._admit(act)
            vm_id = f"{act.run}-vm"
            known = self._store.find("vms", vm_id, VM)
            if known:
                return known
            self._check_room(new.vm)
            sealed = [volumes.sealed(self._store, act, artifact) for artifact in new.artifacts]
            sources = [artifact for artifact in new.artifacts if artifact.role is Role.DISK]
            disks = tuple(
                dataclasses.replace(disk, id=f"{act.run}-{artifact.name}", used_by=())
                for disk, artifact in zip(new.vm.disks, sources, strict=True)
            )
            vm = dataclasses.replace(
                new.vm,
                id=vm_id,
                disks=disks,
                power=PowerState.RUNNING,
                fenced=False,
                quarantined=new.quarantine or new.isolated,
                tags={**new.vm.tags, RUN_TAG: act.run, **({ISOLATED_TAG: "yes"} if new.isolated else {})},
            )
            self._store.put("vms", vm_id, vm)
            for volume in sealed:
                self._store.drop("volumes", volume.id)
                if volume.role is not Role.DISK:  # the guest has taken it in
                    self._store.disk(volume.id).unlink(missing_ok=True)
            return vm

    async def open_network(self, act: Act, vm_id: str) -> None:
        """End the quarantine."""
        with self._store.locked():
            self._admit(act)
            vm = self._known(vm_id)
            if ISOLATED_TAG in vm.tags:
                raise errors.Refused(
                    "vm.isolated",
                    f"{vm.name} is an isolated copy and stays so.",
                    remedy="Remove it with: crossport test finish RUN",
                )
            self._put(vm, quarantined=False)

    async def remove(self, act: Act, thing: Created) -> None:
        """Remove a VM or a volume."""
        with self._store.locked():
            self._admit(act)
            name = thing.id or thing.name
            vm = self._store.find("vms", name, VM)
            if thing.kind != "vm":
                self._store.drop("volumes", name)
                if not any(disk.id == name for vm in self._store.every("vms", VM) for disk in vm.disks):
                    self._store.disk(name).unlink(missing_ok=True)
            elif vm is not None:
                sharing.drop(self._store, vm)

    async def tagged(self, run: str) -> tuple[Created, ...]:
        """Return the run's VMs and volumes."""
        self._constructs()  # a cloud that is gone has lost nothing
        vms = [vm for vm in self._store.every("vms", VM) if vm.tags.get(RUN_TAG) == run]
        mine = [volume for volume in volumes.every(self._store) if volume.run == run]
        return (
            *(Created(run=run, cloud=self.name, kind="vm", name=vm.name, id=vm.id) for vm in vms),
            *(Created(run=run, cloud=self.name, kind="volume", name=v.id, id=v.id) for v in mine),
        )

    # Prober, GatewayHost, Console
    async def probe(self, vm_id: str, probe: Probe) -> ProbeResult:
        """A guest is well when it runs, its boot disk begins with ``boot``, and no tag says otherwise."""
        vm = self._known(vm_id)
        illness = vm.tags.get("guest.health", "")
        ill = illness == "bad" or (illness == "bad-elsewhere" and vm.tags.get(HOME_TAG) != self.name)
        boot = next((disk for disk in vm.disks if disk.boot), None)
        bootable = boot is not None and self._store.disk(boot.id).read_bytes().startswith(BOOTABLE)
        good = vm.power is PowerState.RUNNING and bootable and not ill
        return ProbeResult(probe=probe, good=good, text="answers" if good else "does not answer")

    async def place(self, way: Way) -> Place:
        """This machine."""
        subnet = EXPORT_SUBNET if way is Way.READ else IMPORT_SUBNET
        return Place(cloud=self.name, subnet=subnet, address="127.0.0.1")

    async def console_log(self, vm_id: str, last_bytes: int = 65536) -> str:
        """One line."""
        return f"{self._known(vm_id).name} says hello\n"[-last_bytes:]

    # Private.
    def _constructs(self) -> Constructs:
        found = self._store.find("cloud", "constructs", Constructs)
        if found is None:
            raise errors.Unavailable(
                "cloud.unreachable",
                f"There is no simulated cloud in {self._store.root}.",
                remedy="Bring the directory back, or correct the path: crossport cloud show CLOUD",
            )
        return found

    def _known(self, vm_id: str) -> VM:
        vm = self._store.find("vms", vm_id, VM)
        if vm is None:
            self._constructs()
            raise errors.NotFound(
                "vm.unknown",
                f"{self.name} has no VM {vm_id}.",
                remedy=f"List them with: crossport vm list {self.name}",
            )
        return vm

    def _put(
        self,
        vm: VM,
        *,
        power: PowerState | None = None,
        fenced: bool | None = None,
        quarantined: bool | None = None,
    ) -> None:
        self._store.put(
            "vms",
            vm.id,
            dataclasses.replace(
                vm,
                power=vm.power if power is None else power,
                fenced=vm.fenced if fenced is None else fenced,
                quarantined=vm.quarantined if quarantined is None else quarantined,
            ),
        )

    def _check_room(self, vm: VM) -> None:
        whole = self._constructs().free
        vms = self._store.every("vms", VM)
        if len(vms) >= whole.vms or sum(one.memory for one in vms) + vm.memory > whole.memory:
            raise errors.Blocked(
                "target.quota.full",
                f"{self.name} has no quota left for {vm.name}.",
                remedy="Raise the project's quota, or delete what is not needed.",
            )

    def _admit(self, act: Act) -> None:
        known = self._store.find("epochs", act.run, _Epoch)
        if known and act.epoch < known.highest:
            raise errors.Refused(
                "cloud.epoch.old",
                f"Epoch {act.epoch} of {act.run} is over; {known.highest} is in force.",
                remedy="Nothing: the execution that has taken over goes on.",
            )
        if known is None or act.epoch > known.highest:
            self._store.put("epochs", act.run, _Epoch(highest=act.epoch))


def _shown(vm: VM) -> VM:
    """Return the VM as others see it: the fence has turned its autostart off, and keeps what was wanted."""
    return dataclasses.replace(vm, autostart=False) if vm.fenced and vm.autostart else vm


def _made(act: Act, what: str) -> str:
    return f"{act.run}-{act.step}-{what}"
