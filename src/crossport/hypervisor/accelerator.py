"""Find out what really executes guests here: by booting a Linux kernel, not by the presence of /dev/kvm.

There are hosts whose /dev/kvm runs firmware and then takes minutes over the first page of a kernel. So the
question is put as it will be used: a kernel is started under KVM and must print on the serial console within
a few seconds. Without a kernel to boot, or without /dev/kvm, software emulation is the answer.
"""

import asyncio
import os
import re
from dataclasses import dataclass
from pathlib import Path

from crossport import errors
from crossport.hypervisor import confine
from crossport.hypervisor.daemon import boot_id
from crossport.hypervisor.qemu import Accelerator
from crossport.model import codec
from crossport.model.record import record

__all__ = ["BootDisk", "Proof", "kvm_group", "proof", "remembered"]

_PROGRAM = "qemu-system-x86_64"
_KVM = Path("/dev/kvm")
_BINARY = Path("/usr/bin/qemu-system-x86_64")
_BOUND_S = 10.0
_ALIVE = re.compile(rb"Linux version \d|CROSSPORT-GUEST-UP|login:|Kernel panic - not syncing")


@record()
class Proof:
    """What was found, in which circumstances (``key``), and why, in words."""

    accelerator: Accelerator
    key: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BootDisk:
    """Something that boots Linux: a ``kernel`` file, or else a disk ``image`` of ``format``."""

    kernel: Path | None = None
    image: Path | None = None
    format: str = "raw"


def kvm_group() -> int | None:
    """Return the group that may use /dev/kvm, None without it."""
    try:
        return _KVM.stat().st_gid
    except OSError:
        return None


async def remembered(memory: Path, boot: BootDisk | None, *, uid: int) -> Proof:
    """Return the proof kept in the file ``memory`` if it is of this boot and QEMU, else make and keep one.

    Without anything to boot the answer is not kept.
    """
    key = _key()
    known = _known(memory)
    if known is not None and known.key == key:
        return known
    found = await proof(boot, key, uid=uid)
    if boot is not None or kvm_group() is None:
        _keep(memory, found)
    return found


async def proof(boot: BootDisk | None, key: str, *, uid: int) -> Proof:
    """Boot ``boot`` under KVM for at most ten seconds and say what came of it."""
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return Proof(accelerator=Accelerator.TCG, key=key, reason="There is no usable /dev/kvm.")
    if boot is None:
        reason = "There is nothing yet to prove /dev/kvm with."
        return Proof(accelerator=Accelerator.TCG, key=key, reason=reason)
    if obstacle := await _boots(boot, uid):
        return Proof(accelerator=Accelerator.TCG, key=key, reason=obstacle)
    return Proof(accelerator=Accelerator.KVM, key=key, reason="A kernel booted under KVM.")


def _known(memory: Path) -> Proof | None:
    try:
        return codec.decoded(memory.read_text(), Proof)
    except (OSError, errors.Invalid):
        return None


def _keep(memory: Path, found: Proof) -> None:
    fresh = memory.with_suffix(".new")
    fresh.write_text(codec.encoded(found))
    fresh.replace(memory)


async def _boots(boot: BootDisk, uid: int) -> str:
    """Return why it did not boot, empty when it did."""
    seen = bytearray()
    alive = asyncio.Event()

    def watch(piece: bytes) -> None:
        seen.extend(piece)
        if _ALIVE.search(seen):
            alive.set()

    files = tuple(path for path in (boot.kernel, boot.image) if path is not None)
    confinement = confine.Confinement(
        read=files,
        devices=(_KVM,),
        groups=(kvm_group() or uid,),
        uid=uid,
        gid=uid,
        environment={"TMPDIR": "/tmp/."},  # noqa: S108 - inside; QEMU takes /var/tmp instead of /tmp
        limits=confine.Limits(address_space=None, cpu_s=60),
    )
    machine = asyncio.ensure_future(
        confine.run(_command(boot), confinement, timeout_s=_BOUND_S, on_output=watch)
    )
    waiting = asyncio.ensure_future(alive.wait())
    try:
        await asyncio.wait({machine, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        machine.cancel()
        waiting.cancel()
        outcome = (await asyncio.gather(machine, waiting, return_exceptions=True))[0]
    if alive.is_set():
        return ""
    if isinstance(outcome, confine.Completed):
        return f"QEMU could not use /dev/kvm: {outcome.stderr.strip() or 'it ended at once'}"
    return f"/dev/kvm is there, but a kernel did not boot under it within {_BOUND_S:.0f} s."


def _command(boot: BootDisk) -> list[str]:
    line = [_PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-sandbox", "on"]
    line += ["-machine", "pc-q35-7.2,accel=kvm", "-cpu", "host", "-m", "256", "-serial", "stdio"]
    if boot.kernel is not None:
        return [*line, "-kernel", str(boot.kernel), "-append", "console=ttyS0 panic=-1"]
    # "snapshot=on" keeps all writes in a file that QEMU makes in its own private /tmp.
    name = str(boot.image).replace(",", ",,")
    return [*line, "-drive", f"file={name},format={boot.format},if=virtio,snapshot=on"]


def _key() -> str:
    facts = _BINARY.stat()
    return f"{boot_id()} {facts.st_size} {facts.st_mtime_ns}"
