"""The NoCloud seed: a small read-only volume from which a guest learns its name, keys and addresses.

Made by the cloud the VM starts in, and only there; it carries nothing secret. The guest reads it at its first
boot, after which it is taken out of the drive.
"""

import ipaddress
import json
from collections.abc import Iterable
from pathlib import Path

from crossport import errors
from crossport.hypervisor import confine
from crossport.model.construct import KeyPair, Network
from crossport.model.vm import VM

__all__ = ["REPORTED", "documents", "write_seed"]

REPORTED = (b"CROSSPORT-GUEST-UP", b" finished at ")
"""What a guest prints when it has read its seed: the small guest's report, cloud-init's last line."""

_PROGRAMS = ("genisoimage", "xorrisofs")
_WRITE_S = 60.0


def documents(vm: VM, keys: Iterable[KeyPair], networks: Iterable[Network]) -> dict[str, str]:
    """Return the three files by name. JSON, which is YAML too."""
    public = [key.public_key for key in keys if key.name in vm.keys]
    meta = {"instance-id": vm.instance_id, "local-hostname": _host_name(vm.name), "public-keys": public}
    by_name = {net.name: net for net in networks}
    ethernets: dict[str, object] = {}
    for index, nic in enumerate(vm.nics):
        settings: dict[str, object] = {"match": {"macaddress": nic.mac}, "addresses": list(nic.addresses)}
        gateway = by_name[nic.network].gateway
        if index == 0 and gateway:
            everything = "0.0.0.0/0" if ipaddress.ip_address(gateway).version == 4 else "::/0"
            settings["routes"] = [{"to": everything, "via": gateway}]
        ethernets[f"nic{index}"] = settings
    return {
        "meta-data": json.dumps(meta) + "\n",
        "network-config": json.dumps({"version": 2, "ethernets": ethernets}) + "\n",
        "user-data": "#cloud-config\n" + json.dumps({"ssh_authorized_keys": public}) + "\n",
    }


async def write_seed(path: Path, files: dict[str, str], *, uid: int, folder: Path) -> None:
    """Write the volume to ``path`` from a directory made at ``folder``.

    Raise Unavailable ``cloud.seed.failed`` with what the tool said.
    """
    folder.mkdir(mode=0o755, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    names = [str(folder / name) for name in sorted(files)]
    argv = [_program(), "-quiet", "-output", str(path), "-volid", "cidata", "-joliet", "-rock", *names]
    confinement = confine.Confinement(read=(folder,), write=(path,), uid=uid, gid=uid)
    done = await confine.run(argv, confinement, timeout_s=_WRITE_S)
    if done.status != 0:
        raise errors.Unavailable(
            "cloud.seed.failed",
            f"The seed could not be written: {done.stderr.strip()}",
            remedy="See that the disk is not full.",
        )


def _program() -> str:
    for name in _PROGRAMS:
        if Path("/usr/bin", name).exists():
            return name
    raise errors.Unavailable(
        "cloud.seed.missing",
        "No program is installed that writes seed volumes.",
        remedy="Install the package genisoimage.",
    )


def _host_name(name: str) -> str:
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign == "-") else "-" for sign in name)
    return plain.strip("-")[:63] or "guest"
