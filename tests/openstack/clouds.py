"""What the tests of real clouds share: a project to put guests into, and guests that are cleaned up."""

import os
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import openstack
from crossport.errors import Broken, Unavailable
from crossport.model.request import CloudEntry
from crossport.testing.guest import build_guest, client
from crossport.testing.guest.client import GuestState

__all__ = [
    "CLOUDS",
    "Project",
    "Running",
    "answering",
    "booted",
    "connected",
    "entry_of",
    "guest_qcow2",
    "image_of",
    "project",
    "until",
]

CLOUDS = ("north", "south")
CACHE = Path.home() / ".cache/crossport/guest"
MIB = 1 << 20
FLAVOR = {"ram": 256, "vcpus": 1, "disk": 1}
Answer = TypeVar("Answer")
BOOT_S = 240
"""A guest under software emulation on a busy machine."""


@dataclass(frozen=True)
class Project:
    """Where guests of a test live. Names are the same in both clouds, ids and addresses are not."""

    cloud: Any
    network: str
    outside: str
    flavor: str
    group: str


@dataclass(frozen=True)
class Running:
    """A server that is ACTIVE, and where its web server answers from the network between the clouds."""

    id: str
    url: str


def connected(name: str) -> Any:
    """Return openstacksdk's Connection to the cloud of that name, by the settings of the environment.

    Untyped, since what it offers depends on the versions that the cloud has.
    """
    return openstack.connect(cloud=name)


def entry_of(name: str) -> CloudEntry:
    """Return the cloud as a site is told of it."""
    file = Path(os.environ["OS_CLIENT_CONFIG_FILE"])
    settings = {"cloud": name, "clouds-yaml": file.read_text(), "unencrypted": "accepted"}
    return CloudEntry(name=name, driver="openstack", settings=settings)


def guest_qcow2(folder: Path) -> Path:
    """Write the small guest's disk into ``folder``, as qcow2."""
    raw = build_guest(folder / "guest.raw", cache=CACHE).path
    disk = folder / "guest.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(disk)], check=True)
    return disk


def until(what: str, limit_s: float, ask: Callable[[], Answer | None]) -> Answer:
    """Return the first answer that is something; raise AssertionError when it takes too long."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if answer := ask():
            return answer
        time.sleep(0.5)
    raise AssertionError(f"{what}: not within {limit_s:.0f} s")


@contextmanager
def project(cloud: Any, cidr: str, floating: tuple[str, str]) -> Generator[Project]:
    """Make an outside network, a network with a router to it, a flavor and a group that admits HTTP."""
    with ExitStack() as undo:
        network = cloud.network

        def kept(made: Any, remove: Callable[..., Any]) -> Any:
            undo.callback(remove, made, ignore_missing=True)
            return made

        outside = kept(
            network.create_network(
                name="outside",
                is_router_external=True,
                provider_network_type="flat",
                provider_physical_network="physnet1",
            ),
            network.delete_network,
        )
        first, last = floating
        network.create_subnet(
            network_id=outside.id,
            ip_version=4,
            cidr="10.90.0.0/24",
            gateway_ip="10.90.0.1",
            is_dhcp_enabled=False,
            allocation_pools=[{"start": first, "end": last}],
        )
        inner = kept(network.create_network(name="inner"), network.delete_network)
        subnet = network.create_subnet(network_id=inner.id, ip_version=4, cidr=cidr)
        router = kept(
            network.create_router(name="router", external_gateway_info={"network_id": outside.id}),
            network.delete_router,
        )
        network.add_interface_to_router(router, subnet=subnet.id)
        undo.callback(network.remove_interface_from_router, router, subnet=subnet.id)
        group = kept(network.create_security_group(name="web"), network.delete_security_group)
        network.create_security_group_rule(
            security_group_id=group.id,
            direction="ingress",
            ethertype="IPv4",
            protocol="tcp",
            port_range_min=80,
            port_range_max=80,
        )
        flavor = kept(cloud.compute.create_flavor(name="small", **FLAVOR), cloud.compute.delete_flavor)
        yield Project(cloud, inner.id, outside.id, flavor.id, group.id)


@contextmanager
def image_of(where: Project, name: str, file: Path) -> Generator[str]:
    """Put the qcow2 disk in ``file`` into the cloud's image service under a name of its own; give its id."""
    with file.open("rb") as disk:
        made = where.cloud.image.create_image(
            name,
            data=disk,
            disk_format="qcow2",
            container_format="bare",
            use_import=False,
            validate_checksum=False,
        )
    try:
        yield made.id
    finally:
        where.cloud.image.delete_image(made)


@contextmanager
def booted(where: Project, name: str, image: str = "", *, volume: str = "") -> Generator[Running]:
    """Start a server from ``image`` or ``volume`` with a floating address; remove both afterwards."""
    root: dict[str, Any] = {"image_id": image}
    if volume:
        disk = {"uuid": volume, "source_type": "volume", "destination_type": "volume", "boot_index": 0}
        root = {"block_device_mapping": [disk]}
    compute, network = where.cloud.compute, where.cloud.network
    port = network.create_port(network_id=where.network, security_groups=[where.group])
    outside = network.create_ip(floating_network_id=where.outside, port_id=port.id)
    server = None
    try:
        server = compute.create_server(
            name=name, flavor_id=where.flavor, networks=[{"port": port.id}], **root
        )
        compute.wait_for_server(server, wait=BOOT_S, interval=1)
        yield Running(server.id, f"http://{outside.floating_ip_address}")
    finally:
        if server is not None:
            compute.delete_server(server, force=True)
            compute.wait_for_delete(server, wait=60, interval=1)
        network.delete_ip(outside)
        network.delete_port(port, ignore_missing=True)


def answering(guest: Running) -> GuestState:
    """Wait until the guest answers; return what it says of itself."""

    def ask() -> GuestState | None:
        try:
            return client.state(guest.url, timeout_s=3)
        except (Unavailable, Broken):
            return None

    return until(f"an answer of {guest.url}", BOOT_S, ask)
