"""The QEMU command line of one virtual machine, as a pure function of its description.

Everything has an explicit format, and whatever a stranger may have named reaches QEMU as JSON or not at all.
The same description gives the same devices at the same addresses, so that a memory state made by one QEMU
fits another. Every VM has a removable CD drive, empty unless it carries a seed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from crossport.hypervisor.confine import Confinement, Limits
from crossport.hypervisor.firmware import UEFI_CODE
from crossport.model.vm import DiskBus, NicModel
from crossport.units import GIB

__all__ = ["Accelerator", "Card", "Drive", "Machine", "command_line", "confinement", "machine_type"]

_PROGRAM = "qemu-system-x86_64"
PINNED_Q35 = "pc-q35-7.2"
PINNED_I440FX = "pc-i440fx-7.2"
CD = "cd0"
AGENT = "agent"
_CARDS = {
    NicModel.VIRTIO: "virtio-net-pci",
    NicModel.E1000: "e1000",
    NicModel.E1000E: "e1000e",
    NicModel.VMXNET3: "vmxnet3",
    NicModel.RTL8139: "rtl8139",
}
# Offloads depend on what is behind the card; without them a memory state fits every network.
_OFFLOADS = ("csum", "gso", "guest_csum", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo")
_OFFLOADS_OF_HOST = ("host_tso4", "host_tso6", "host_ecn", "host_ufo")
_SCSI_BUSES = {DiskBus.VIRTIO, DiskBus.VIRTIO_SCSI}


class Accelerator(StrEnum):
    """What executes the guest's instructions."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """One disk. ``name`` (``disk-0``) is its block node, device id and serial number."""

    name: str
    path: Path
    format: str
    bus: DiskBus


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One network card. ``netdev`` is the JSON of ``-netdev`` without ``id``; None leaves it unplugged."""

    model: NicModel
    mac: str
    netdev: Mapping[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What makes a virtual machine. Memory in bytes; descriptors are open in the starter.

    ``variables`` is the UEFI variable store, None for BIOS. ``console`` is the log of the serial console;
    ``typing``, where somebody may type at it, ``agent``, where one asks the guest's agent, and ``control``
    listen, ``tpm`` is one end of a pair.
    ``incoming`` is a memory state to resume from. It is started paused.
    """

    uuid: str
    cpus: int
    memory: int
    accelerator: Accelerator
    drives: tuple[Drive, ...]
    cards: tuple[Card, ...]
    console: Path
    typing: int
    agent: int
    control: int
    variables: Path | None = None
    seed: Path | None = None
    tpm: int | None = None
    incoming: int | None = None
    network: bool = False


def machine_type(buses: tuple[DiskBus, ...]) -> str:
    """Return the pinned type of machine that has these disk buses: only the older one has IDE."""
    return PINNED_I440FX if DiskBus.IDE in buses else PINNED_Q35


def command_line(machine: Machine) -> list[str]:
    """Return the command that starts ``machine``, paused."""
    line = [_PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-S"]
    line += [
        "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
    ]
    line += ["-uuid", machine.uuid, "-m", f"size={machine.memory // 1024}k", "-smp", f"cpus={machine.cpus}"]
    line += [*_board(machine), "-rtc", "base=utc,driftfix=slew"]
    line += ["-chardev", f"socket,id=control,fd={machine.control},server=on,wait=off"]
    line += ["-mon", "chardev=control,mode=control"]
    line += _console(machine)
    line += _device({"driver": "VGA", "id": "vga0"})
    line += _object({"qom-type": "rng-builtin", "id": "rng0"})
    line += _device({"driver": "virtio-rng-pci", "id": "rngdev0", "rng": "rng0"})
    line += _disks(machine)
    for index, card in enumerate(machine.cards):
        line += _card(index, card)
    line += _agent(machine.agent)
    line += _tpm(machine.tpm)
    if machine.incoming is not None:
        line += ["-incoming", f"fd:{machine.incoming}"]
    return line


def confinement(machine: Machine, *, uid: int, kvm_group: int | None) -> Confinement:
    """Return what the QEMU of ``machine`` may see: its own files, and /dev/kvm where it is used."""
    written = [drive.path for drive in machine.drives] + [machine.console]
    if machine.variables is not None:
        written.append(machine.variables)
    kvm = machine.accelerator is Accelerator.KVM
    return Confinement(
        read=(machine.seed,) if machine.seed is not None else (),
        write=tuple(written),
        devices=(Path("/dev/kvm"),) if kvm else (),
        groups=(kvm_group,) if kvm and kvm_group else (),
        uid=uid,
        gid=uid,
        network=machine.network,
        outlives_parent=True,
        # Translated code takes up to 1 GiB, video and firmware some more.
        limits=Limits(address_space=machine.memory + 8 * GIB, cpu_s=None, open_files=1024),
    )


def seed_node(path: Path) -> list[dict[str, object]]:
    """Return the block nodes of a seed volume, lowest first; the upper one is named ``seed``."""
    lower: dict[str, object] = {"driver": "file", "node-name": "seed-file", "filename": str(path)}
    lower["read-only"] = True
    return [lower, {"driver": "raw", "node-name": "seed", "file": "seed-file", "read-only": True}]


def _board(machine: Machine) -> list[str]:
    buses = tuple(drive.bus for drive in machine.drives)
    board = f"{machine_type(buses)},accel={machine.accelerator},vmport=off"
    line: list[str] = []
    if machine.variables is not None:
        board += ",pflash0=code,pflash1=variables"
        line += _raw("code", UEFI_CODE, read_only=True) + _raw(
            "variables", machine.variables, read_only=False
        )
    # A named model is the same on every machine, which "max" is not; the random generator makes boots quick.
    cpu = "host,migratable=on" if machine.accelerator is Accelerator.KVM else "Nehalem-v1,rdrand=on,aes=on"
    return [*line, "-machine", board, "-cpu", cpu]


def _raw(name: str, path: Path, *, read_only: bool) -> list[str]:
    lower = {"driver": "file", "node-name": f"{name}-file", "filename": str(path), "read-only": read_only}
    upper = {"driver": "raw", "node-name": name, "file": f"{name}-file", "read-only": read_only}
    return [*_block(lower), *_block(upper)]


def _console(machine: Machine) -> list[str]:
    # -chardev takes no JSON; commas in a value are doubled. Whether or not somebody listens, all is logged.
    log = str(machine.console).replace(",", ",,")
    socket = f"socket,id=console,fd={machine.typing},server=on,wait=off"
    line = ["-chardev", f"{socket},logfile={log},logappend=on"]
    return line + _device({"driver": "isa-serial", "id": "serial0", "chardev": "console"})


def _disks(machine: Machine) -> list[str]:
    buses = tuple(drive.bus for drive in machine.drives)
    old = machine_type(buses) == PINNED_I440FX
    line = _device({"driver": "virtio-scsi-pci", "id": "scsi0"})
    if old and DiskBus.SATA in buses:
        line += _device({"driver": "ich9-ahci", "id": "ahci0"})
    taken = dict.fromkeys(DiskBus, 0)
    for index, drive in enumerate(machine.drives):
        line += _nodes(drive)
        device = _slot(drive.bus, taken[drive.bus], old=old)
        taken[drive.bus] += 1
        device |= {"id": drive.name, "drive": drive.name, "serial": drive.name, "bootindex": index + 1}
        line += _device(device)
    return line + _cd(machine, old=old)


def _nodes(drive: Drive) -> list[str]:
    lower = {
        "driver": "file",
        "node-name": f"{drive.name}-file",
        "filename": str(drive.path),
        "discard": "unmap",
    }
    upper: dict[str, object] = {
        "driver": drive.format,
        "node-name": drive.name,
        "file": f"{drive.name}-file",
        "discard": "unmap",
        "detect-zeroes": "unmap",
    }
    if drive.format == "qcow2":
        upper["backing"] = None
    return [*_block(lower), *_block(upper)]


def _slot(bus: DiskBus, number: int, *, old: bool) -> dict[str, object]:
    match bus:
        case DiskBus.VIRTIO:
            return {"driver": "virtio-blk-pci"}
        case DiskBus.VIRTIO_SCSI:
            return {"driver": "scsi-hd", "bus": "scsi0.0", "scsi-id": number + 1, "lun": 0}
        case DiskBus.SATA:
            return {"driver": "ide-hd", "bus": f"{'ahci0' if old else 'ide'}.{number}"}
        case DiskBus.IDE:
            return {"driver": "ide-hd", "bus": f"ide.{number // 2}", "unit": number % 2}


def _cd(machine: Machine, *, old: bool) -> list[str]:
    """The CD drive is where the boot disk's driver finds it too: a guest may know no other bus."""
    boot = machine.drives[0].bus if machine.drives else DiskBus.VIRTIO
    device: dict[str, object] = {"driver": "scsi-cd", "bus": "scsi0.0", "scsi-id": 0, "lun": 0}
    if boot not in _SCSI_BUSES:
        place = {"bus": "ide.1", "unit": 1} if old else {"bus": "ide.5"}
        device = {"driver": "ide-cd", **place}
    line: list[str] = []
    if machine.seed is not None:
        for node in seed_node(machine.seed):
            line += _block(node)
        device["drive"] = "seed"
    return line + _device({**device, "id": CD})


def _card(index: int, card: Card) -> list[str]:
    device: dict[str, object] = {"driver": _CARDS[card.model], "id": f"nic{index}", "mac": card.mac}
    device["romfile"] = ""
    if card.model is NicModel.VIRTIO:
        device |= dict.fromkeys(_OFFLOADS + _OFFLOADS_OF_HOST, False)
    line: list[str] = []
    if card.netdev is not None:
        line += ["-netdev", json.dumps({**card.netdev, "id": f"net{index}"})]
        device["netdev"] = f"net{index}"
    return line + _device(device)


def _agent(descriptor: int) -> list[str]:
    """The guest finds its port by this name. It comes last on the bus, so that it moves no other device."""
    line = ["-chardev", f"socket,id={AGENT},fd={descriptor},server=on,wait=off"]
    line += _device({"driver": "virtio-serial-pci", "id": "serialbus0"})
    return line + _device(
        {"driver": "virtserialport", "id": "agentport0", "chardev": AGENT, "name": "org.qemu.guest_agent.0"}
    )


def _tpm(descriptor: int | None) -> list[str]:
    if descriptor is None:
        return []
    line = ["-chardev", f"socket,id=tpm,fd={descriptor}", "-tpmdev", "emulator,id=tpm0,chardev=tpm"]
    return line + _device({"driver": "tpm-crb", "id": "tpmdev0", "tpmdev": "tpm0"})


def _device(value: Mapping[str, object]) -> list[str]:
    return ["-device", json.dumps(value)]


def _object(value: Mapping[str, object]) -> list[str]:
    return ["-object", json.dumps(value)]


def _block(value: Mapping[str, object]) -> list[str]:
    return ["-blockdev", json.dumps(value)]
