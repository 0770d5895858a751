"""The network between the clouds, and the namespaces that each of them is in."""

import contextlib
import subprocess
from pathlib import Path

from lab.openstack.place import WAN, WAN_ADDRESS, Cloud, Lab
from lab.openstack.process import inside, run

__all__ = ["make_cloud_spaces", "make_wan", "remove_cloud_spaces", "remove_wan"]

# What a daemon takes for its own folder of the machine is its cloud's.
OWN_FOLDERS = {
    "run-libvirt": "/run/libvirt",
    "lib-libvirt": "/var/lib/libvirt",
    "log-libvirt": "/var/log/libvirt",
    "cache-libvirt": "/var/cache/libvirt",
    "etc-libvirt": "/etc/libvirt",
    "run-ovs": "/run/openvswitch",
    "run-ovn": "/run/ovn",
    "lib-ovn": "/var/lib/ovn",
    "etc-ovs": "/etc/openvswitch",
}
SHARE_SIZE = 16 << 30
"""Bytes of the file system that Cinder keeps volumes in; the file is sparse."""


def make_wan(lab: Lab) -> None:
    """Make the namespace and the bridge that all clouds are connected to, unless they are there."""
    spaces = lab.state / "ns"
    spaces.mkdir(parents=True, exist_ok=True)
    if not _mounted(spaces):
        # A mount namespace can only be kept on a private mount.
        run("mount", "-t", "tmpfs", "-o", "size=1m", "crossport-ns", spaces)
        run("mount", "--make-private", spaces)
    if WAN not in _network_namespaces():
        run("ip", "netns", "add", WAN)
        for words in ("link set lo up", "link add wan0 type bridge", f"addr add {WAN_ADDRESS}/24 dev wan0"):
            run("ip", "-n", WAN, *words.split())
        run("ip", "-n", WAN, "link", "set", "wan0", "up")


def make_cloud_spaces(cloud: Cloud) -> None:
    """Make the namespaces of ``cloud``, its two links, and what it sees as its own folders."""
    if cloud.network not in _network_namespaces():
        run("ip", "netns", "add", cloud.network)
        _links(cloud)
    kept = cloud.lab.state / "ns" / cloud.name
    mounts, names = kept.with_suffix(".mnt"), kept.with_suffix(".uts")
    if _mounted(mounts):
        return
    mounts.touch()
    names.touch()
    keep = (f"--mount={mounts}", f"--uts={names}", "--propagation", "private")
    run("unshare", *keep, "hostname", cloud.host)
    own = cloud.home / "own"
    for name, place in OWN_FOLDERS.items():
        (own / name).mkdir(parents=True, exist_ok=True)
        Path(place).mkdir(parents=True, exist_ok=True)
    (own / "hosts").write_text(f"127.0.0.1 localhost {cloud.host}\n{WAN_ADDRESS} wan\n")
    # Else libvirt and os-vif would look at the network interfaces of the machine.
    run(*inside(cloud), "mount", "-t", "sysfs", "sysfs", "/sys")
    run(*inside(cloud), "mount", "--bind", own / "hosts", "/etc/hosts")
    for name, place in OWN_FOLDERS.items():
        run(*inside(cloud), "mount", "--bind", own / name, place)
    _file_share(cloud, own)


def _links(cloud: Cloud) -> None:
    """Connect ``api0``, for services, and ``ext0``, the provider network that goes into Open vSwitch."""
    for link in ("api", "ext"):
        far = f"{cloud.name}-{link}"
        run(
            *("ip", "link", "add", f"{link}0", "netns", cloud.network),
            *("type", "veth", "peer", "name", far, "netns", WAN),
        )
        run("ip", "-n", WAN, "link", "set", far, "master", "wan0", "up")
        run("ip", "-n", cloud.network, "link", "set", f"{link}0", "up")
    # The userspace datapath reads frames as they are: no checksums left undone, no huge frames.
    unfinished = ("tx", "off", "gro", "off", "gso", "off", "tso", "off")
    for space, device in ((cloud.network, "ext0"), (WAN, f"{cloud.name}-ext"), (WAN, "wan0")):
        run("ip", "netns", "exec", space, "ethtool", "-K", device, *unfinished)
    # ext0 has no address, yet Linux would answer there for that of api0, and the API's traffic take that way.
    for setting, value in (("arp_ignore", 1), ("arp_announce", 2)):
        run("ip", "netns", "exec", cloud.network, "sysctl", "-qw", f"net.ipv4.conf.all.{setting}={value}")
    run("ip", "-n", cloud.network, "link", "set", "lo", "up")
    run("ip", "-n", cloud.network, "addr", "add", f"{cloud.address}/24", "dev", "api0")


def _file_share(cloud: Cloud, own: Path) -> None:
    """Give Cinder's NFS driver a share without NFS, which not every kernel has.

    It only needs ``mount -t nfs`` to yield a folder that is a mount: a mount.nfs that this cloud alone sees
    binds one.
    """
    image, share, programs = cloud.home / "share.img", cloud.home / "share", own / "sbin"
    share.mkdir(exist_ok=True)
    programs.mkdir(exist_ok=True)
    if not image.exists():
        with image.open("wb") as file:
            file.truncate(SHARE_SIZE)
        run("mkfs.ext4", "-q", "-F", image)
    run(*inside(cloud), "mount", "-o", "loop", image, share)
    program = programs / "mount.nfs"
    program.write_text(f'#!/bin/sh\nexec mount --bind {share} "$2"\n')
    program.chmod(0o755)
    layers = f"lowerdir={programs}:/usr/sbin"
    run(*inside(cloud), "mount", "-t", "overlay", "overlay", "-o", layers, "/usr/sbin")


def remove_cloud_spaces(cloud: Cloud) -> None:
    """End what is left in the cloud's network, and remove its namespaces."""
    if cloud.network in _network_namespaces():
        for pid in run("ip", "netns", "pids", cloud.network).split():
            subprocess.run(["kill", "-KILL", pid], check=False, stderr=subprocess.DEVNULL)
        run("ip", "netns", "del", cloud.network)
    for kind in ("mnt", "uts"):
        kept = cloud.lab.state / "ns" / f"{cloud.name}.{kind}"
        if _mounted(kept):
            run("umount", kept)
        kept.unlink(missing_ok=True)


def remove_wan(lab: Lab) -> None:
    """Remove the network between the clouds."""
    if WAN in _network_namespaces():
        run("ip", "netns", "del", WAN)
    if _mounted(lab.state / "ns"):
        run("umount", lab.state / "ns")


def _network_namespaces() -> set[str]:
    folder = Path("/run/netns")
    with contextlib.suppress(FileNotFoundError):
        return {one.name for one in folder.iterdir()}
    return set()


def _mounted(path: Path) -> bool:
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())
