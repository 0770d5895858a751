"""What lies on the disk before the guest's own file system: partitions, GRUB twice, kernel, RAM disk.

    sector 0        boot sector of GRUB for BIOS, partition table
    1 MiB           BIOS boot partition: GRUB's core
    2 MiB           EFI system partition: GRUB for UEFI at the fallback path, kernel, RAM disk
    ESP_END         the guest's root file system

Everything is written straight into the disk file at its place; nothing is mounted.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from crossport.appliance.programs import run, shipped
from crossport.errors import Broken
from crossport.units import MIB, SECTOR

__all__ = ["ROOT_START", "embed_grub", "partition", "write_esp"]

CORE_START = 1 * MIB
ESP_START = 2 * MIB
ESP_SIZE = 22 * MIB
ROOT_START = ESP_START + ESP_SIZE
TAIL = 1 * MIB  # the backup partition table

GRUB_FOLDER = Path("/usr/lib/grub")
GRUB_MODULES = (
    "part_gpt",
    "fat",
    "search",
    "search_label",
    "configfile",
    "normal",
    "linux",
    "serial",
    "terminal",
    "test",
)


@dataclass(frozen=True, slots=True)
class _Partition:
    name: str
    kind: str
    uuid: str
    start: int
    size: int


def partition(disk: Path, size: int) -> int:
    """Make ``disk`` a sparse file of ``size`` bytes with the three partitions. Return the root's size."""
    root_size = size - ROOT_START - TAIL
    parts = (
        _Partition(
            "crossport-bios",
            "21686148-6449-6E6F-744E-656564454649",
            "C7055B07-0000-4000-8000-000000000001",
            CORE_START,
            ESP_START - CORE_START,
        ),
        _Partition(
            "crossport-esp",
            "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
            "C7055B07-0000-4000-8000-000000000002",
            ESP_START,
            ESP_SIZE,
        ),
        _Partition(
            "crossport-root",
            "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
            "C7055B07-0000-4000-8000-000000000003",
            ROOT_START,
            root_size,
        ),
    )
    with disk.open("wb") as file:
        file.truncate(size)
    lines = ["label: gpt", "label-id: C7055B07-0000-4000-8000-000000000000", "first-lba: 2048"]
    lines += [
        f"start={part.start // SECTOR}, size={part.size // SECTOR}, "
        f"type={part.kind}, uuid={part.uuid}, name={part.name}"
        for part in parts
    ]
    run("sfdisk", "-q", disk, text="\n".join(lines) + "\n")
    return root_size


def write_esp(disk: Path, kernel: Path, initrd: Path, *, config: Path, early: Path, work: Path) -> None:
    """Write the EFI system partition: GRUB where firmware looks, its configuration, kernel, RAM disk.

    Overwrites what the partition held.
    """
    loader = work / "BOOTX64.EFI"
    _grub("x86_64-efi", loader, early, "chain")
    place = f"{disk}@@{ESP_START}"
    run(
        "mkfs.vfat",
        "--invariant",
        *("-F", "16", "-s", "4", "-n", "XPGUESTESP", "-i", "C7055B07"),
        *("--offset", str(ESP_START // SECTOR)),
        disk,
        str(ESP_SIZE // 1024),
    )
    run("mmd", "-i", place, "::/EFI", "::/EFI/BOOT", "::/grub")
    for source, target in (
        (loader, "/EFI/BOOT/BOOTX64.EFI"),
        (config, "/grub/grub.cfg"),
        (initrd, "/initrd"),
        (kernel, "/vmlinuz"),
    ):
        run("mcopy", "-i", place, source, f"::{target}")


def embed_grub(disk: Path, *, early: Path, work: Path) -> None:
    """Make ``disk`` boot under BIOS, as grub-bios-setup does, but on a file and without root.

    boot.img takes the sector of the core at 0x5c; the core's first sector ends with a list of where the rest
    lies, whose last entry (0x1f4) is start (64 bits), length and load segment (16 bits each). The partition
    table's bytes of the boot sector are kept. Raise `Broken` if the core does not fit its partition.
    """
    core_file = work / "core.img"
    _grub("i386-pc", core_file, early, "biosdisk")
    core = core_file.read_bytes()
    core += bytes(-len(core) % SECTOR)
    if len(core) > ESP_START - CORE_START:
        raise Broken("guest.grub.too-large", f"GRUB's core is {len(core)} bytes, more than its partition.")
    sector = CORE_START // SECTOR
    rest = struct.pack("<QHH", sector + 1, len(core) // SECTOR - 1, 0x820)
    boot = bytearray(shipped(GRUB_FOLDER / "i386-pc/boot.img", "grub-pc-bin").read_bytes()[:SECTOR])
    boot[0x5C:0x64] = struct.pack("<Q", sector)
    boot[0x66:0x68] = b"\x90\x90"  # trust the drive number that the BIOS gives, as grub-bios-setup does
    with disk.open("r+b") as file:
        boot[0x1B8:SECTOR] = file.read(SECTOR)[0x1B8:]
        file.seek(0)
        file.write(boot)
        file.seek(CORE_START)
        file.write(core[:0x1F4] + rest + core[0x200:])


def _grub(target: str, output: Path, early: Path, *more: str) -> None:
    package = "grub-pc-bin" if target == "i386-pc" else "grub-efi-amd64-bin"
    shipped(GRUB_FOLDER / target / "moddep.lst", package)
    run("grub-mkimage", "-O", target, "-p", "/grub", "-c", early, "-o", output, *more, *GRUB_MODULES)
