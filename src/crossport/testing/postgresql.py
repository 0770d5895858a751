"""A private PostgreSQL for tests: a cluster in a temporary directory, on a unix socket only.

It listens on no port and asks for no password: who may open the socket's directory is in. PostgreSQL
refuses to run as root; started by root it runs as the system's user ``postgres``. Durability is off,
because what is tested is the death of our processes, not of the database.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

__all__ = ["Postgresql", "running_postgresql"]

START_S = 60.0
STOP_S = 20.0
CALL_S = 60.0
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}


class Postgresql:
    """A running cluster. ``database()`` makes a new empty database and returns its URL."""

    def __init__(self, programs: Path, socket_dir: Path) -> None:
        self._programs = programs
        self._socket_dir = socket_dir
        self._numbers = count(1)

    def database(self) -> str:
        """Make an empty database; return its URL, which holds no password."""
        name = f"test{os.getpid()}x{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@/{name}?host={self._socket_dir}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Do one statement as superuser; return what psql prints."""
        command = [
            str(self._programs / "psql"),
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            str(self._socket_dir),
            "-U",
            "postgres",
            "-d",
            database,
        ]
        done = subprocess.run(  # noqa: PLW1510 -- the answer is shown below
            command, input=statement, capture_output=True, text=True, timeout=CALL_S
        )
        if done.returncode:
            raise RuntimeError(f"psql: {done.stderr}")
        return done.stdout.strip()


@contextmanager
def running_postgresql() -> Generator[Postgresql, None, None]:
    """Give a fresh cluster; it ends and disappears with the context."""
    programs = _programs()
    home = Path(tempfile.mkdtemp(prefix="crossport-postgresql-"))
    user = _unprivileged()
    server = None
    try:
        if user:
            os.chown(home, user.pw_uid, user.pw_gid)
        data = home / "data"
        init = [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-N"]
        subprocess.run(
            [*init, "-E", "UTF8", "--locale=C"],
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=CALL_S,
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
            cwd=home,
        )
        with (home / "log").open("wb") as log:
            server = subprocess.Popen(
                [str(programs / "postgres"), "-D", str(data), "-k", str(home), *_options()],
                stdout=log,
                stderr=log,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
                cwd=home,
            )
        _wait_until_it_answers(programs, home, server)
        yield Postgresql(programs, home)
    finally:
        _stop(server)
        shutil.rmtree(home, ignore_errors=True)


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql")
    return found[-1].parent


def _unprivileged() -> pwd.struct_passwd | None:
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else None


def _options() -> list[str]:
    return [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]


def _wait_until_it_answers(programs: Path, home: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    question = [str(programs / "pg_isready"), "-q", "-h", str(home), "-U", "postgres"]
    while subprocess.run(question, check=False, timeout=CALL_S).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start: {(home / 'log').read_text()}")
        time.sleep(0.05)


def _stop(server: subprocess.Popen[bytes] | None) -> None:
    if server is None:
        return
    server.send_signal(2)  # "fast": SIGINT ends sessions and stops
    try:
        server.wait(STOP_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait(STOP_S)
