"""Lend a confined tool's uid the access it needs to a file that root owns, and take it back.

A POSIX access control entry for that uid is added (acl(5); the layout is linux/posix_acl_xattr.h) instead of
changing owner or mode, which other programs may depend on. Several runs may borrow the same file: each
holds a shared lock on it, and the one that can turn its lock into an exclusive one is the last and removes
the entry. After a kill -9 the entry stays; it admits a uid that nobody else has, and the next loan of the
file removes it.
"""

import contextlib
import errno
import fcntl
import os
import stat
import struct
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import TypeAlias

from crossport import errors

__all__ = ["lent"]

_ATTRIBUTE = "system.posix_acl_access"
_VERSION = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_READ, _WRITE, _EXECUTE = 4, 2, 1
# Another loan holds the exclusive lock only while it removes its entry: microseconds.
_LOCK_TRIES, _LOCK_PAUSE_S = 40, 0.005

_Entries: TypeAlias = dict[tuple[int, int], int]  # (tag, id) -> permission bits


@contextlib.contextmanager
def lent(paths: Iterable[Path], *, uid: int, writable: bool) -> Generator[None]:
    """Give ``uid`` access to each file or directory of ``paths`` while the context lasts.

    What is readable (writable) to it anyway is left alone; a directory admits the uid itself, its present
    content is not changed. Raise NotFound ``hypervisor.file.missing``, and Refused
    ``hypervisor.file.closed`` where the file system has no access control entries.
    """
    with contextlib.ExitStack() as loans:
        for path in paths:
            loans.enter_context(_one_lent(path, uid, writable))
        yield


@contextlib.contextmanager
def _one_lent(path: Path, uid: int, writable: bool) -> Generator[None]:
    with _opened(path) as descriptor:
        facts = os.fstat(descriptor)
        wanted = _READ | (_WRITE if writable else 0) | (_EXECUTE if stat.S_ISDIR(facts.st_mode) else 0)
        if _admits(facts, uid, wanted):
            yield
            return
        _lock(descriptor, path)
        _add(descriptor, path, uid, wanted)
        try:
            yield
        finally:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(descriptor, uid)


@contextlib.contextmanager
def _opened(path: Path) -> Generator[int]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise errors.NotFound(
            "hypervisor.file.missing", f"There is no file {path}.", remedy="Correct the path."
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _admits(facts: os.stat_result, uid: int, wanted: int) -> bool:
    allowed = stat.S_IMODE(facts.st_mode) >> 6 if facts.st_uid == uid else stat.S_IMODE(facts.st_mode)
    return allowed & wanted == wanted


def _lock(descriptor: int, path: Path) -> None:
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
        else:
            return
    raise errors.Unavailable(
        "hypervisor.file.busy",
        f"{path} is locked by another program.",
        remedy="Try again when it has finished.",
    )


def _add(descriptor: int, path: Path, uid: int, wanted: int) -> None:
    entries = _entries(descriptor)
    entries[_USER, uid] = wanted
    group_class = [bits for (tag, _), bits in entries.items() if tag in {_USER, _GROUP_OBJ, _GROUP}]
    entries[_MASK, _NO_ID] = 0
    for bits in group_class:
        entries[_MASK, _NO_ID] |= bits
    try:
        os.setxattr(descriptor, _ATTRIBUTE, _packed(entries))
    except OSError as error:
        if error.errno not in {errno.ENOTSUP, errno.EROFS, errno.EPERM}:
            raise
        raise errors.Refused(
            "hypervisor.file.closed",
            f"{path} is closed to the unprivileged user that tools run as, and cannot be opened to it.",
            remedy="Open the file to others, or move it to a file system with access control lists.",
        ) from error


def _remove(descriptor: int, uid: int) -> None:
    entries = _entries(descriptor)
    entries.pop((_USER, uid), None)
    if any(tag in {_USER, _GROUP} for tag, _ in entries):
        os.setxattr(descriptor, _ATTRIBUTE, _packed(entries))
        return
    # Without an entry the mode's group bits mean the group again; while there was one they meant the mask.
    with contextlib.suppress(OSError):
        os.removexattr(descriptor, _ATTRIBUTE)
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    os.fchmod(descriptor, mode & ~0o070 | entries[_GROUP_OBJ, _NO_ID] << 3)


def _entries(descriptor: int) -> _Entries:
    try:
        packed = os.getxattr(descriptor, _ATTRIBUTE)
    except OSError:
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        shifts = {_USER_OBJ: 6, _GROUP_OBJ: 3, _OTHER: 0}
        return {(tag, _NO_ID): mode >> shift & 7 for tag, shift in shifts.items()}
    return {(tag, owner): bits for tag, bits, owner in _ENTRY.iter_unpack(packed[_VERSION.size :])}


def _packed(entries: _Entries) -> bytes:
    # The kernel wants the entries ordered by tag, then by id.
    parts = [_ENTRY.pack(tag, bits, owner) for (tag, owner), bits in sorted(entries.items())]
    return _VERSION.pack(2) + b"".join(parts)
