"""The small guest under real QEMU: both firmwares, three buses, NoCloud by disk and by CD-ROM, a clean stop.

The guests run under software emulation with user-mode networking on loopback; nothing needs root.
"""

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crossport import errors
from crossport.testing.guest import Recipe, build_guest, client

pytestmark = pytest.mark.qemu

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPlaceholderPlaceholderPlaceholderPlaceholder demo@crossport"
ADDRESS = "10.0.2.44"  # not the one that DHCP would give
MAC = "52:54:00:c7:05:01"
BOOT_LIMIT_S = 150
STOP_LIMIT_S = 10
OVMF = Path("/usr/share/OVMF")


@dataclass(frozen=True, slots=True)
class Machine:
    """A running QEMU: where its guest answers, its console log, and its monitor."""

    process: subprocess.Popen[bytes]
    url: str
    console: Path
    monitor: Path

    def tell(self, command: str, **arguments: str) -> None:
        with socket.socket(socket.AF_UNIX) as line, line.makefile("rw") as stream:
            line.settimeout(10)
            line.connect(str(self.monitor))
            stream.readline()
            for call in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(call) + "\n")
                stream.flush()
                while "return" not in (answer := json.loads(stream.readline())):
                    assert "error" not in answer, answer

    def state(self) -> client.GuestState:
        end = time.monotonic() + BOOT_LIMIT_S
        while True:
            assert self.process.poll() is None, "QEMU ended early"
            try:
                return client.state(self.url, timeout_s=5)
            except errors.Unavailable:
                assert time.monotonic() < end, self.console.read_text(errors="replace")[-2000:]
                time.sleep(0.2)

    def report(self) -> str:
        end = time.monotonic() + BOOT_LIMIT_S
        while True:
            lines = self.console.read_text(errors="replace").splitlines()
            found = [line for line in lines if "CROSSPORT-GUEST-UP" in line and "ip=" in line]
            if found:
                return found[-1]
            assert time.monotonic() < end, lines[-20:]
            time.sleep(0.1)

    def press_power(self) -> float:
        started = time.monotonic()
        self.tell("system_powerdown")
        self.process.wait(STOP_LIMIT_S)
        return time.monotonic() - started


Boot = Callable[..., contextlib.AbstractContextManager[Machine]]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return build_guest(tmp_path / "guest.raw", cache=Path.home() / ".cache/crossport/guest").path


@pytest.fixture
def boot(tmp_path: Path) -> Boot:
    @contextlib.contextmanager
    def start(
        disk: Path, *devices: str, firmware: str = "bios", nic: str = "virtio-net-pci"
    ) -> Generator[Machine]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        console, monitor = tmp_path / "console", tmp_path / "qmp"
        console.write_bytes(b"")
        command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-m", "192"]
        command += ["-machine", "pc", "-accel", "tcg", "-serial", f"file:{console}"]
        command += ["-qmp", f"unix:{monitor},server=on,wait=off", "-device", "virtio-rng-pci"]
        command += [
            "-netdev",
            f"user,id=n0,hostfwd=tcp:127.0.0.1:{port}-{ADDRESS}:80",
            "-device",
            f"{nic},netdev=n0,mac={MAC}",
        ]
        command += ["-drive", f"file={disk},format=raw,if=none,id=d0,cache=unsafe"]
        if firmware == "uefi":
            shutil.copy(OVMF / "OVMF_VARS_4M.fd", tmp_path / "vars.fd")
            command += ["-drive", f"if=pflash,unit=0,readonly=on,format=raw,file={OVMF}/OVMF_CODE_4M.fd"]
            command += ["-drive", f"if=pflash,unit=1,format=raw,file={tmp_path}/vars.fd"]
        process = subprocess.Popen([*command, *devices])
        try:
            yield Machine(process, f"http://127.0.0.1:{port}", console, monitor)
        finally:
            process.kill()
            process.wait()

    return start


def seed(folder: Path, instance: str, kind: str) -> Path:
    """Write a NoCloud volume (``iso9660`` or ``vfat``) and return it."""
    folder.mkdir()
    (folder / "meta-data").write_text(
        f"instance-id: {instance}\nlocal-hostname: web\npublic-keys:\n- {KEY}\n"
    )
    (folder / "user-data").write_text("#cloud-config\n{}\n")
    (folder / "network-config").write_text(
        "version: 2\nethernets:\n  net0:\n    addresses:\n    - 10.0.2.44/24\n    dhcp4: false\n"
        f"    gateway4: 10.0.2.2\n    match:\n      macaddress: '{MAC}'\n"
    )
    names = [folder / name for name in ("meta-data", "user-data", "network-config")]
    volume = folder / "seed.img"
    if kind == "iso9660":
        subprocess.run(
            ["genisoimage", "-quiet", "-volid", "cidata", "-joliet", "-rock", "-o", volume, *names],
            check=True,
        )
    else:
        subprocess.run(
            ["/usr/sbin/mkfs.vfat", "-C", "-n", "CIDATA", volume, "1440"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        subprocess.run(["mcopy", "-i", volume, *names, "::/"], check=True)
    return volume


def test_a_guest_keeps_its_data_its_seed_and_its_host_key_over_a_clean_stop_and_another_firmware(
    tmp_path: Path, disk: Path, boot: Boot
) -> None:
    volume = seed(tmp_path / "seed", "i-0001", "iso9660")
    with boot(
        disk,
        *(
            "-device",
            "virtio-blk-pci,drive=d0",
            "-drive",
            f"file={volume},format=raw,if=none,id=s0,readonly=on",
        ),
        *("-device", "virtio-blk-pci,drive=s0"),
    ) as machine:
        report = machine.report()
        assert "boots=1 fw=bios instance=i-0001 ip=10.0.2.44" in report
        first = machine.state()
        assert (first.hostname, first.instance_id, first.firmware) == ("web", "i-0001", "bios")
        assert first.addresses["eth0"][0] == "10.0.2.44/24"
        assert first.macs == {"eth0": MAC}
        assert first.keys == (KEY,)
        assert first.disks["vda"] == Recipe().size
        body = bytes(range(256)) * 100
        sum_ = client.store(machine.url, "invoice-1", body)
        assert client.state(machine.url).data == {"invoice-1": sum_}
        assert client.fetch(machine.url, "invoice-1") == body
        with pytest.raises(errors.Broken, match="400"):
            client.store(machine.url, "../etc/passwd", b"x")
        assert machine.press_power() < STOP_LIMIT_S

    # The seed is gone, the bus and the firmware are others: what it said still holds.
    with boot(disk, "-device", "ide-hd,drive=d0", firmware="uefi", nic="vmxnet3") as machine:
        assert "boots=2 fw=uefi instance=i-0001 ip=10.0.2.44" in machine.report()
        second = machine.state()
        assert second.firmware == "uefi"
        assert second.data == first.data | {"invoice-1": sum_}
        assert second.host_key == first.host_key
        assert second.boot_id != first.boot_id
        assert "sda" in second.disks
        assert client.fetch(machine.url, "invoice-1") == body
        assert machine.press_power() < STOP_LIMIT_S


def test_another_instance_id_changes_the_host_key_whether_a_disk_or_a_cd_rom_brings_it(
    tmp_path: Path, disk: Path, boot: Boot
) -> None:
    keys: list[str] = []
    for instance, kind, devices in (
        ("i-0002", "vfat", ("virtio-scsi-pci", "scsi-hd,drive=d0", "scsi-hd,drive=s0")),
        ("i-0003", "iso9660", ("ide-hd,drive=d0", "ide-cd,drive=s0")),
    ):
        volume = seed(tmp_path / instance, instance, kind)
        attached = [word for device in devices for word in ("-device", device)]
        with boot(
            disk, "-drive", f"file={volume},format=raw,if=none,id=s0,readonly=on", *attached
        ) as machine:
            assert f"instance={instance} ip=10.0.2.44" in machine.report()
            state = machine.state()
            assert (state.hostname, state.boots) == ("web", len(keys) + 1)
            keys.append(state.host_key)
            machine.press_power()
    assert keys[0] != keys[1]
