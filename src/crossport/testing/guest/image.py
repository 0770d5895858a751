"""Build the small guest's disk image, or take it from the cache.

The image is a raw file of a whole disk. The cache is keyed by a digest of everything that goes in, so another
kernel, program or parameter gives another image; an entry is published by renaming, so two builds at once end
with the same file and neither sees half of it.
"""

import contextlib
import gzip
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossport.appliance import cpio, kernel, programs
from crossport.errors import Invalid, NotFound
from crossport.testing.guest import boot, rootfs
from crossport.units import MIB, size_text

__all__ = ["GuestImage", "Recipe", "build_guest"]

FILES = Path(__file__).with_name("files")
SMALLEST = 44 * MIB

# Where each shipped file goes, and whether it is run.
_PLACES = {
    "/etc/inittab": ("inittab", 0o644),
    "/etc/acpi/PWRF/00000080": ("acpi-power", 0o755),
    **{
        f"/etc/crossport/{name}": (name, 0o755)
        for name in (
            "agent",
            "start",
            "stop",
            "seed",
            "network",
            "leased",
            "report",
            "heartbeat",
            "hotplug",
            "plugged",
        )
    },
    **{f"/etc/crossport/{name}": (name, 0o644) for name in ("keys.awk", "network.awk", "request")},
    **{f"/srv/www/cgi-bin/{name}": (f"cgi-{name}", 0o755) for name in ("state", "store", "fill", "fetch")},
}
_TEXTS = {
    "/etc/passwd": "root::0:0:root:/root:/bin/sh\n",
    "/etc/group": "root:x:0:\n",
    "/etc/profile": "PS1='guest# '\nPATH=/bin:/sbin\nexport PS1 PATH\n",
    "/root/.ssh/authorized_keys": "",
    "/srv/www/index.html": "crossport small guest\n",
    "/data/boots": "",
}
_FOLDERS = ("/dev", "/proc", "/sys", "/tmp", "/run", "/data/store")  # noqa: S108 - the guest's
_BOOT_APPLETS = (
    *("sh", "mount", "modprobe", "cat", "sort", "cmp", "mv", "grep", "usleep", "switch_root", "echo"),
    *("ls", "dmesg", "insmod", "["),
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a guest is made of. ``size`` is the least size of the disk, ``fill`` bytes of real files on it."""

    size: int = 56 * MIB
    fill: int = 0
    kind: kernel.KernelKind = kernel.KernelKind.CLOUD

    def __post_init__(self) -> None:
        """Raise `Invalid` for a disk that cannot hold the guest."""
        if self.size < SMALLEST or self.size % MIB:
            raise Invalid(
                "guest.size.invalid",
                f"The small guest needs whole MiB, {size_text(SMALLEST)} or more, not {self.size} bytes.",
                field="size",
            )
        if self.fill < 0:
            raise Invalid(
                "guest.fill.invalid", f"A disk cannot be filled with {self.fill} bytes.", field="fill"
            )


@dataclass(frozen=True, slots=True)
class GuestImage:
    """A raw disk at ``path``. ``digest`` names what it was built from, ``kernel`` its kernel's version."""

    path: Path
    size: int
    digest: str
    kernel: str
    recipe: Recipe


def build_guest(
    target: Path,
    recipe: Recipe | None = None,
    *,
    cache: Path,
    say: Callable[[str], None] = lambda text: None,
) -> GuestImage:
    """Put the small guest's disk at ``target``, replacing what is there, and return what it is.

    Built once per recipe and kept below ``cache``, which should lie outside any checkout; later calls copy.
    ``say`` is told each step. Raise `NotFound`, naming the Debian package, if a program is missing, `Broken`
    if one fails. Nothing appears at ``target`` unless all went well.
    """
    recipe = recipe or Recipe()
    cache.mkdir(parents=True, exist_ok=True)
    busybox = _static_busybox()
    package = kernel.fetch(recipe.kind, cache)
    fill = rootfs.filling(recipe.fill) if recipe.fill else ()
    digest = _digest(recipe, (package, busybox), fill)
    version = package.name.removeprefix("linux-image-").partition("_")[0]
    kept = cache / "images" / f"{digest}.raw"
    if kept.exists():
        say(f"taking the small guest from the cache ({kept})")
    else:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".build-", dir=kept.parent) as folder:
            disk = _Build(Path(folder), recipe, say).disk(package, busybox, fill)
            disk.replace(kept)
    _copy(kept, target)
    say(f"small guest: {target}, {size_text(target.stat().st_size)}, kernel {version}")
    return GuestImage(target, target.stat().st_size, digest, version, recipe)


@dataclass(frozen=True, slots=True)
class _Build:
    """One build in a folder of its own."""

    work: Path
    recipe: Recipe
    say: Callable[[str], None]

    def disk(self, package: Path, busybox: Path, fill: tuple[rootfs.Filler, ...]) -> Path:
        self.say(f"unpacking {package.name}")
        linux = kernel.unpack(package, self.work / "kernel")
        self.say("building the RAM disk")
        initrd = self._initrd(linux, busybox)
        tree = self._tree(linux, busybox)
        need = boot.ROOT_START + boot.TAIL + rootfs.needed_size(tree, fill)
        size = max(self.recipe.size, -(-need // MIB) * MIB)
        disk = self.work / "disk.raw"
        root_size = boot.partition(disk, size)
        self.say(f"writing the root file system ({size_text(root_size)})")
        rootfs.write_root(disk, start=boot.ROOT_START, size=root_size, tree=tree, fill=fill)
        self.say("writing GRUB for BIOS and UEFI")
        early = FILES / "grub-early.cfg"
        boot.write_esp(disk, linux.image, initrd, config=FILES / "grub.cfg", early=early, work=self.work)
        boot.embed_grub(disk, early=early, work=self.work)
        return disk

    def _initrd(self, linux: kernel.Kernel, busybox: Path) -> Path:
        root = self.work / "initrd"
        for folder in ("bin", "dev", "proc", "sys", "newroot", "etc"):
            (root / folder).mkdir(parents=True)
        shutil.copy(busybox, root / "bin/busybox")
        for applet in _BOOT_APPLETS:
            (root / "bin" / applet).symlink_to("busybox")
        (root / "sbin").symlink_to("bin")
        shutil.copy(FILES / "init", root / "init")
        (root / "init").chmod(0o755)
        linux.copy_drivers(kernel.BOOT_DRIVERS, root)
        packed = self.work / "initrd.gz"
        packed.write_bytes(gzip.compress(cpio.ram_disk(root), compresslevel=9, mtime=0))
        return packed

    def _tree(self, linux: kernel.Kernel, busybox: Path) -> rootfs.Tree:
        staged = self.work / "root"
        linux.copy_drivers((*kernel.BOOT_DRIVERS, *kernel.LATER_DRIVERS), staged)
        files = {
            f"/{path.relative_to(staged)}": (path, 0o644) for path in staged.rglob("*") if path.is_file()
        }
        files["/bin/busybox"] = (busybox, 0o755)
        files |= {place: (FILES / name, mode) for place, (name, mode) in _PLACES.items()}
        for number, (place, text) in enumerate(_TEXTS.items()):
            source = self.work / f"text-{number}"
            source.write_text(text)
            files[place] = (source, 0o644)
        applets = programs.run("busybox", "--list").split()
        links = {f"/bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
        links["/sbin"] = "bin"
        parents = {str(parent) for place in (*files, *_FOLDERS) for parent in Path(place).parents}
        return rootfs.Tree(tuple(sorted((parents | set(_FOLDERS)) - {"/"})), links, files)


def _static_busybox() -> Path:
    path = programs.located("busybox")
    # Segment type 3 (PT_INTERP) in a 64-bit ELF names a dynamic loader, which the guest does not have.
    data = path.read_bytes()
    table, entry_size, count = (
        int.from_bytes(data[start:end], "little") for start, end in ((32, 40), (54, 56), (56, 58))
    )
    kinds = [data[table + number * entry_size] for number in range(count)]
    if 3 in kinds:
        raise NotFound(
            "guest.program.missing",
            "The small guest cannot be built: busybox is installed, but needs shared libraries.",
            remedy="Run: sudo apt-get install busybox-static",
        )
    return path


def _digest(recipe: Recipe, inputs: tuple[Path, ...], fill: tuple[rootfs.Filler, ...]) -> str:
    own = sorted((*FILES.iterdir(), *FILES.parent.glob("*.py")))
    tools = [programs.located(name) for name in ("mke2fs", "mkfs.vfat", "mcopy", "grub-mkimage", "sfdisk")]
    grub = sorted(boot.GRUB_FOLDER.glob("*/moddep.lst"))
    facts = {
        "size": recipe.size,
        "fill": [(str(filler.source), filler.size, filler.stamp) for filler in fill],
        "kernel": recipe.kind,
        "files": [(path.name, _sha256(path)) for path in (*own, *inputs, *tools, *grub)],
    }
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(kept: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix=f".{target.name}.", dir=target.parent, delete=False) as part:
        pass
    try:
        programs.run("cp", "--sparse=always", "--reflink=auto", kept, part.name)
        Path(part.name).chmod(0o644)
        Path(part.name).replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(part.name).unlink()
