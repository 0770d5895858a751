"""The kernel of a small system and its drivers, taken from Debian's package.

The package is downloaded once and kept in the cache; a kept one is used without asking the network, so builds
work offline. ``cloud`` has no SATA and no e1000; ``generic`` has both.
"""

import lzma
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from crossport.appliance.programs import run
from crossport.errors import Broken, NotFound

__all__ = ["KernelKind", "Kernel", "fetch", "unpack"]

# What the disk and its bus need before the root is there.
BOOT_DRIVERS = (
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "ata_piix",
    "ata_generic",
    "ahci",
    "sd_mod",
    "nvme",
    "vmw_pvscsi",
    "mptspi",
    "xen-blkfront",
    "hv_storvsc",
    "hv_vmbus",
    "ext4",
    "crc32c_generic",
)
# What is loaded once the root is there.
LATER_DRIVERS = (
    "virtio_net",
    "virtio_rng",
    "virtio_balloon",
    "virtio_console",
    "vmxnet3",
    "e1000",
    "e1000e",
    "8139cp",
    "xen-netfront",
    "hv_netvsc",
    "sr_mod",
    "isofs",
    "vfat",
    "nls_ascii",
    "nls_cp437",
    "nls_iso8859-1",
    "nls_utf8",
    "button",
    "evdev",
    "qemu_fw_cfg",
    "tpm_tis",
    "tpm_crb",
)


class KernelKind(StrEnum):
    """Which of Debian's kernels: ``cloud`` for virtual hardware only, ``generic`` for all."""

    CLOUD = "cloud"
    GENERIC = "generic"

    @property
    def metapackage(self) -> str:
        """The package that depends on the newest kernel of this kind."""
        return "linux-image-cloud-amd64" if self is KernelKind.CLOUD else "linux-image-amd64"


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel: ``image`` is the file to boot, ``modules`` the folder of its drivers."""

    version: str
    image: Path
    modules: Path

    def copy_drivers(self, names: tuple[str, ...], root: Path) -> None:
        """Copy the named drivers and all they depend on below ``root``, with indexes for modprobe.

        A name this kernel does not have, or has built in, is passed over.
        """
        target = root / "lib/modules" / self.version
        for path in sorted(_closure(self.modules, names)):
            copy = target / path.removesuffix(".xz")
            copy.parent.mkdir(parents=True, exist_ok=True)
            data = (self.modules / path).read_bytes()
            copy.write_bytes(lzma.decompress(data) if path.endswith(".xz") else data)
        target.mkdir(parents=True, exist_ok=True)
        for name in ("modules.builtin", "modules.order"):
            shutil.copyfile(self.modules / name, target / name)
        run("depmod", "-b", root, self.version)
        for path in target.glob("modules.*"):
            # busybox reads these two alone
            if path.name not in ("modules.dep", "modules.alias"):
                path.unlink()


def fetch(kind: KernelKind, cache: Path) -> Path:
    """Return the kernel's package file in ``cache``, downloading it if there is none yet.

    Raise `NotFound` if it is neither kept nor known to apt.
    """
    store = cache / "kernel" / kind
    store.mkdir(parents=True, exist_ok=True)
    kept = sorted(store.glob("linux-image-*.deb"))
    if kept:
        return kept[-1]
    package = _newest(kind)
    # A folder of its own, because apt leaves half a file when it is interrupted.
    part = store / f".{package}.part"
    part.mkdir(exist_ok=True)
    try:
        run("apt-get", "download", "-q", package, inherit=True, directory=part)
        arrived = next(part.glob("linux-image-*.deb"))
        return arrived.replace(store / arrived.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def unpack(package: Path, folder: Path) -> Kernel:
    """Unpack a kernel package below ``folder``. Raise `Broken` if it does not hold one kernel."""
    run("dpkg-deb", "-x", package, folder)
    images = sorted((folder / "boot").glob("vmlinuz-*"))
    if len(images) != 1:
        raise Broken(
            "guest.kernel.unreadable",
            f"{package.name} holds {len(images)} kernels instead of one.",
            remedy=f"Remove {package}, so that apt downloads the kernel's package anew, and try again.",
        )
    version = images[0].name.removeprefix("vmlinuz-")
    if not (folder / "lib").exists():  # Debian 13 ships the drivers below /usr
        (folder / "lib").symlink_to("usr/lib")
    run("depmod", "-b", folder, version)
    return Kernel(version, images[0], folder / "lib/modules" / version)


def _newest(kind: KernelKind) -> str:
    told = run("apt-cache", "depends", kind.metapackage, inherit=True)
    for line in told.splitlines():
        relation, _, package = line.strip().partition(": ")
        if relation == "Depends" and package.startswith("linux-image-"):
            return package
    raise NotFound(
        "guest.kernel.unknown",
        f"apt knows no package {kind.metapackage}, so there is no kernel for the guest.",
        remedy="Run: sudo apt-get update",
    )


def _closure(modules: Path, names: tuple[str, ...]) -> set[str]:
    needs: dict[str, list[str]] = {}
    path_of: dict[str, str] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
        path_of[Path(path).name.partition(".")[0].replace("_", "-")] = path
    found: set[str] = set()
    for name in names:
        path = path_of.get(name.replace("_", "-"))
        if path:
            found |= {path, *needs[path]}  # depmod lists dependencies of dependencies too
    return found
