"""The seed: what a guest learns from it, that nothing secret is in it, and when it has done its work."""

import json

from crossport.clouds.local import seed
from crossport.model.construct import KeyPair, Network
from crossport.model.vm import VM, Disk, Nic

NETWORKS = (
    Network(name="private", cidr="10.20.0.0/24", gateway="10.20.0.1"),
    Network(name="storage", cidr="10.30.0.0/24", gateway="10.30.0.1"),
)
KEYS = (
    KeyPair(name="mine", public_key="ssh-ed25519 AAAA mine", fingerprint="SHA256:x"),
    KeyPair(name="other", public_key="ssh-ed25519 BBBB other", fingerprint="SHA256:y"),
)


def vm(name: str = "web") -> VM:
    return VM(
        id="1",
        name=name,
        project="default",
        zone="zone-1",
        flavor="tiny",
        cpus=1,
        memory=1,
        disks=(Disk(id="d", name="disk-0", size=1),),
        nics=(
            Nic(mac="52:54:00:00:00:01", network="private", addresses=("10.20.0.10/24",)),
            Nic(mac="52:54:00:00:00:02", network="storage", addresses=("10.30.0.10/24",)),
        ),
        keys=("mine",),
        instance_id="i-1",
    )


def test_addresses_belong_to_cards_and_one_card_leads_out():
    files = seed.documents(vm(), KEYS, NETWORKS)
    ethernets = json.loads(files["network-config"])["ethernets"]
    assert ethernets["nic0"]["match"] == {"macaddress": "52:54:00:00:00:01"}
    assert ethernets["nic0"]["routes"] == [{"to": "0.0.0.0/0", "via": "10.20.0.1"}]
    assert ethernets["nic1"]["addresses"] == ["10.30.0.10/24"]
    assert "routes" not in ethernets["nic1"]


def test_only_the_keys_of_the_vm_are_in_it():
    files = seed.documents(vm(), KEYS, NETWORKS)
    assert json.loads(files["meta-data"])["public-keys"] == ["ssh-ed25519 AAAA mine"]
    assert "BBBB" not in "".join(files.values())


def test_the_instance_keeps_its_id_and_a_wild_name_becomes_a_host_name():
    meta = json.loads(seed.documents(vm('we b",\n#x'), KEYS, NETWORKS)["meta-data"])
    assert meta["instance-id"] == "i-1"
    assert meta["local-hostname"] == "we-b----x"


def test_user_data_begins_as_cloud_init_wants_it():
    assert seed.documents(vm(), KEYS, NETWORKS)["user-data"].startswith("#cloud-config\n")
