"""A tree of files as the initial RAM disk that a kernel starts from, the same bytes from the same tree."""

import stat
from pathlib import Path

from crossport.appliance.programs import EPOCH

__all__ = ["ram_disk"]


def ram_disk(root: Path) -> bytes:
    """Return the tree below ``root`` as an initial RAM disk (cpio, "newc"), with a console device.

    The kernel needs /dev/console before anything is mounted; writing its entry needs no privilege.
    """
    entries = [_cpio_entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))]
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            entries.append(_cpio_entry(name, stat.S_IFLNK | 0o777, str(path.readlink()).encode()))
        elif path.is_dir():
            entries.append(_cpio_entry(name, stat.S_IFDIR | 0o755))
        else:
            mode = 0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644
            entries.append(_cpio_entry(name, stat.S_IFREG | mode, path.read_bytes()))
    # Folders come before what they hold; "dev/console" sorts behind "dev".
    entries.sort(key=lambda entry: entry[0])
    body = b"".join(entry for _, entry in entries)
    return body + _cpio_entry("TRAILER!!!", 0)[1]


def _cpio_entry(
    name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
) -> tuple[str, bytes]:
    encoded = name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (0, mode, 0, 0, links, EPOCH, len(data), 0, 0, *device, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return name, head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
