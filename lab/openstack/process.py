"""Start, watch and end the lab's daemons. A pid is written down with its start time, so no other is ended."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from lab.openstack.place import Cloud

__all__ = ["Broken", "alive", "end", "inside", "run", "start", "start_inside", "succeeds", "wait_for"]

PAUSE_S = 0.2


class Broken(Exception):
    """The lab cannot go on. The text says what failed and where to look."""


def run(
    *command: str | Path, log: Path | None = None, given: str = "", more: Mapping[str, str] | None = None
) -> str:
    """Run ``command`` and return what it prints; raise Broken, with its last lines, if it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        env=environment(more),
    )
    if log is not None:
        with log.open("a") as file:
            file.write(done.stdout + done.stderr)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise Broken(f"{command[0]} ended with {done.returncode}:\n{last}")
    return done.stdout


def succeeds(*command: str | Path) -> bool:
    """Say whether ``command`` ends well; what it prints is dropped."""
    quiet = subprocess.DEVNULL
    done = subprocess.run(
        [str(word) for word in command],
        stdin=quiet,
        stdout=quiet,
        stderr=quiet,
        check=False,
        env=environment(),
    )
    return done.returncode == 0


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without what makes Python compile each service anew."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | dict(more or {})


def inside(cloud: Cloud) -> list[str]:
    """Return what goes before a command so that it runs in ``cloud``; its pid stays."""
    spaces = cloud.lab.state / "ns"
    return [
        "nsenter",
        f"--net=/run/netns/{cloud.network}",
        f"--mount={spaces / cloud.name}.mnt",
        f"--uts={spaces / cloud.name}.uts",
        "--",
    ]


def start_inside(
    cloud: Cloud, name: str, command: Sequence[str | Path], more: Mapping[str, str] | None = None
) -> None:
    """Start a daemon of ``cloud`` unless it runs; its output goes to ``log/NAME.log``."""
    words = [*inside(cloud), *map(str, command)]
    start(words, cloud.home / "pid" / name, cloud.home / "log" / f"{name}.log", more)


def start(command: Sequence[str], pid: Path, log: Path, more: Mapping[str, str] | None = None) -> None:
    """Start ``command`` in a session of its own unless ``pid`` names a process that runs."""
    if alive(pid):
        return
    pid.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as out:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env=environment(more),
        )
    pid.write_text(f"{child.pid} {_born(child.pid)}")


def alive(pid: Path) -> bool:
    """Say whether the process runs that was written down in ``pid``, and not another of the same number."""
    return _which(pid) is not None


def end(pids: Iterable[Path], grace_s: float = 6.0) -> None:
    """End the processes, by force after ``grace_s``, and forget them."""
    files = list(pids)
    for sign, limit_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        for file in files:
            number = _which(file)
            if number is not None:
                os.kill(number, sign)
        until = time.monotonic() + limit_s
        while any(map(alive, files)) and time.monotonic() < until:
            time.sleep(PAUSE_S)
    for file in files:
        file.unlink(missing_ok=True)


def wait_for(what: str, limit_s: float, ready: Callable[[], bool], cloud: Cloud | None = None) -> None:
    """Wait until ``ready``; raise Broken after ``limit_s``, or as soon as a daemon of ``cloud`` has ended."""
    until = time.monotonic() + limit_s
    while not ready():
        for pid in sorted((cloud.home / "pid").iterdir()) if cloud else ():
            if not alive(pid):
                raise Broken(f"{pid.name} of {pid.parent.parent.name} ended: see {_log(pid)}")
        if time.monotonic() > until:
            raise Broken(f"{what} was not ready after {limit_s:.0f} s")
        time.sleep(PAUSE_S)


def _log(pid: Path) -> Path:
    return pid.parent.parent / "log" / f"{pid.name}.log"


def _which(pid: Path) -> int | None:
    try:
        number, born = pid.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(number) if _born(int(number)) == born else None


def _born(number: int) -> str:
    """Return when a process began, in ticks since the machine did; nothing for one that ended."""
    try:
        after_name = Path(f"/proc/{number}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if after_name[0] == "Z" else after_name[19]
