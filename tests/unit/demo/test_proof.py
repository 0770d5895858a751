"""The proof of the demonstration: it believes a guest that arrived, and catches each one that did not."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from crossport.cli.demo import proof
from crossport.cli.demo.scene import ALPHA, BETA, CLOSED_PORT
from crossport.model.vm import VM, Disk, Nic, PowerState
from crossport.testing.guest.client import GuestState
from crossport.units import MIB

MAC = "52:54:00:00:00:01"
STATE = GuestState(
    uptime_s=5.0,
    boot_id="b",
    boots=2,
    hostname="web",
    instance_id="i-1",
    firmware="bios",
    host_key="host key",
    cpus=1,
    memory_kib=BETA.memory // 1024 - 40_000,
    longest_gap_s=0.1,
    addresses={"eth0": ("10.40.0.10/24",)},
    macs={"eth0": MAC},
    disks={"vda": 192 * MIB},
    keys=("ssh-ed25519 AAAA anna@example.org",),
    data={"order": "1234", "random": "5678"},
)
KEPT = proof.Kept(replace(STATE, boots=1), dict(STATE.data))
NIC = Nic(mac=MAC, network=BETA.network, addresses=("10.40.0.10/24",), security_groups=(BETA.group,))
THERE = VM(
    id="1",
    name="web",
    project="default",
    zone=BETA.zone,
    flavor=BETA.flavor,
    cpus=1,
    memory=BETA.memory,
    power=PowerState.RUNNING,
    disks=(Disk(id="d", name="root", size=192 * MIB),),
    nics=(NIC,),
    keys=(BETA.key,),
)
LEFT = replace(THERE, power=PowerState.STOPPED, fenced=True)
SEEN = proof.Seen(url="http://10.40.0.10:80", state=STATE, ports={80: "open", CLOSED_PORT: "silent"})

Lie = Callable[[], tuple[proof.Seen, VM]]


def guest(**changes: object) -> tuple[proof.Seen, VM]:
    """What is seen when the guest differs."""
    return replace(SEEN, state=replace(STATE, **changes)), THERE


LIES: dict[str, tuple[str, Lie]] = {
    "other data": ("data", lambda: guest(data={"order": "1234", "random": "0000"})),
    "data are gone": ("data", lambda: guest(data={"order": "1234"})),
    "the old address": ("network", lambda: guest(addresses={"eth0": ("10.20.0.10/24",)})),
    "an address nobody gave": ("network", lambda: guest(addresses={"eth0": ("10.40.0.99/24",)})),
    "another network card": ("network", lambda: guest(macs={"eth0": "52:54:00:00:00:02"})),
    "less memory": ("flavor", lambda: guest(memory_kib=100_000)),
    "two processors": ("flavor", lambda: guest(cpus=2)),
    "without the key": ("key", lambda: guest(keys=())),
    "a new host key": ("identity", lambda: guest(host_key="another")),
    "a new instance": ("identity", lambda: guest(instance_id="i-2")),
    "a closed port is open": (
        "security_group",
        lambda: (replace(SEEN, ports={80: "open", CLOSED_PORT: "open"}), THERE),
    ),
    "a closed port is not dropped": (
        "security_group",
        lambda: (replace(SEEN, ports={80: "open", CLOSED_PORT: "refused"}), THERE),
    ),
    "the source's group": (
        "security_group",
        lambda: (SEEN, replace(THERE, nics=(replace(NIC, security_groups=(ALPHA.group,)),))),
    ),
    "the source's key name": ("key", lambda: (SEEN, replace(THERE, keys=(ALPHA.key,)))),
    "no answer": ("answers", lambda: (replace(SEEN, state=None, trouble="silence"), THERE)),
}


def test_a_guest_that_arrived_is_believed() -> None:
    claims = list(proof.arrived(SEEN, THERE, BETA, KEPT))
    assert [claim.name for claim in claims if not claim.good] == []
    assert {claim.name for claim in claims} == {
        *("answers", "data", "network", "security_group", "flavor", "key", "identity"),
    }


@pytest.mark.parametrize("lie", LIES)
def test_a_guest_that_did_not_arrive_whole_is_caught(lie: str) -> None:
    name, told = LIES[lie]
    seen, vm = told()
    assert [claim.name for claim in proof.arrived(seen, vm, BETA, KEPT) if not claim.good] == [name]


def test_without_root_the_security_group_is_told_as_not_enforced() -> None:
    seen = replace(SEEN, ports={}, enforced=False)
    (claim,) = [claim for claim in proof.arrived(seen, THERE, BETA, KEPT) if claim.name == "security_group"]
    assert claim.good
    assert "not enforced" in claim.text


def test_a_source_that_is_off_fenced_and_kept_is_believed() -> None:
    assert proof.retained(LEFT, ALPHA, "silent").good


@pytest.mark.parametrize(
    ("vm", "answer"),
    [
        pytest.param(replace(LEFT, power=PowerState.RUNNING), "silent", id="it runs"),
        pytest.param(replace(LEFT, fenced=False), "silent", id="it is not fenced"),
        pytest.param(replace(LEFT, disks=()), "silent", id="its disk is gone"),
        pytest.param(LEFT, "open", id="it answers"),
    ],
)
def test_a_source_that_could_wake_up_is_caught(vm: VM, answer: str) -> None:
    assert not proof.retained(vm, ALPHA, answer).good
