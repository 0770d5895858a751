"""The Debian programs that build small systems, and the packages they come from.

Programs run with a fixed environment, so that the same input gives the same bytes on every machine.
"""

import shutil
import subprocess
from pathlib import Path

from crossport.errors import Broken, NotFound

__all__ = ["BUILDERS", "PACKAGES", "located", "run", "shipped"]

PACKAGES = (
    "busybox-static",
    "dosfstools",
    "dpkg",
    "e2fsprogs",
    "fdisk",
    "grub-common",
    "grub-efi-amd64-bin",
    "grub-pc-bin",
    "kmod",
    "mtools",
)
"""What has to be installed to build a guest (``apt-get install``). The kernel is only downloaded."""

# A fixed date stands for "now" in everything that is written, so that two builds are equal.
EPOCH = 1_700_000_000
SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {
    "PATH": SEARCH,
    "LC_ALL": "C",
    "TZ": "UTC",
    "SOURCE_DATE_EPOCH": str(EPOCH),
    "E2FSPROGS_FAKE_TIME": str(EPOCH),
    "MTOOLS_SKIP_CHECK": "1",
}
TIME_LIMIT_S = 300

BUILDERS = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "busybox": "busybox-static",
    "cp": "coreutils",
    "debugfs": "e2fsprogs",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
    "e2fsck": "e2fsprogs",
    "grub-mkimage": "grub-common",
    "mcopy": "mtools",
    "mke2fs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mmd": "mtools",
    "sfdisk": "fdisk",
}


def located(program: str) -> Path:
    """Return where ``program`` is. Raise `NotFound`, naming the Debian package, if it is not installed."""
    found = shutil.which(program, path=SEARCH)
    if found is None:
        raise _missing(program, BUILDERS[program])
    return Path(found)


def shipped(path: Path, package: str) -> Path:
    """Return ``path``, a file that ``package`` ships. Raise `NotFound` if it is not there."""
    if not path.is_file():
        raise _missing(str(path), package)
    return path


def run(
    program: str, *arguments: str | Path, text: str = "", inherit: bool = False, directory: Path | None = None
) -> str:
    """Run ``program`` and return what it wrote to its output, both streams together.

    ``text`` is its input. ``inherit`` gives it the caller's environment (apt reads the proxy there) instead
    of the fixed one. Raise `NotFound` if it is not installed, `Broken` with its last words if it fails or
    takes more than five minutes.
    """
    command = [str(located(program)), *map(str, arguments)]
    try:
        ended = subprocess.run(
            command,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=None if inherit else ENVIRONMENT,
            cwd=directory,
            timeout=TIME_LIMIT_S,
            check=True,
            encoding="utf-8",
            errors="replace",
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        words = error.output if isinstance(error.output, str) else ""
        raise Broken(
            "guest.program.failed",
            f"{program} failed while the guest was built: {words.strip()[-800:]}",
            remedy="The guest is built by Debian's own programs; look at what it said.",
        ) from error
    return ended.stdout


def _missing(thing: str, package: str) -> NotFound:
    return NotFound(
        "guest.program.missing",
        f"The guest cannot be built: {thing} is not installed.",
        remedy=f"Run: sudo apt-get install {package}",
    )
