"""The lab is what it says: two real clouds that share nothing, whose guests answer and whose groups hold."""

import hashlib
import os
from pathlib import Path

import pytest
from tests.openstack.clouds import CLOUDS, Project, answering, booted, connected, image_of, until

from crossport.errors import Unavailable
from crossport.testing.guest import client

pytestmark = [
    pytest.mark.openstack,
    pytest.mark.timeout(900),
    # openstacksdk warns of how it calls itself.
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SERVICES = {"identity", "image", "placement", "compute", "network", "volumev3"}


def test_each_cloud_has_its_own_services_and_region():
    north, south = (connected(name) for name in CLOUDS)

    assert {one.type for one in north.identity.services()} == SERVICES
    assert {one.type for one in south.identity.services()} == SERVICES
    assert {one.id for one in north.identity.regions()} == {"RegionNorth"}
    assert {one.id for one in south.identity.regions()} == {"RegionSouth"}
    assert not {one.id for one in north.identity.services()} & {one.id for one in south.identity.services()}


def test_every_service_of_a_compute_host_and_of_the_volumes_is_up():
    for cloud in map(connected, CLOUDS):
        assert {one.state for one in cloud.compute.services()} == {"up"}
        assert {one.binary for one in cloud.compute.services()} == {
            "nova-conductor",
            "nova-scheduler",
            "nova-compute",
        }
        states = {one.binary: one.state for one in cloud.block_storage.services()}
        assert states == {"cinder-scheduler": "up", "cinder-volume": "up"}
        assert {one.is_alive for one in cloud.network.agents()} == {True}


def test_a_password_of_one_cloud_does_not_open_the_other():
    north, south = (connected(name) for name in CLOUDS)

    assert north.config.auth["password"] != south.config.auth["password"]
    assert Path(os.environ["OS_CLIENT_CONFIG_FILE"]).stat().st_mode & 0o077 == 0


def test_a_guest_goes_by_hand_from_one_cloud_to_the_other_with_its_data(
    projects: dict[str, Project], small: str, tmp_path: Path
):
    north, south = (projects[name] for name in CLOUDS)
    content = os.urandom(1 << 20)
    file = tmp_path / "snapshot.qcow2"
    with booted(north, "guest", small) as source:
        assert answering(source).boots == 1
        client.store(source.url, "kept", content)
        snapshot = north.cloud.compute.create_server_image(source.id, "snapshot", wait=True, timeout=240)
        north.cloud.image.download_image(snapshot.id, output=str(file))
        north.cloud.image.delete_image(snapshot.id)

    with image_of(south, "snapshot", file) as image, booted(south, "guest", image) as target:
        told = answering(target)

    assert told.boots == 2
    assert told.data["kept"] == hashlib.sha256(content).hexdigest()
    assert any(address.startswith("10.2.0.") for each in told.addresses.values() for address in each)


def test_a_guest_is_reached_only_by_what_its_security_group_admits(projects: dict[str, Project], small: str):
    north = projects["north"]
    network = north.cloud.network
    with booted(north, "guarded", small) as guest:
        answering(guest)
        (rule,) = network.security_group_rules(security_group_id=north.group, direction="ingress")
        network.delete_security_group_rule(rule)
        until("a closed port", 30, lambda: not _answers(guest.url))
        network.create_security_group_rule(
            security_group_id=north.group,
            direction="ingress",
            ethertype="IPv4",
            protocol="tcp",
            port_range_min=80,
            port_range_max=80,
        )
        answering(guest)


def test_a_guest_boots_from_a_volume_and_keeps_its_data_when_its_server_is_gone(
    projects: dict[str, Project], small: str
):
    north = projects["north"]
    volumes = north.cloud.block_storage
    volume = volumes.create_volume(size=1, image_id=small, name="root")
    try:
        volumes.wait_for_status(volume, "available", wait=240)
        with booted(north, "first", volume=volume.id) as guest:
            assert answering(guest).boots == 1
            client.store(guest.url, "kept", b"in the volume")
        volumes.wait_for_status(volume, "available", wait=60)
        with booted(north, "second", volume=volume.id) as guest:
            told = answering(guest)
    finally:
        volumes.delete_volume(volume)

    assert told.boots == 2
    assert told.data["kept"] == hashlib.sha256(b"in the volume").hexdigest()


def _answers(url: str) -> bool:
    try:
        client.state(url, timeout_s=2)
    except Unavailable:
        return False
    return True
