"""The libvirt daemon of a cloud, and what accelerates its guests."""

import asyncio
import shutil
from pathlib import Path

from crossport.hypervisor import accelerator
from crossport.hypervisor.accelerator import BootDisk
from crossport.hypervisor.qemu import Accelerator
from crossport.testing.guest import build_guest
from lab.openstack.place import Cloud, Lab
from lab.openstack.process import Broken, environment, inside, run, start_inside

__all__ = ["choose_accelerator", "destroy_guests", "start_hypervisor"]

NOBODY = 65534
GUESTS = Path.home() / ".cache/crossport/guest"


def choose_accelerator(lab: Lab) -> None:
    """Find out by booting the small guest what runs it: there are machines whose KVM does not."""
    file = lab.state / "accelerator"
    if not file.exists():
        disk = BootDisk(image=build_guest(lab.guest, cache=GUESTS).path)
        found = asyncio.run(accelerator.remembered(lab.state / "accelerator.json", disk, uid=NOBODY))
        file.write_text("kvm" if found.accelerator is Accelerator.KVM else "qemu")


def start_hypervisor(cloud: Cloud) -> None:
    """Start libvirtd, whose emulator is the wrapper of the settings."""
    own, etc = cloud.home / "own", cloud.home / "etc"
    (own / "etc-libvirt" / "qemu").mkdir(parents=True, exist_ok=True)
    for name in ("libvirtd.conf", "qemu.conf"):
        shutil.copy(etc / name, own / "etc-libvirt" / name)
    emulators = own / "bin"
    emulators.mkdir(exist_ok=True)
    shutil.copy(etc / "qemu-wrapper.sh", emulators / "qemu-system-x86_64")
    path = f"{emulators}:{environment()['PATH']}"
    # Its usual pid file is outside of /run/libvirt, so that a second libvirtd would find the first one's.
    start_inside(cloud, "libvirtd", ("libvirtd", "--pid-file", "/run/libvirt/libvirtd.pid"), {"PATH": path})


def destroy_guests(cloud: Cloud) -> None:
    """End every guest while somebody still knows them."""
    try:
        names = run(*inside(cloud), "virsh", "-q", "list", "--name").split()
    except Broken:
        return  # libvirtd does not run: it has no guests that anybody could name
    for name in names:
        run(*inside(cloud), "virsh", "-q", "destroy", name)
