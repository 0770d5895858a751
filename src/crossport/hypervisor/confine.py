"""Run an outside tool so that it sees the files it was given and nothing else.

A disk image is hostile input, and the tool that reads it may be talked into anything. So every tool runs in
bubblewrap: own mount, process, IPC, host name and (unless asked otherwise) network namespace, an empty root
with a read-only ``/usr``, an empty environment, no capabilities, no new privileges, limits on memory, CPU
and file size, and a bounded time. Files appear inside under the path they have outside.

Started by root, the tool runs as an unprivileged uid of the host (``Confinement.uid``); bubblewrap mounts
as root first, so that the files may lie in directories that uid cannot enter. The files themselves must
admit the uid: ``run`` lends that access for its duration (`file_access`), a daemon's owner does it once.
Started by anybody else, a user namespace does the same without root, and no further user namespaces can be
made inside.

`command` is pure and serves daemons (QEMU, qemu-nbd, swtpm); `run` is for tools that end. What this does
not do: check the tool's input, or hide ``/usr``.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from crossport import errors
from crossport.hypervisor.file_access import lent

__all__ = ["NOBODY", "Completed", "Confinement", "Limits", "command", "kill", "run"]

# A numeric uid that no package and no systemd allocation uses (above 2^31 - 2^17, below the 32-bit
# container range's end).
NOBODY = 2_147_352_577
# What is kept of each stream; a tool that writes more loses the oldest part of stderr, the newest of stdout.
MAX_STDOUT = 16 << 20
MAX_STDERR = 64 << 10
# How often a process that was told to stop is looked at; it does at the next tick at the latest.
_STOP_LOOKS = 10_000
_PATH = "/usr/bin:/usr/sbin"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the tool may use. Sizes in bytes; None means no limit of this kind."""

    address_space: int | None = 4 << 30
    cpu_s: int | None = 3600
    file_size: int | None = None
    open_files: int | None = 256
    processes: int | None = None  # counted per uid on the whole host: for a uid of its own only


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a tool may see. Paths are absolute; each is bound to the same path inside.

    ``read`` and ``write`` name files or directories (a directory gives everything under it); ``devices`` are
    device nodes such as ``/dev/kvm``. A directory for sockets is a ``write`` directory. ``uid`` and ``gid``
    apply when the caller is root, ``groups`` are its further groups (for ``/dev/kvm``). ``network`` keeps
    the network namespace of the caller. A daemon that must outlive its starter says ``outlives_parent``.
    File descriptors that the starter leaves inheritable reach the tool. ``descriptors`` are open files that
    `run` hands to it, and lends it for reading: inside they are ``/proc/self/fd/N``, whatever their names
    mean by then.
    """

    read: tuple[Path, ...] = ()
    descriptors: tuple[int, ...] = ()
    write: tuple[Path, ...] = ()
    devices: tuple[Path, ...] = ()
    limits: Limits = field(default_factory=Limits)
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    working_directory: Path | None = None
    uid: int = NOBODY
    gid: int = NOBODY
    groups: tuple[int, ...] = ()
    network: bool = False
    outlives_parent: bool = False

    def __post_init__(self) -> None:
        for path in (*self.read, *self.write, *self.devices):
            if not path.is_absolute() or ".." in path.parts or path == Path("/"):
                raise ValueError(f"a confinement names absolute paths below the root only, not {path}")
        if self.uid <= 0 or self.gid <= 0:
            raise ValueError("a confined tool never runs as root")


@dataclass(frozen=True, slots=True)
class Completed:
    """How a confined tool ended. ``stderr`` is the last part of it, decoded leniently."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: str


def command(
    argv: Sequence[str], confinement: Confinement, *, as_root: bool, info_fd: int | None = None
) -> list[str]:
    """Return the command line that runs ``argv`` confined. Nothing is started or looked up.

    ``as_root`` says whether the caller's effective uid is 0. On ``info_fd`` bubblewrap writes JSON with the
    ``child-pid`` (bubblewrap(1), --info-fd); the starter must leave the descriptor inheritable.
    """
    line = ["bwrap", *_namespaces(confinement, as_root=as_root), *_file_system(confinement)]
    line += _environment(confinement)
    if info_fd is not None:
        line += ["--info-fd", str(info_fd)]
    return [*line, "--", *_limits(confinement.limits), *_identity(confinement, as_root=as_root), *argv]


async def run(
    argv: Sequence[str],
    confinement: Confinement,
    *,
    timeout_s: float,
    on_output: Callable[[bytes], None] | None = None,
    pass_fds: Iterable[int] = (),
) -> Completed:
    """Run ``argv`` confined until it ends; a status other than 0 is returned, not raised.

    ``on_output`` is called with each piece of standard output as it comes. Cancelling the task kills the
    tool and all its children, and waits for their end. Raise Unavailable ``hypervisor.tool.timeout`` when
    ``timeout_s`` is over, ``hypervisor.tool.missing`` without bubblewrap, and Refused
    ``hypervisor.file.closed`` if a named file cannot be opened for the tool.
    """
    as_root = os.geteuid() == 0
    line = command(argv, confinement, as_root=as_root)
    passed = (*pass_fds, *confinement.descriptors)
    with contextlib.ExitStack() as loans:
        if as_root:
            handed = tuple(Path(f"/proc/self/fd/{number}") for number in confinement.descriptors)
            loans.enter_context(lent((*confinement.read, *handed), uid=confinement.uid, writable=False))
            loans.enter_context(lent(confinement.write, uid=confinement.uid, writable=True))
        try:
            async with asyncio.timeout(timeout_s), _started(line, passed) as process:
                stdout, stderr = await _drain(process, on_output)
                status = await process.wait()
        except TimeoutError as error:
            raise errors.Unavailable(
                "hypervisor.tool.timeout",
                f"{argv[0]} did not end within {timeout_s:.0f} s and was killed.",
                remedy="Try again when the machine is less busy, or allow more time.",
            ) from error
    return Completed(tuple(argv), status, stdout, stderr.decode("utf-8", "replace"))


def _namespaces(confinement: Confinement, *, as_root: bool) -> list[str]:
    line = ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--new-session"]
    line += ["--hostname", "confined"]
    if not confinement.network:
        line.append("--unshare-net")
    if as_root:
        # Without a user namespace, because the tool becomes another uid of the host; setpriv then drops
        # these too.
        line += [
            "--cap-drop",
            "ALL",
            "--cap-add",
            "CAP_SETUID",
            "--cap-add",
            "CAP_SETGID",
            "--cap-add",
            "CAP_SETPCAP",
        ]
    else:
        line += ["--unshare-user", "--disable-userns", "--cap-drop", "ALL"]
    if not confinement.outlives_parent:
        line.append("--die-with-parent")
    return line


def _file_system(confinement: Confinement) -> list[str]:
    line = ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--perms", "1777"]
    line += ["--tmpfs", "/tmp"]  # noqa: S108 - inside
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        line += ["--symlink", f"usr/{name}", f"/{name}"]
    line += ["--perms", "0755", "--dir", "/etc"]  # or the first bind below it makes it 0700 and its own
    for name in ("ld.so.cache", "alternatives"):
        line += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    binds = [("--ro-bind", path) for path in confinement.read]
    binds += [("--bind", path) for path in confinement.write]
    binds += [("--dev-bind", path) for path in confinement.devices]
    # What lies higher comes first, or a directory would hide a file bound below it.
    for option, path in sorted(binds, key=lambda bind: len(bind[1].parts)):
        line += [*_parents(path), option, str(path), str(path)]
    return [*line, "--chdir", str(confinement.working_directory or "/")]


def _parents(path: Path) -> list[str]:
    """Make the directories above ``path`` enterable; bubblewrap alone makes them 0700 and its own."""
    above = [parent for parent in reversed(path.parents) if parent != Path("/")]
    return [word for parent in above for word in ("--perms", "0755", "--dir", str(parent))]


def _environment(confinement: Confinement) -> list[str]:
    line = ["--clearenv"]
    wanted = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": "/tmp", **confinement.environment}  # noqa: S108 - inside
    for name, value in wanted.items():
        line += ["--setenv", name, value]
    return line


def _limits(limits: Limits) -> list[str]:
    line = ["prlimit", "--core=0"]
    named = {
        "as": limits.address_space,
        "cpu": limits.cpu_s,
        "fsize": limits.file_size,
        "nofile": limits.open_files,
        "nproc": limits.processes,
    }
    line += [f"--{name}={value}" for name, value in named.items() if value is not None]
    return [*line, "--"]


def _identity(confinement: Confinement, *, as_root: bool) -> list[str]:
    if not as_root:
        return []
    groups = ",".join(str(group) for group in confinement.groups)
    return [
        "setpriv",
        f"--reuid={confinement.uid}",
        f"--regid={confinement.gid}",
        f"--groups={groups}" if groups else "--clear-groups",
        "--inh-caps=-all",
        "--bounding-set=-all",
        "--no-new-privs",
        "--",
    ]


def kill(pid: int) -> None:
    """Kill the tool that was started confined as ``pid``, a child of this process, with all it began.

    bubblewrap asks the kernel to kill its child with it, but a moment after it has made it; killed in
    between, the child waits for it for ever, with our pipes in its hands. So it is stopped first, and its
    children are killed by name. Not an error when it is gone.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGSTOP)
        _wait_stopped(pid)
        for child in _children(pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)


def _wait_stopped(pid: int) -> None:
    """Return when ``pid`` runs no more: at once, but for a system call that it has to come back from."""
    for _ in range(_STOP_LOOKS):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state in "TtZX":
            return
        os.sched_yield()


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@contextlib.asynccontextmanager
async def _started(
    line: Sequence[str], pass_fds: tuple[int, ...]
) -> AsyncGenerator[asyncio.subprocess.Process]:
    try:
        process = await asyncio.create_subprocess_exec(
            *line,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            pass_fds=pass_fds,
        )
    except FileNotFoundError as error:
        raise errors.Unavailable(
            "hypervisor.tool.missing",
            "bubblewrap is not installed.",
            remedy="Install the package bubblewrap.",
        ) from error
    try:
        yield process
    finally:
        if process.returncode is None:
            kill(process.pid)
            await asyncio.shield(process.wait())


async def _drain(
    process: asyncio.subprocess.Process, on_output: Callable[[bytes], None] | None
) -> tuple[bytes, bytes]:
    kept = bytearray()

    def keep(piece: bytes) -> None:
        kept.extend(piece[: MAX_STDOUT - len(kept)])
        if on_output is not None:
            on_output(piece)

    tail = bytearray()

    def keep_tail(piece: bytes) -> None:
        tail.extend(piece)
        del tail[:-MAX_STDERR]

    async with asyncio.TaskGroup() as group:
        group.create_task(_read(process.stdout, keep))
        group.create_task(_read(process.stderr, keep_tail))
    return bytes(kept), bytes(tail)


async def _read(stream: asyncio.StreamReader | None, keep: Callable[[bytes], None]) -> None:
    while stream is not None and (piece := await stream.read(64 << 10)):
        keep(piece)
