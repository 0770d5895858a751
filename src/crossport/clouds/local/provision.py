"""Make VMs, from an image or from what a run wrote in, and delete them.

A VM is in the state before anything of it is on the disk, with the tag of the run that makes it. Made again
by the same act, what is missing is made and nothing twice.
"""

import dataclasses
import re
import shutil
from pathlib import Path

from crossport import errors
from crossport.clouds.local import catalog, inbound, outbound, wire
from crossport.clouds.local import guest as power
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.launch import control_of, launch, port_of, set_forwards
from crossport.clouds.local.publishing import published
from crossport.clouds.local.state import Guest, Image, OpenExport, Volume
from crossport.clouds.local.volume import drop_file, looks_like_seed, new_volume
from crossport.hypervisor import qmp
from crossport.hypervisor.firmware import UEFI_VARIABLES, need_uefi
from crossport.hypervisor.qemu import machine_type
from crossport.hypervisor.swtpm import STATE_NAME
from crossport.model.artifact import Artifact, Role
from crossport.model.run import Act
from crossport.model.vm import VM, Disk, Firmware, PowerState, name_fault
from crossport.spi.cloud import RUN_TAG, NewVM
from crossport.units import size_text

__all__ = ["create_vm", "delete_vm", "instantiate", "open_network", "remove_guest"]

# What the buses have slots for, and a PCI bus beside everything else.
_MOST_DISKS, _MOST_NICS = 16, 8
_LARGEST_DISK = 64 << 40
_EXPORT_NAME = re.compile(r"[?&]export=([^&]+)")


async def create_vm(cloud: Installation, act: Act, vm: VM, image_name: str, power_on: bool) -> VM:
    """Make a VM whose first disk is a copy of the image, and start it if that is wanted."""
    vm_id = cloud.made_id(act, "vm")
    async with cloud.working(vm_id, "creating", act):
        made = cloud.state.find(vm_id, Guest)
        if made is None:
            image = _image(cloud, image_name, vm.project)
            async with cloud.allocation:
                made = _described_anew(cloud, vm, vm_id, act)
                made = _with_own_disks(cloud, made, image)
                cloud.state.put(vm_id, made)
        await _filled(cloud, made, _image(cloud, image_name, vm.project))
        made = await power.settled(cloud, cloud.guest(vm_id))
        if power_on and made.daemon is None and not made.vm.fenced:
            await launch(cloud, made)
        return catalog.settled(cloud, cloud.guest(vm_id))


async def instantiate(cloud: Installation, act: Act, new: NewVM) -> VM:
    """Define the VM over sealed volumes and start it: in quarantine, isolated, or open."""
    vm_id = cloud.made_id(act, f"instance {new.vm.name}")
    async with cloud.working(vm_id, "instantiating", act):
        made = cloud.state.find(vm_id, Guest)
        if made is None:
            async with cloud.allocation:
                made = _described_anew(cloud, new.vm, vm_id, act)
                made = _with_volumes(cloud, made, new, act)
        await _taken_over(cloud, made)
        made = await power.settled(cloud, cloud.guest(vm_id))
        if made.daemon is None:
            await launch(cloud, made)
        else:
            await power.go_on(cloud, made)
        return catalog.settled(cloud, cloud.guest(vm_id))


def _described_anew(cloud: Installation, vm: VM, vm_id: str, act: Act) -> Guest:
    """Check everything about ``vm`` that can be wrong, and return it as this cloud's own."""
    if fault := name_fault(vm.name):
        raise errors.Invalid(
            "vm.name.unusable", f"The VM's name {fault}.", field="name", remedy="Choose another name."
        )
    catalog.need_known(cloud, vm)
    if not vm.disks:
        raise errors.Invalid(
            "vm.disks.none", "A VM needs a disk.", field="disks", remedy="Name at least one."
        )
    _need_sizes(vm)
    size = catalog.flavor(cloud, vm.flavor)
    if vm.firmware is Firmware.UEFI:
        need_uefi()
    vm = dataclasses.replace(
        vm,
        id=vm_id,
        project=vm.project or cloud.spec.projects[0],
        zone=vm.zone or cloud.spec.zones[0],
        cpus=size.cpus,
        memory=size.memory,
        machine=machine_type(tuple(disk.bus for disk in vm.disks)),
        power=PowerState.STOPPED,
        fenced=False,
        quarantined=False,
        instance_id=vm.instance_id or vm_id,
        tags={**vm.tags, RUN_TAG: act.run},
        busy="",
    )
    if size.disk and vm.disks[0].size > size.disk:
        raise errors.Invalid(
            "flavor.disk.small",
            f"The boot disk needs {size_text(vm.disks[0].size)}; {size.name} has {size_text(size.disk)}.",
            field="flavor",
            remedy="Choose a larger flavor.",
        )
    vm = catalog.addressed(cloud, vm)
    catalog.need_room(cloud, vm.project, vm=vm)
    return Guest(vm=vm, uid=cloud.new_uid(), seeded=True, run=act.run)


def _need_sizes(vm: VM) -> None:
    """Raise Invalid for disks and NICs that no VM can have here, before sums are made of them."""
    for number, disk in enumerate(vm.disks):
        if not 0 <= disk.size <= _LARGEST_DISK or (number and not disk.id and not disk.size):
            raise errors.Invalid(
                "vm.disk.size",
                f"A disk of {disk.size} bytes cannot be made.",
                field=f"disks[{number}].size",
                remedy=f"Give it a size above 0, at most {size_text(_LARGEST_DISK)}.",
            )
    for field, count, most in (("disks", len(vm.disks), _MOST_DISKS), ("nics", len(vm.nics), _MOST_NICS)):
        if count > most:
            raise errors.Invalid(
                f"vm.{field}.many", f"A VM has at most {most} {field} here.", field=field, remedy="Use fewer."
            )


def _with_own_disks(cloud: Installation, guest: Guest, image: Image) -> Guest:
    """Give the new guest's disks ids and volumes that are not there yet."""
    disks: list[Disk] = []
    for number, disk in enumerate(guest.vm.disks):
        if number and disk.id:
            disks.append(_disk_of_others(cloud, disk, guest.vm.project, f"disks[{number}].id"))
            continue
        size = max(disk.size, image.size) if number == 0 else disk.size
        disk_id = f"{guest.vm.id}-disk-{number}"
        name = disk.name or f"disk-{number}"
        storage_class = disk.storage_class or "qcow2"
        catalog.need_storage(storage_class)
        disks.append(
            dataclasses.replace(
                disk, id=disk_id, name=name, size=size, boot=number == 0, storage_class=storage_class
            )
        )
    shared = [volume for disk in disks if (volume := cloud.state.find(disk.id, Volume))]
    own = [disk for disk in disks if disk.id not in {volume.id for volume in shared}]
    catalog.need_room(cloud, guest.vm.project, disk=sum(disk.size for disk in own))
    vm = dataclasses.replace(guest.vm, disks=tuple(disks))
    # Who opens a disk together with others is the same user of the machine as they.
    guest = dataclasses.replace(guest, vm=vm, uid=_only_uid(shared, guest.uid))
    with cloud.state.together():
        for disk in own:
            cloud.state.put(disk.id, _disk_volume(guest, disk))
        return _with_state_volumes(cloud, guest)


def _disk_of_others(cloud: Installation, disk: Disk, project: str, field: str) -> Disk:
    """Return the disk as the VM of the project that has it describes it; raise NotFound if none has."""
    for other in cloud.state.every(Guest):
        if other.vm.project != project:
            continue
        for known in other.vm.disks:
            if known.id == disk.id:
                return dataclasses.replace(known, boot=False, bus=disk.bus, name=disk.name or known.name)
    raise errors.NotFound(
        "volume.unknown",
        f"No VM of project {project} of {cloud.spec.name} has a disk {disk.id}.",
        field=field,
        remedy="Leave the id empty to have a new disk, or name that of a VM's disk to share it.",
    )


def _only_uid(shared: list[Volume], own: int) -> int:
    """Return the user that has all shared disks, else ``own``; raise Conflict when there are several."""
    uids = {volume.uid for volume in shared}
    if len(uids) > 1:
        raise errors.Conflict(
            "volume.users.differ",
            "These disks belong to VMs that have nothing to do with one another.",
            field="disks",
            remedy="Share the disks of one VM only.",
        )
    return uids.pop() if uids else own


def _disk_volume(guest: Guest, disk: Disk) -> Volume:
    return Volume(
        id=disk.id,
        name=disk.name,
        role=Role.DISK,
        size=disk.size,
        format=disk.storage_class,
        path=f"volumes/{disk.id}.{disk.storage_class}",
        uid=guest.uid,
        project=guest.vm.project,
        vm_id=guest.vm.id,
        storage_class=disk.storage_class,
    )


def _with_state_volumes(cloud: Installation, guest: Guest) -> Guest:
    """Give the guest what its firmware and TPM keep, where nothing was brought along."""
    changes: dict[str, str] = {}
    if guest.vm.firmware is Firmware.UEFI and not guest.nvram:
        changes["nvram"] = f"{guest.vm.id}-nvram"
        path = f"volumes/{changes['nvram']}.raw"
        cloud.state.put(changes["nvram"], _state_volume(guest, Role.NVRAM, changes["nvram"], path))
    if guest.vm.tpm and not guest.tpm:
        changes["tpm"] = f"{guest.vm.id}-tpm"
        path = f"vms/{guest.vm.id}/tpm/{STATE_NAME}"
        cloud.state.put(changes["tpm"], _state_volume(guest, Role.TPM, changes["tpm"], path))
    return dataclasses.replace(
        guest, nvram=changes.get("nvram", guest.nvram), tpm=changes.get("tpm", guest.tpm)
    )


def _state_volume(guest: Guest, role: Role, volume_id: str, path: str) -> Volume:
    size = UEFI_VARIABLES.stat().st_size if role is Role.NVRAM else 0
    return Volume(
        id=volume_id,
        name=str(role),
        role=role,
        size=size,
        format="raw",
        path=path,
        uid=guest.uid,
        vm_id=guest.vm.id,
    )


async def _filled(cloud: Installation, guest: Guest, image: Image) -> None:
    """Make the files of the guest's volumes that are not whole yet."""
    folder = cloud.layout.vm(guest.vm.id)
    folder.mkdir(mode=0o700, exist_ok=True)
    done = folder / "filled"
    if not done.exists():
        for number, disk in enumerate(guest.vm.disks):
            volume = cloud.volume(disk.id)
            if volume.vm_id != guest.vm.id:
                continue
            volume = await new_volume(cloud, volume, image if number == 0 else None)
            if await looks_like_seed(cloud, volume):
                cloud.state.put(volume.id, dataclasses.replace(volume, seed=True))
        _fill_state(cloud, guest)
        done.touch()


def _fill_state(cloud: Installation, guest: Guest) -> None:
    if guest.nvram and not cloud.path(cloud.volume(guest.nvram)).exists():
        path = cloud.path(cloud.volume(guest.nvram))
        shutil.copyfile(UEFI_VARIABLES, path)
        cloud.own(path, guest.uid)
    if guest.tpm:
        folder = cloud.path(cloud.volume(guest.tpm)).parent
        folder.mkdir(parents=True, exist_ok=True)
        cloud.own(folder, guest.uid)


def _with_volumes(cloud: Installation, guest: Guest, new: NewVM, act: Act) -> Guest:
    """Give the guest the volumes that the run has sealed, each to nobody else."""
    volumes = [_sealed_volume(cloud, artifact, act) for artifact in new.artifacts]
    own = [volume for volume in volumes if volume.role is Role.DISK]
    if len(own) != len(guest.vm.disks):
        raise errors.Invalid(
            "vm.disks.differ",
            f"{guest.vm.name} has {len(guest.vm.disks)} disks, but {len(own)} were written.",
            field="disks",
            remedy="Describe exactly the disks that were written.",
        )
    disks = tuple(
        dataclasses.replace(
            disk,
            id=volume.id,
            name=disk.name or volume.name,
            size=volume.size,
            boot=number == 0,
            storage_class=volume.storage_class,
            seed=volume.seed,
        )
        for number, (disk, volume) in enumerate(zip(guest.vm.disks, own, strict=True))
    )
    by_role = {volume.role: volume.id for volume in volumes}
    memory = by_role.get(Role.MEMORY, "") if new.resume else ""
    _need_memory(guest, new, memory)
    vm = dataclasses.replace(guest.vm, disks=disks, quarantined=new.quarantine or new.isolated)
    guest = dataclasses.replace(
        guest,
        vm=vm,
        isolated=new.isolated,
        nvram=by_role.get(Role.NVRAM, "") if vm.firmware is Firmware.UEFI else "",
        tpm=by_role.get(Role.TPM, "") if vm.tpm else "",
        memory=memory,
        seeded=not memory,
    )
    with cloud.state.together():
        for volume in volumes:
            kept = dataclasses.replace(volume, vm_id=vm.id, uid=guest.uid, project=vm.project)
            cloud.state.put(volume.id, kept)
        guest = _with_state_volumes(cloud, guest)
        cloud.state.put(vm.id, guest)
    return guest


def _need_memory(guest: Guest, new: NewVM, memory: str) -> None:
    if new.resume and not memory:
        raise errors.Invalid(
            "vm.memory.missing",
            f"{guest.vm.name} cannot be resumed: no memory state was written.",
            field="resume",
            remedy="Move it cold instead.",
        )
    if new.resume and (guest.vm.cpus, guest.vm.memory) != (new.vm.cpus, new.vm.memory):
        raise errors.Conflict(
            "flavor.memory.differs",
            f"A memory state of {size_text(new.vm.memory)} and {new.vm.cpus} processors does not fit "
            f"flavor {guest.vm.flavor}.",
            field="flavor",
            remedy="Choose a flavor of exactly the source's size, or move it cold.",
        )


def _sealed_volume(cloud: Installation, artifact: Artifact, act: Act) -> Volume:
    found = _EXPORT_NAME.search(artifact.ref.locator)
    volume = cloud.volume(found.group(1) if found else artifact.name)
    if volume.run != act.run:
        raise errors.Refused(
            "volume.foreign",
            f"Volume {volume.id} was not written by run {act.run}.",
            remedy="Use the volumes that prepare_import returned.",
        )
    if volume.vm_id:
        raise errors.Conflict(
            "volume.used",
            f"Volume {volume.id} belongs to VM {volume.vm_id}.",
            remedy="A volume has one VM at most.",
        )
    if not inbound.is_sealed(cloud, volume):
        raise errors.Conflict(
            "import.open", f"Volume {volume.id} is still being written.", remedy="Seal the import first."
        )
    return volume


async def _taken_over(cloud: Installation, guest: Guest) -> None:
    """Put the imported files where the guest's user has them, and add what was not brought along."""
    folder = cloud.layout.vm(guest.vm.id)
    folder.mkdir(mode=0o700, exist_ok=True)
    await inbound.end_servers(cloud, guest.run)
    wanted = Path(f"vms/{guest.vm.id}/tpm/{STATE_NAME}")
    if guest.tpm and cloud.volume(guest.tpm).path != str(wanted):
        volume = cloud.volume(guest.tpm)
        (cloud.layout.root / wanted).parent.mkdir(exist_ok=True)
        if cloud.path(volume).exists():
            cloud.path(volume).rename(cloud.layout.root / wanted)
        cloud.state.put(volume.id, dataclasses.replace(volume, path=str(wanted)))
    _fill_state(cloud, guest)
    for volume in _volumes(cloud, guest):
        if cloud.path(volume).exists():
            cloud.own(cloud.path(volume), guest.uid)


async def open_network(cloud: Installation, act: Act, vm_id: str) -> None:
    """End the quarantine; refuse that for an isolated copy."""
    async with cloud.working(vm_id, "opening", act):
        guest = await power.settled(cloud, cloud.guest(vm_id))
        if guest.isolated:
            raise errors.Refused(
                "vm.isolated",
                f"{guest.vm.name} is an isolated copy and stays so.",
                remedy="Migrate the VM instead of testing the migration.",
            )
        guest = dataclasses.replace(guest, vm=dataclasses.replace(guest.vm, quarantined=False))
        await refresh_ports(cloud, guest)


async def refresh_ports(cloud: Installation, guest: Guest) -> Guest:
    """Put what the state says of the guest's NICs in force, and keep it."""
    cloud.state.put(guest.vm.id, guest)
    if guest.daemon is None or guest.detached:
        return guest
    after = tuple([await cloud.fabric.update(port_of(cloud, guest, i)) for i in range(len(guest.vm.nics))])
    before = guest.forwards
    if after != before:
        async with qmp.monitor(control_of(cloud, guest)) as steer:
            for index, forwards in enumerate(after):
                await set_forwards(steer, index, before[index] if index < len(before) else (), forwards)
    guest = dataclasses.replace(guest, forwards=after)
    cloud.state.put(guest.vm.id, guest)
    return guest


async def delete_vm(cloud: Installation, act: Act, vm_id: str) -> tuple[str, ...]:
    """Delete a VM that is off, and everything that is its own. Say what; nothing when it was gone."""
    async with cloud.working(vm_id, "deleting", act):
        guest = cloud.state.find(vm_id, Guest)
        if guest is None:
            return ()
        guest = await power.settled(cloud, guest)
        if guest.daemon is not None:
            raise errors.Conflict("vm.running", f"{guest.vm.name} runs.", remedy="Stop it first.")
        if any(one.vm_id == vm_id for one in cloud.state.every(OpenExport)):
            raise errors.Conflict(
                "vm.exported", f"The disks of {guest.vm.name} are being read.", remedy="Wait until that ends."
            )
        words = wire.deleted_words(catalog.settled(cloud, guest))
        remove_files(cloud, guest)
        return words


async def remove_guest(cloud: Installation, act: Act, vm_id: str) -> None:
    """Take the power away from a VM that a run made, and delete it with everything it has."""
    async with cloud.working(vm_id, "removing", act):
        guest = cloud.state.find(vm_id, Guest)
        if guest is None:
            return
        guest = await power.ended(cloud, guest)
        for opened in cloud.state.every(OpenExport):
            if opened.vm_id == vm_id:
                await outbound.drop_export(cloud, opened)
        remove_files(cloud, guest)


def remove_files(cloud: Installation, guest: Guest) -> None:
    """Delete what is on the disk, then forget it, all at once: a second call makes a crash good."""
    heirs = {one.id: catalog.sharers(cloud, guest, one.id) for one in _volumes(cloud, guest)}
    own = [one for one in _volumes(cloud, guest) if not heirs[one.id]]
    for volume in own:
        drop_file(cloud, volume)
    folder = cloud.layout.vm(guest.vm.id)
    if folder.exists():
        shutil.rmtree(folder)
    with cloud.state.together():
        for volume in _volumes(cloud, guest):
            if heirs[volume.id]:
                cloud.state.put(volume.id, dataclasses.replace(volume, vm_id=heirs[volume.id][0].vm.id))
            else:
                cloud.state.drop(volume.id, Volume)
        cloud.state.drop(guest.vm.id, Guest)
        inbound.forget_done(cloud)


def _volumes(cloud: Installation, guest: Guest) -> list[Volume]:
    return [volume for volume in cloud.state.every(Volume) if volume.vm_id == guest.vm.id]


def _image(cloud: Installation, name: str, project: str) -> Image:
    known = published(cloud, project)
    for image in known:
        if name in {image.name, image.id}:
            return image
    raise errors.NotFound(
        "image.unknown",
        f"{cloud.spec.name} has no image {name}.",
        field="image",
        remedy=f"Choose one of {', '.join(sorted(image.name for image in known)) or 'none: add one first'}.",
    )
