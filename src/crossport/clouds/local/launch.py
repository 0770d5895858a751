"""Bring one guest to life: plug its NICs, start its TPM and its QEMU, resume or boot it.

QEMU starts paused; the guest's first instruction runs only after the state says that it runs. So a service
that dies at any point finds either nothing, a paused QEMU that its `recovery` ends, or a running guest that
it knows.
"""

import asyncio
import contextlib
import dataclasses
import os
import uuid
from pathlib import Path

from crossport import errors
from crossport.clouds.local import catalog, seed
from crossport.clouds.local.fabric import Forward, NicBackend, Port
from crossport.clouds.local.installation import Installation
from crossport.clouds.local.network import rules_of
from crossport.clouds.local.state import Guest, Image, Volume
from crossport.clouds.local.volume import image_path
from crossport.hypervisor import accelerator, daemon, qmp, unix_socket
from crossport.hypervisor.accelerator import BootDisk
from crossport.hypervisor.qemu import Accelerator, Card, Drive, Machine, command_line, confinement
from crossport.hypervisor.swtpm import serve_tpm
from crossport.model.vm import PowerState

__all__ = [
    "agent_of",
    "console_of",
    "control_of",
    "decided_accelerator",
    "launch",
    "port_of",
    "set_forwards",
    "typing_of",
    "unplug",
]

_RESUME_S = 300.0
_POLL_S = 0.05


def control_of(cloud: Installation, guest: Guest) -> Path:
    """Return the control socket of the guest's QEMU."""
    return cloud.layout.vm(guest.vm.id) / "control"


def console_of(cloud: Installation, guest: Guest) -> Path:
    """Return the console log."""
    return cloud.layout.vm(guest.vm.id) / "console.log"


def typing_of(cloud: Installation, guest: Guest) -> Path:
    """Return the socket at which one can type at the guest's console."""
    return cloud.layout.vm(guest.vm.id) / "console"


def agent_of(cloud: Installation, guest: Guest) -> Path:
    """Return the socket at which one asks the guest's agent."""
    return cloud.layout.vm(guest.vm.id) / "agent"


def port_of(cloud: Installation, guest: Guest, index: int) -> Port:
    """Return the guest's NIC as the network sees it."""
    nic = guest.vm.nics[index]
    groups = {group.name: group for group in cloud.spec.security_groups}
    return Port(
        vm_id=guest.vm.id,
        index=index,
        mac=nic.mac,
        network=catalog.network(cloud, nic.network),
        addresses=nic.addresses,
        rules=rules_of(groups[name] for name in nic.security_groups),
        quarantine=guest.vm.quarantined,
        isolated=guest.isolated,
        forwards=guest.forwards[index] if index < len(guest.forwards) else (),
        probed=guest.probed,
        owner_uid=guest.uid,
    )


async def decided_accelerator(cloud: Installation) -> Accelerator:
    """Return what executes guests here: as told, as remembered, or after a real boot."""
    async with cloud.allocation:
        if cloud.accelerator is not None:
            return cloud.accelerator
        spec = cloud.spec
        if spec.accelerator:
            cloud.accelerator = Accelerator(spec.accelerator)
            cloud.accelerator_reason = "It was told so."
            return cloud.accelerator
        memory = Path(spec.accelerator_memory or cloud.layout.root / "accelerator.json")
        proof = await accelerator.remembered(memory, _boot_disk(cloud), uid=cloud.new_uid())
        cloud.accelerator, cloud.accelerator_reason = proof.accelerator, proof.reason
        return proof.accelerator


def _boot_disk(cloud: Installation) -> BootDisk | None:
    kernels = [Path(cloud.spec.probe_kernel)] if cloud.spec.probe_kernel else []
    kernels += sorted(Path("/boot").glob("vmlinuz-*"))
    if kernels:
        return BootDisk(kernel=kernels[-1])
    for image in cloud.state.every(Image):
        file = image_path(cloud, image)
        return BootDisk(image=file, format=image.format)
    return None


async def launch(cloud: Installation, guest: Guest) -> Guest:
    """Start the guest's QEMU, and resume or boot it; return the guest as the state has it now.

    On any failure nothing is left running. Raise Conflict ``volume.in-use`` while another VM that runs has
    a disk of it.
    """
    _need_disks(cloud, guest)
    seed_file = await _seed(cloud, guest)
    async with contextlib.AsyncExitStack() as failed:
        failed.push_async_callback(unplug, cloud, guest)
        guest, running = await _started(cloud, guest, seed_file, failed)
        async with qmp.monitor(control_of(cloud, guest)) as steer:
            if guest.memory:
                await _resumed(steer, cloud, guest)
            for index, forwards in enumerate(guest.forwards):
                await set_forwards(steer, index, (), forwards)
            spent, guest = guest.memory, _as_running(guest, running, seeded=seed_file is not None)
            cloud.state.put(guest.vm.id, guest)
            failed.pop_all()
            await steer.execute("cont")
    if spent:
        # From the first instruction on, the disks and this memory no longer belong together.
        volume = cloud.volume(spent)
        cloud.path(volume).unlink(missing_ok=True)
        cloud.state.drop(spent, Volume)
    return guest


def _need_disks(cloud: Installation, guest: Guest) -> None:
    for disk in guest.vm.disks:
        for other in catalog.sharers(cloud, guest, disk.id):
            if other.daemon is not None and daemon.alive(other.daemon):
                raise errors.Conflict(
                    "volume.in-use",
                    f"{other.vm.name} runs and uses disk {disk.name} of {guest.vm.name}; "
                    "two systems that write to one disk destroy it.",
                    field="vm",
                    remedy=f"Stop it first, or detach the disk: crossport vm stop {cloud.spec.name} "
                    f"{other.vm.name}",
                )


def _as_running(guest: Guest, running: daemon.Daemon, *, seeded: bool) -> Guest:
    vm = dataclasses.replace(guest.vm, power=PowerState.RUNNING)
    return dataclasses.replace(guest, vm=vm, daemon=running, memory="", seeded=seeded)


async def _seed(cloud: Installation, guest: Guest) -> Path | None:
    if guest.memory or not guest.seeded:
        return None
    spec, folder = cloud.spec, cloud.layout.vm(guest.vm.id)
    files = seed.documents(guest.vm, spec.keys, spec.networks)
    await seed.write_seed(folder / "seed.iso", files, uid=guest.uid, folder=folder / "seed")
    cloud.own(folder / "seed.iso", guest.uid)
    return folder / "seed.iso"


async def _started(
    cloud: Installation, guest: Guest, seed_file: Path | None, failed: contextlib.AsyncExitStack
) -> tuple[Guest, daemon.Daemon]:
    folder = cloud.layout.vm(guest.vm.id)
    console = console_of(cloud, guest)
    console.touch()
    cloud.own(console, guest.uid)
    chosen = await decided_accelerator(cloud)
    with contextlib.ExitStack() as open_files:
        backends = await _plug(cloud, guest, open_files)
        tpm = await _tpm(cloud, guest, open_files, failed)
        listener = open_files.enter_context(unix_socket.listening(control_of(cloud, guest)))
        typing = open_files.enter_context(unix_socket.listening(typing_of(cloud, guest)))
        agent = open_files.enter_context(unix_socket.listening(agent_of(cloud, guest)))
        guest = dataclasses.replace(
            guest,
            tpm_daemon=tpm[1] if tpm else None,
            console_start=console.stat().st_size,
            forwards=tuple(backend.forwards if backend else () for backend in backends),
        )
        machine = Machine(
            uuid=_system_uuid(guest),
            cpus=guest.vm.cpus,
            memory=guest.vm.memory,
            accelerator=chosen,
            drives=_drives(cloud, guest),
            cards=_cards(guest, backends),
            console=console,
            typing=typing.fileno(),
            agent=agent.fileno(),
            control=listener.fileno(),
            variables=cloud.path(cloud.volume(guest.nvram)) if guest.nvram else None,
            seed=seed_file,
            tpm=tpm[0] if tpm else None,
            incoming=_memory(cloud, guest, open_files),
            network=any(backend.needs_network for backend in backends if backend),
        )
        passed = [listener.fileno(), typing.fileno(), agent.fileno()]
        passed += [*(fd for fd in (machine.tpm, machine.incoming) if fd is not None)]
        passed += [fd for backend in backends if backend for fd in backend.descriptors.values()]
        group = accelerator.kvm_group()
        running = await daemon.start(
            command_line(machine),
            confinement(machine, uid=guest.uid, kvm_group=group),
            log=folder / "qemu.log",
            descriptors=passed,
        )
        failed.push_async_callback(daemon.kill, running)
    await _answering(cloud, guest, folder / "qemu.log")
    return guest, running


async def _answering(cloud: Installation, guest: Guest, log: Path) -> None:
    try:
        async with qmp.monitor(control_of(cloud, guest)) as steer:
            await steer.execute("query-status")
    except errors.Unavailable as error:
        raise errors.Unavailable(
            "vm.start.failed",
            f"QEMU could not start {guest.vm.name}: {daemon.last_line(log) or error.text}",
            remedy="See the VM's own log, and whether another program uses its disks.",
        ) from error


async def _plug(
    cloud: Installation, guest: Guest, open_files: contextlib.ExitStack
) -> list[NicBackend | None]:
    backends: list[NicBackend | None] = []
    for index in range(len(guest.vm.nics)):
        if guest.detached:
            backends.append(None)
            continue
        backend = await cloud.fabric.attach(port_of(cloud, guest, index))
        for descriptor in backend.descriptors.values():
            open_files.callback(os.close, descriptor)
        backends.append(backend)
    return backends


async def unplug(cloud: Installation, guest: Guest) -> None:
    """Take the guest's NICs off the network. May be called twice."""
    for index in range(len(guest.vm.nics)):
        await cloud.fabric.detach(guest.vm.id, index)


async def _tpm(
    cloud: Installation, guest: Guest, open_files: contextlib.ExitStack, failed: contextlib.AsyncExitStack
) -> tuple[int, daemon.Daemon] | None:
    if not guest.tpm:
        return None
    folder = cloud.path(cloud.volume(guest.tpm)).parent
    cloud.own(folder, guest.uid)
    log = cloud.layout.vm(guest.vm.id) / "tpm.log"
    link, running = await serve_tpm(folder, uid=guest.uid, log=log)
    open_files.enter_context(link)
    failed.push_async_callback(daemon.kill, running)
    return link.fileno(), running


def _memory(cloud: Installation, guest: Guest, open_files: contextlib.ExitStack) -> int | None:
    if not guest.memory:
        return None
    return open_files.enter_context(cloud.path(cloud.volume(guest.memory)).open("rb")).fileno()


def _drives(cloud: Installation, guest: Guest) -> tuple[Drive, ...]:
    volumes = [cloud.volume(disk.id) for disk in guest.vm.disks]
    return tuple(
        Drive(name=f"disk-{number}", path=cloud.path(volume), format=volume.format, bus=disk.bus)
        for number, (disk, volume) in enumerate(zip(guest.vm.disks, volumes, strict=True))
    )


def _cards(guest: Guest, backends: list[NicBackend | None]) -> tuple[Card, ...]:
    cards: list[Card] = []
    for nic, backend in zip(guest.vm.nics, backends, strict=True):
        netdev = None
        if backend is not None:
            netdev = {**backend.netdev, **{name: str(fd) for name, fd in backend.descriptors.items()}}
        cards.append(Card(model=nic.model, mac=nic.mac, netdev=netdev))
    return tuple(cards)


def _system_uuid(guest: Guest) -> str:
    """The firmware's UUID follows the instance id, which moves with the VM."""
    try:
        return str(uuid.UUID(guest.vm.instance_id))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, guest.vm.instance_id))


async def _resumed(steer: qmp.Monitor, cloud: Installation, guest: Guest) -> None:
    for _ in range(round(_RESUME_S / _POLL_S)):
        match await steer.ask("query-migrate", "status"):
            case "completed":
                return
            case "failed":
                break
            case _:
                await asyncio.sleep(_POLL_S)
    said = daemon.last_line(cloud.layout.vm(guest.vm.id) / "qemu.log")
    raise errors.Broken(
        "vm.memory.unusable",
        f"The memory state of {guest.vm.name} could not be resumed: {said or 'it took too long'}",
        remedy="Power it off to give the memory up, then start it from its disks.",
    )


async def set_forwards(
    steer: qmp.Monitor, index: int, before: tuple[Forward, ...], after: tuple[Forward, ...]
) -> None:
    """Make a running QEMU's user-mode network listen on ``after`` instead of ``before``."""
    for forward in before:
        if forward not in after:
            await steer.ask_hmp(f"hostfwd_remove net{index} tcp:127.0.0.1:{forward.host_port}")
    for forward in after:
        if forward not in before:
            line = f"hostfwd_add net{index} tcp:127.0.0.1:{forward.host_port}-:{forward.guest_port}"
            if said := (await steer.ask_hmp(line)).strip():
                raise errors.Unavailable(
                    "cloud.forward.failed",
                    f"Port {forward.host_port} could not be forwarded: {said}",
                    remedy="Another program listens there; try again.",
                )
