"""Servers in which everything is that an inventory tells: two cards, volumes, words of images, a lock."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.openstack.clouds import BOOT_S, Project, image_of, until

__all__ = ["KEY", "WEB_ADDRESS", "WEB_MAC", "Scene", "scene"]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA1Jr8zfzEEmkfAlOo2RGm3rm5x7bvnwWKH2nZQoHV1F operator"
WEB_MAC = "fa:16:3e:00:00:50"
WEB_ADDRESS = "50"
"""The last number of its address in the network ``inner``."""
WORDS = {"hw_disk_bus": "scsi", "hw_scsi_model": "virtio-scsi", "hw_vif_model": "e1000"}


@dataclass(frozen=True)
class Scene:
    """What was made: the ids of both servers, and the address that leads to the first from outside."""

    web: str
    db: str
    outside: str


@contextmanager
def scene(where: Project, disk: Path, cidr: str) -> Generator[Scene]:
    """Make the servers ``web``, from an image, and ``db``, from a volume and stopped; remove all of it."""
    cloud = where.cloud
    with ExitStack() as undo:
        image = undo.enter_context(image_of(where, "words", disk))
        cloud.image.update_image(image, **WORDS)
        back = _back_network(cloud, undo)
        cloud.compute.create_keypair(name="operator", public_key=KEY)
        undo.callback(cloud.compute.delete_keypair, "operator")
        flavor = cloud.compute.create_flavor(name="measured", ram=128, vcpus=1, disk=1)
        undo.callback(cloud.compute.delete_flavor, flavor)
        cloud.compute.create_flavor_extra_specs(flavor, {"hw:cpu_sockets": "1"})
        front = cloud.network.create_port(
            network_id=where.network,
            mac_address=WEB_MAC,
            fixed_ips=[{"ip_address": cidr.rpartition(".")[0] + "." + WEB_ADDRESS}],
            security_groups=[where.group],
        )
        undo.callback(cloud.network.delete_port, front, ignore_missing=True)
        outside = cloud.network.create_ip(floating_network_id=where.outside, port_id=front.id)
        undo.callback(cloud.network.delete_ip, outside)
        data = _volume(cloud, undo, name="data", size=1)
        boot = _volume(cloud, undo, name="db-boot", size=1, image_id=image)
        web = cloud.compute.create_server(
            name="web",
            image_id=image,
            flavor_id=flavor.id,
            networks=[{"port": front.id}, {"uuid": back, "fixed_ip": "10.9.1.77"}],
            key_name="operator",
            metadata={"owner": "shop"},
        )
        undo.callback(_delete, cloud, web)
        db = cloud.compute.create_server(
            name="db",
            flavor_id=where.flavor,
            networks=[{"uuid": where.network}],
            block_device_mapping=[
                {"uuid": boot, "source_type": "volume", "destination_type": "volume", "boot_index": 0}
            ],
        )
        undo.callback(_delete, cloud, db)
        cloud.compute.wait_for_server(web, wait=BOOT_S, interval=1)
        cloud.compute.wait_for_server(db, wait=BOOT_S, interval=1)
        cloud.compute.add_tag_to_server(web, "production")
        cloud.compute.create_volume_attachment(web, volume_id=data)
        until("the volume in use", 90, lambda: cloud.block_storage.get_volume(data).status == "in-use")
        undo.callback(_detach, cloud, web, data)
        kept = cloud.block_storage.create_snapshot(volume_id=data, name="before-upgrade", force=True)
        undo.callback(_delete_snapshot, cloud, kept)
        until("the snapshot", 90, lambda: cloud.block_storage.get_snapshot(kept.id).status == "available")
        cloud.compute.stop_server(db)
        until("db off", 120, lambda: cloud.compute.get_server(db.id).status == "SHUTOFF")
        cloud.compute.lock_server(db, locked_reason="crossport-fence run-1")
        undo.callback(cloud.compute.unlock_server, db)
        yield Scene(web.id, db.id, outside.floating_ip_address)


def _back_network(cloud: Any, undo: ExitStack) -> str:
    network = cloud.network.create_network(name="back")
    undo.callback(cloud.network.delete_network, network)
    for number in (1, 2):
        cloud.network.create_subnet(
            network_id=network.id, ip_version=4, cidr=f"10.9.{number}.0/24", name=f"back-{number}"
        )
    return network.id


def _volume(cloud: Any, undo: ExitStack, **wanted: Any) -> str:
    made = cloud.block_storage.create_volume(**wanted)

    def delete() -> None:
        until("a free volume", 120, lambda: cloud.block_storage.get_volume(made.id).status != "in-use")
        cloud.block_storage.delete_volume(made.id)
        cloud.block_storage.wait_for_delete(made, wait=120, interval=1)

    undo.callback(delete)
    until("the volume", 120, lambda: cloud.block_storage.get_volume(made.id).status == "available")
    return made.id


def _detach(cloud: Any, server: Any, volume: str) -> None:
    cloud.compute.delete_volume_attachment(server, volume)


def _delete_snapshot(cloud: Any, snapshot: Any) -> None:
    cloud.block_storage.delete_snapshot(snapshot)
    cloud.block_storage.wait_for_delete(snapshot, wait=120, interval=1)


def _delete(cloud: Any, server: Any) -> None:
    cloud.compute.delete_server(server)
    cloud.compute.wait_for_delete(server, wait=120, interval=1)
