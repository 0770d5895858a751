"""`crossport doctor`: whether this machine has what Crossport needs. Each check is a function of the machine.

A check looks through a Patient, so that tests can describe any machine.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossport import errors
from crossport.cli.report import finding_table
from crossport.cli.session import Here
from crossport.cli.text import fields
from crossport.model.finding import Finding, Severity
from crossport.units import GIB, size_text

__all__ = ["CHECKS", "Patient", "doctor", "examined"]

DISK_NEEDED = 4 * GIB
QEMU_NEEDED = (7, 2)
PYTHON_NEEDED = (3, 11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """The machine as the checks see it: facts, and a way to run its programs."""

    home: Path
    root: bool
    uid: int
    python: tuple[int, ...]
    found: Callable[[str], str | None]
    call: Callable[[list[str]], tuple[int, str]]
    exists: Callable[[str], bool]


Check = Callable[[Patient], Finding]


def doctor(*, session: Here) -> int:
    """Check whether this machine has what Crossport needs, and say what to do where it has not.

    Exit status 3 when something that is needed is missing.

    For example:

      crossport doctor

      crossport doctor --json
    """
    findings = examined(_patient(session))
    missing = [finding for finding in findings if finding.severity is Severity.BLOCKER]
    verdict = f"{len(missing)} things are missing" if missing else "ready"
    session.out.result(findings, finding_table(findings, "This machine"), fields("", ("verdict", verdict)))
    return errors.Blocked.exit_code if missing else 0


def examined(patient: Patient) -> tuple[Finding, ...]:
    """Return what every check found."""
    return tuple(check(patient) for check in CHECKS)


def python_version(patient: Patient) -> Finding:
    """Python is new enough."""
    told = ".".join(map(str, patient.python))
    if patient.python < PYTHON_NEEDED:
        return _missing(
            "doctor.python", "Python", f"Version {told} is too old.", "Install Python 3.11 or newer."
        )
    return _good("doctor.python", "Python", f"Version {told}.")


def qemu(patient: Patient) -> Finding:
    """QEMU is there and new enough."""
    status, text = patient.call(["qemu-system-x86_64", "--version"])
    found = re.search(r"version (\d+)\.(\d+)", text) if not status else None
    if not found:
        return _missing("doctor.qemu", "QEMU", "It is not installed.", "Run: apt-get install qemu-system-x86")
    version = (int(found[1]), int(found[2]))
    told = f"Version {found[1]}.{found[2]}."
    if version < QEMU_NEEDED:
        return _missing("doctor.qemu", "QEMU", told, "Install QEMU 7.2 or newer.")
    return _good("doctor.qemu", "QEMU", told)


def qemu_img(patient: Patient) -> Finding:
    """The tools for images are there."""
    absent = [tool for tool in ("qemu-img", "qemu-storage-daemon") if not patient.found(tool)]
    if absent:
        text = f"{' and '.join(absent)} cannot be found."
        remedy = "Run: apt-get install qemu-utils qemu-system-common"
        return _missing("doctor.qemu.tools", "image tools", text, remedy)
    return _good("doctor.qemu.tools", "image tools", "qemu-img and qemu-storage-daemon are there.")


def sandbox(patient: Patient) -> Finding:
    """Bubblewrap can confine a program here."""
    if not patient.found("bwrap"):
        return _missing(
            "doctor.bwrap", "bubblewrap", "It is not installed.", "Run: apt-get install bubblewrap"
        )
    trial = ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "true"]
    status, text = patient.call(trial)
    if status:
        reason = " ".join(text.split())[:200]
        remedy = "Allow user namespaces: sysctl kernel.unprivileged_userns_clone=1"
        return _missing("doctor.bwrap", "bubblewrap", f"It cannot confine: {reason}.", remedy)
    return _good("doctor.bwrap", "bubblewrap", "It confines programs here.")


def firewall(patient: Patient) -> Finding:
    """Networks can be enforced: nft, and root."""
    if not patient.root:
        text = "Not root: guests get user-mode networks, and security groups are not enforced."
        return Finding("doctor.networks", Severity.WARNING, "networks", text, "Run as root to enforce them.")
    status, _ = patient.call(["nft", "list", "tables"])
    if status:
        text = "nft does not work: security groups cannot be enforced."
        return Finding("doctor.networks", Severity.WARNING, "networks", text, "Run: apt-get install nftables")
    if not patient.exists("/dev/net/tun"):
        text = "/dev/net/tun is missing: guests get user-mode networks."
        return Finding("doctor.networks", Severity.WARNING, "networks", text, "Run: modprobe tun")
    return _good("doctor.networks", "networks", "They can be enforced.")


def accelerator(patient: Patient) -> Finding:
    """Whether guests can run without emulation. That the device exists does not prove it."""
    if not patient.exists("/dev/kvm"):
        text = "There is no /dev/kvm: guests are emulated, about ten times slower."
        return Finding("doctor.accelerator", Severity.INFO, "accelerator", text)
    text = "/dev/kvm is there; whether it boots a guest is tried before the first one runs."
    return Finding("doctor.accelerator", Severity.INFO, "accelerator", text)


def disk_space(patient: Patient) -> Finding:
    """There is room where the state is kept."""
    place = next(path for path in (patient.home, *patient.home.parents) if path.exists())
    free = shutil.disk_usage(place).free
    text = f"{size_text(free)} are free at {place}."
    if free < DISK_NEEDED:
        remedy = f"Free some, or set CROSSPORT_HOME to a place with {size_text(DISK_NEEDED)}."
        return Finding("doctor.disk", Severity.WARNING, "disk", text, remedy)
    return _good("doctor.disk", "disk", text)


def state_owner(patient: Patient) -> Finding:
    """The state directory is ours and nobody else's."""
    path = patient.home / "control"
    if not path.exists():
        return _good("doctor.state", "state directory", f"{path} will be made when it is needed.")
    status = path.stat()
    if status.st_uid != patient.uid:
        text = f"{path} belongs to uid {status.st_uid}, not to {patient.uid}."
        return _missing(
            "doctor.state", "state directory", text, "Set CROSSPORT_HOME to a directory of yours."
        )
    if status.st_mode & 0o077:
        return _missing(
            "doctor.state", "state directory", f"{path} is open to others.", f"Run: chmod 700 {path}"
        )
    return _good("doctor.state", "state directory", f"{path} is yours alone.")


CHECKS: tuple[Check, ...] = (
    python_version,
    qemu,
    qemu_img,
    sandbox,
    firewall,
    accelerator,
    disk_space,
    state_owner,
)


def _patient(session: Here) -> Patient:
    return Patient(
        home=session.place.home,
        root=os.geteuid() == 0,
        uid=os.geteuid(),
        python=sys.version_info[:3],
        found=shutil.which,
        call=session.machine.run_tool(),
        exists=lambda path: Path(path).exists(),
    )


def _good(code: str, subject: str, text: str) -> Finding:
    return Finding(code, Severity.INFO, subject, text)


def _missing(code: str, subject: str, text: str, remedy: str) -> Finding:
    return Finding(code, Severity.BLOCKER, subject, text, remedy)
