"""What OpenStack tells of a server becomes a VM: states, disks, order of cards, and what has no word here."""

from typing import Any

import pytest

from crossport.clouds.openstack.server import Surroundings, described
from crossport.model.vm import DiskBus, Firmware, NicModel, PowerState

GIB = 1 << 30
FLAVOR: dict[str, Any] = {"original_name": "small", "vcpus": 2, "ram": 512, "disk": 4, "extra_specs": {}}
SERVER: dict[str, Any] = {
    "id": "s1",
    "name": "web",
    "status": "ACTIVE",
    "flavor": FLAVOR,
    "image": {"id": "i1"},
    "addresses": {},
}
VOLUME: dict[str, Any] = {
    "id": "v1",
    "name": "root",
    "size": 2,
    "volume_type": "fast",
    "attachments": [{"server_id": "s1", "device": "/dev/vda"}],
    "volume_image_metadata": {"hw_firmware_type": "uefi", "hw_disk_bus": "sata"},
}


def around(**changes: Any) -> Surroundings:
    return Surroundings(project="shop", **changes)


def port(mac: str, number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "id": f"p{number}",
        "device_id": "s1",
        "mac_address": mac,
        "network_id": "n1",
        "fixed_ips": [],
        "security_group_ids": [],
        **changes,
    }


@pytest.mark.parametrize(
    ("told", "power", "busy", "halted"),
    [
        ({"status": "ACTIVE"}, PowerState.RUNNING, "", ""),
        ({"status": "SHUTOFF"}, PowerState.STOPPED, "", ""),
        ({"status": "SUSPENDED"}, PowerState.SUSPENDED, "", ""),
        ({"status": "PAUSED"}, PowerState.RUNNING, "", "paused"),
        ({"status": "ACTIVE", "task_state": "powering-off"}, PowerState.RUNNING, "powering-off", ""),
        ({"status": "BUILD"}, PowerState.STOPPED, "build", ""),
        ({"status": "VERIFY_RESIZE", "power_state": 1}, PowerState.RUNNING, "verify resize", ""),
        ({"status": "SHELVED_OFFLOADED", "power_state": 4}, PowerState.STOPPED, "shelved offloaded", ""),
        (
            {"status": "ERROR", "power_state": 1, "fault": {"message": "No valid host was found."}},
            PowerState.RUNNING,
            "",
            "in error: No valid host was found.",
        ),
    ],
)
def test_a_state_is_told_with_what_stands_in_the_way(
    told: dict[str, Any], power: PowerState, busy: str, halted: str
):
    vm = described({**SERVER, **told}, around())
    assert (vm.power, vm.busy, vm.halted) == (power, busy, halted)


def test_a_server_from_an_image_has_the_flavors_disks():
    flavor = {**FLAVOR, "ephemeral": 1, "swap": 64}
    vm = described({**SERVER, "flavor": flavor}, around())
    assert [(disk.id, disk.size, disk.boot) for disk in vm.disks] == [
        ("s1:root", 4 * GIB, True),
        ("s1:ephemeral", GIB, False),
        ("s1:swap", 64 << 20, False),
    ]
    assert (vm.cpus, vm.memory, vm.flavor) == (2, 512 << 20, "small")


def test_a_flavor_without_a_disk_takes_the_size_of_the_image():
    images = {"i1": {"id": "i1", "virtual_size": 3 * GIB, "size": 5}}
    vm = described({**SERVER, "flavor": {**FLAVOR, "disk": 0}}, around(images=images))
    assert vm.disks[0].size == 3 * GIB


def test_a_server_from_a_volume_has_the_words_that_the_volume_kept():
    vm = described({**SERVER, "image": None}, around(volumes=(VOLUME,)))
    assert [(disk.id, disk.boot, disk.bus, disk.storage_class) for disk in vm.disks] == [
        ("v1", True, DiskBus.SATA, "fast")
    ]
    assert vm.firmware is Firmware.UEFI


def test_volumes_come_in_the_order_of_their_devices():
    more = [
        {**VOLUME, "id": f"v{end}", "attachments": [{"server_id": "s1", "device": f"/dev/vd{end}"}]}
        for end in ("aa", "c", "b")
    ]
    vm = described({**SERVER, "image": None}, around(volumes=(*more, VOLUME)))
    assert [disk.id for disk in vm.disks] == ["v1", "vb", "vc", "vaa"]


def test_the_boot_volume_need_not_be_the_first_device():
    other = {**VOLUME, "id": "v2", "attachments": [{"server_id": "s1", "device": "/dev/vdb"}]}
    told = {**SERVER, "image": None, "root_device_name": "/dev/vdb"}
    vm = described(told, around(volumes=(VOLUME, other)))
    assert [(disk.id, disk.boot) for disk in vm.disks] == [("v2", True), ("v1", False)]


def test_who_else_uses_a_volume_is_told():
    both = [{"server_id": "s1", "device": "/dev/vdb"}, {"server_id": "s2", "device": "/dev/vdb"}]
    vm = described(SERVER, around(volumes=({**VOLUME, "attachments": both},)))
    assert vm.disks[1].used_by == ("s2",)


def test_cards_come_in_novas_order_and_not_in_neutrons():
    addresses = {
        "front": [{"OS-EXT-IPS-MAC:mac_addr": "02:00:00:00:00:02"}],
        "back": [{"OS-EXT-IPS-MAC:mac_addr": "02:00:00:00:00:01"}],
    }
    ports = (port("02:00:00:00:00:03", 3), port("02:00:00:00:00:01", 1), port("02:00:00:00:00:02", 2))
    vm = described({**SERVER, "addresses": addresses}, around(ports=ports))
    assert [nic.mac[-1] for nic in vm.nics] == ["2", "1", "3"]


def test_a_card_has_its_addresses_with_prefix_its_groups_and_what_leads_to_it():
    fixed = [{"subnet_id": "a", "ip_address": "10.0.0.5"}]
    vm = described(
        SERVER,
        around(
            ports=(port("02:00:00:00:00:01", fixed_ips=fixed, security_group_ids=["g1", "g2"]),),
            subnets={"a": {"cidr": "10.0.0.0/20"}},
            networks={"a": "front", "n1": "front"},
            groups={"g1": "web"},
            floating=({"port_id": "p1", "floating_ip_address": "192.0.2.9"}, {"port_id": None}),
        ),
    )
    (nic,) = vm.nics
    assert (nic.addresses, nic.network) == (("10.0.0.5/20",), "front")
    assert (nic.security_groups, nic.floating) == (("web", "g2"), ("192.0.2.9",))


@pytest.mark.parametrize(
    ("words", "special"),
    [
        ({"hw_disk_bus": "scsi", "hw_scsi_model": "lsilogic"}, "hw_scsi_model=lsilogic"),
        ({"hw_disk_bus": "scsi"}, "hw_scsi_model=the default"),
        ({"hw_disk_bus": "usb"}, "hw_disk_bus=usb"),
        ({"hw_vif_model": "ne2k_pci"}, "hw_vif_model=ne2k_pci"),
    ],
)
def test_hardware_without_a_word_here_is_told_as_special(words: dict[str, str], special: str):
    vm = described(SERVER, around(images={"i1": words}))
    assert vm.special == (special,)


@pytest.mark.parametrize(
    ("changes", "special"),
    [
        ({"binding_vnic_type": "direct"}, "a card of type direct"),
        ({"is_port_security_enabled": False}, "a card without port security"),
    ],
)
def test_a_card_without_a_word_here_is_told_as_special(changes: dict[str, Any], special: str):
    assert described(SERVER, around(ports=(port("02:00:00:00:00:01", **changes),))).special == (special,)


def test_known_words_are_taken():
    words = {
        "hw_disk_bus": "scsi",
        "hw_scsi_model": "virtio-scsi",
        "hw_vif_model": "e1000",
        "hw_machine_type": "q35",
        "hw_firmware_type": "uefi",
    }
    flavor: dict[str, Any] = {**FLAVOR, "extra_specs": {"hw:tpm_version": "2.0"}}
    vm = described(
        {**SERVER, "flavor": flavor},
        around(images={"i1": words}, ports=(port("02:00:00:00:00:01"),)),
    )
    assert (vm.disks[0].bus, vm.nics[0].model) == (DiskBus.VIRTIO_SCSI, NicModel.E1000)
    assert (vm.machine, vm.firmware, vm.tpm, vm.special) == ("q35", Firmware.UEFI, True, ())


def test_a_gpu_of_the_flavor_is_special():
    flavor: dict[str, Any] = {**FLAVOR, "extra_specs": {"resources:VGPU": "1", "hw:cpu_policy": "dedicated"}}
    assert described({**SERVER, "flavor": flavor}, around()).special == ("resources:VGPU=1",)


@pytest.mark.parametrize(
    ("locked", "reason", "fenced"),
    [(True, "crossport-fence run-1", True), (True, "ann: do not touch", False), (False, None, False)],
)
def test_only_our_own_lock_is_a_fence(locked: bool, reason: str | None, fenced: bool):
    assert described({**SERVER, "is_locked": locked, "locked_reason": reason}, around()).fenced is fenced


def test_tags_and_metadata_are_one_table():
    vm = described({**SERVER, "tags": ["prod"], "metadata": {"owner": "shop"}}, around())
    assert vm.tags == {"prod": "", "owner": "shop"}
