"""`crossport doctor`: whether this machine has what Crossport needs. Each check is a function of the machine.

A check looks through a Patient, so that tests can describe any machine. What only some VMs or only the
demonstration need is a warning or an information, never a reason to fail.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from crossport import __version__, errors
from crossport.appliance import BUILDERS, PACKAGES
from crossport.cli.report import finding_table
from crossport.cli.session import Here
from crossport.cli.text import fields
from crossport.client import calls
from crossport.client.embedded import answers
from crossport.client.state_dir import StateDir
from crossport.hypervisor.firmware import UEFI_CODE, UEFI_VARIABLES
from crossport.model.finding import Finding, Severity
from crossport.units import GIB, KIB, size_text

__all__ = ["CHECKS", "Patient", "doctor", "examined"]

DISK_NEEDED = 4 * GIB
QEMU_NEEDED = (7, 2)
PYTHON_NEEDED = (3, 11)
MEMORY_NEEDED = GIB
ROMS = ("/usr/lib/ipxe/qemu/efi-virtio.rom", "/usr/share/qemu/efi-virtio.rom")
BOOT_LOADERS = ("/usr/lib/grub/i386-pc", "/usr/lib/grub/x86_64-efi")
ENFORCING = ("nft", "ip", "nsenter", "unshare", "setpriv")
"""The programs that make networks and confine guests as root."""


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
    memory: int
    served: Callable[[], str]
    """Ask the site, when one runs, what it is; raise what stands in the way. Empty where none runs."""


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
    verdict = f"not ready: {len(missing)} missing" if missing else "ready"
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


def seeds(patient: Patient) -> Finding:
    """The program that writes seed disks is there."""
    if not patient.found("genisoimage"):
        text = "genisoimage cannot be found: no guest could be told its address and key."
        return _missing("doctor.seed", "seed disks", text, "Run: apt-get install genisoimage")
    return _good("doctor.seed", "seed disks", "genisoimage is there.")


def network_cards(patient: Patient) -> Finding:
    """QEMU finds the boot ROM of its virtio network card, without which it does not offer the card."""
    if not any(map(patient.exists, ROMS)):
        text = f"There is no {ROMS[0]}: QEMU offers no virtio network card without it."
        return _limited("doctor.rom", "network cards", text, "Run: apt-get install ipxe-qemu")
    return _good("doctor.rom", "network cards", "Their boot ROMs are there.")


def uefi(patient: Patient) -> Finding:
    """The firmware of guests that boot with UEFI is there."""
    if not all(patient.exists(str(path)) for path in (UEFI_CODE, UEFI_VARIABLES)):
        text = f"There is no {UEFI_CODE}: VMs that boot with UEFI cannot run here."
        return _limited("doctor.uefi", "UEFI", text, "Run: apt-get install ovmf")
    return _good("doctor.uefi", "UEFI", "The firmware is there.")


def tpm(patient: Patient) -> Finding:
    """The virtual TPM is there."""
    if not patient.found("swtpm"):
        text = "swtpm cannot be found: VMs with a TPM cannot run here."
        return _limited("doctor.tpm", "TPM", text, "Run: apt-get install swtpm")
    return _good("doctor.tpm", "TPM", "swtpm is there.")


def demonstration(patient: Patient) -> Finding:
    """What the demonstration builds its guest with is there."""
    absent = [program for program in BUILDERS if not patient.found(program)]
    absent += [place for place in BOOT_LOADERS if not patient.exists(place)]
    if absent:
        text = f"The guest of `crossport demo` cannot be built here: there is no {', '.join(absent)}."
        remedy = f"Run: apt-get install {' '.join(PACKAGES)}"
        return Finding("doctor.demo", Severity.INFO, "demonstration", text, remedy)
    return _good("doctor.demo", "demonstration", "Its guest can be built here.")


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
        return _limited("doctor.networks", "networks", text, "Run as root to enforce them.")
    if absent := [program for program in ENFORCING if not patient.found(program)]:
        text = f"{', '.join(absent)} cannot be found: networks cannot be enforced."
        remedy = "Run: apt-get install nftables iproute2 util-linux"
        return _limited("doctor.networks", "networks", text, remedy)
    status, told = patient.call(["nft", "list", "tables"])
    if status:
        text = f"nft does not work, so security groups cannot be enforced: {' '.join(told.split())[:200]}"
        return _limited(
            "doctor.networks", "networks", text, "Load the kernel's nf_tables: modprobe nf_tables"
        )
    if not patient.exists("/dev/net/tun"):
        text = "/dev/net/tun is missing: guests get user-mode networks."
        return _limited("doctor.networks", "networks", text, "Run: modprobe tun")
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
        return _limited("doctor.disk", "disk", text, remedy)
    return _good("doctor.disk", "disk", text)


def memory(patient: Patient) -> Finding:
    """There is room for a guest or two."""
    text = f"{size_text(patient.memory)} are free."
    if patient.memory < MEMORY_NEEDED:
        remedy = f"Free some: a guest and its firmware want {size_text(MEMORY_NEEDED)}."
        return _limited("doctor.memory", "memory", text, remedy)
    return _good("doctor.memory", "memory", text)


def site(patient: Patient) -> Finding:
    """The site that runs, if any, answers, knows the token, and is of this version."""
    try:
        text = patient.served()
    except errors.Error as error:
        return _missing("doctor.site", "site", error.text, error.remedy)
    return _good("doctor.site", "site", text or "It does not run; the next command starts it.")


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
    seeds,
    sandbox,
    firewall,
    network_cards,
    uefi,
    tpm,
    accelerator,
    memory,
    disk_space,
    state_owner,
    site,
    demonstration,
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
        memory=_memory_free(),
        served=lambda: _served(session),
    )


def _served(session: Here) -> str:
    """Ask a site elsewhere, or the one of this state directory without starting it."""
    place = session.place
    if not place.server and not answers(StateDir(place.home).socket):
        return ""
    greeting = session.send(calls.site())
    where = place.server or "on this machine"
    if greeting.version != __version__:
        raise errors.Conflict(
            "doctor.site.version",
            f"The site {where} has version {greeting.version}, this program {__version__}.",
            remedy="Let its runs finish and start it anew, or use the program of its version.",
        )
    return f"It answers {where}, for tenant {greeting.tenant}, version {greeting.version}."


def _memory_free() -> int:
    """Return the bytes that programs can have now, as Linux estimates them."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * KIB for line in lines if line.startswith("MemAvailable:"))


def _good(code: str, subject: str, text: str) -> Finding:
    return Finding(code, Severity.INFO, subject, text)


def _limited(code: str, subject: str, text: str, remedy: str) -> Finding:
    return Finding(code, Severity.WARNING, subject, text, remedy)


def _missing(code: str, subject: str, text: str, remedy: str) -> Finding:
    return Finding(code, Severity.BLOCKER, subject, text, remedy)
