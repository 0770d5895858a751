"""The inspection appliance as two files: Debian's kernel, and a RAM disk with busybox and one script.

Built once by an operator (``crossport inspector build``), used for every guest, never
written to.
"""

import gzip
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossport import errors
from crossport.appliance import cpio, kernel, programs

__all__ = ["PLACES", "Appliance", "build", "opened"]

PLACES = (
    *("etc/os-release", "usr/lib/os-release", "lib/os-release", "etc/hostname"),
    *("var/lib/dpkg/status", "lib/dpkg/status"),
    *("var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite", "lib/rpm/rpmdb.sqlite"),
    *("lib/apk/db/installed", "usr/lib/apk/db/installed"),
)
"""What is read of every file system; of ``/usr`` and ``/var`` on file systems of their own, too."""
_DRIVERS = (
    *("virtio_pci", "virtio_blk", "virtio_console", "ext4", "crc32c_generic"),
    *("xfs", "btrfs", "vfat", "nls_cp437", "nls_ascii", "nls_iso8859-1", "dm-mod"),
)
_FILES = Path(__file__).with_name("files")
_LVM = Path("/sbin/lvm")
_KERNEL, _RAM_DISK = "kernel", "ram-disk"


@dataclass(frozen=True, slots=True)
class Appliance:
    """Where kernel and RAM disk lie."""

    kernel: Path
    ram_disk: Path


def opened(folder: Path) -> Appliance | None:
    """Return the appliance that `build` put into ``folder``, None when there is none."""
    found = Appliance(folder / _KERNEL, folder / _RAM_DISK)
    return found if found.kernel.is_file() and found.ram_disk.is_file() else None


def build(folder: Path, *, cache: Path, say: Callable[[str], None] = lambda text: None) -> Appliance:
    """Make the appliance in ``folder``, in place of one that is there; return it.

    The kernel's package is downloaded by apt unless it is in ``cache``. Where Debian's lvm2 is installed the
    appliance reads logical volumes. Raise NotFound naming the package that is missing, Broken for a program
    that fails; then what was there stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    package = kernel.fetch(kernel.KernelKind.CLOUD, cache)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as work:
        say(f"unpacking {package.name}")
        linux = kernel.unpack(package, Path(work) / "kernel")
        say("building the RAM disk")
        root = _tree(linux, Path(work) / "root")
        packed = Path(work) / _RAM_DISK
        packed.write_bytes(gzip.compress(cpio.ram_disk(root), compresslevel=6, mtime=0))
        linux.image.chmod(0o644)
        linux.image.replace(folder / _KERNEL)
        packed.replace(folder / _RAM_DISK)
    made = opened(folder)
    if made is None:
        raise errors.Broken(
            "inspect.appliance.lost",
            f"{folder} does not hold what was made in it.",
            remedy=errors.TRIED_AGAIN,
        )
    return made


def _tree(linux: kernel.Kernel, root: Path) -> Path:
    """Lay out the RAM disk below ``root``."""
    for name in ("bin", "dev", "proc", "sys", "guest", "etc", "lib64"):
        (root / name).mkdir(parents=True)
    shutil.copy(programs.located("busybox"), root / "bin/busybox")
    for applet in programs.run("busybox", "--list").split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "sbin").symlink_to("bin")
    shutil.copy(_FILES / "init", root / "init")
    (root / "init").chmod(0o755)
    (root / "places").write_text("\n".join(PLACES) + "\n")
    linux.copy_drivers(_DRIVERS, root)
    if _LVM.exists():
        _copy_program(_LVM, root)
    return root


def _copy_program(program: Path, root: Path) -> None:
    """Copy a program and the libraries that it names into the tree."""
    shutil.copy(program, root / "bin" / program.name)
    for word in programs.run("ldd", program).split():
        if word.startswith("/"):
            place = root / word.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(word, place)
