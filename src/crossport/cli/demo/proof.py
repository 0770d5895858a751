"""Prove from outside both clouds that the VM arrived: ask the guest, not the software that moved it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_interface, ip_network

from crossport import errors
from crossport.cli.demo.scene import CLOSED_PORT, Side
from crossport.cli.demo.visitor import Visitor
from crossport.model.record import record
from crossport.model.vm import VM, PowerState
from crossport.testing.guest.client import GuestState
from crossport.units import KIB, MIB, size_text

__all__ = ["Claim", "Kept", "Proof", "Seen", "arrived", "looked", "retained"]

ANSWER_S = 20.0


@record(kw_only=False)
class Claim:
    """One thing that has to be true, whether it is, and what was seen, in words."""

    name: str
    good: bool
    text: str


@dataclass(frozen=True, slots=True)
class Kept:
    """What was in the guest before it moved: its own account, and the SHA-256 of each thing stored."""

    state: GuestState
    data: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What somebody outside saw of the guest at ``url``; ``state`` None when it did not answer.

    ``ports`` says ``open``, ``refused`` or ``silent``. ``enforced`` tells whether rules drop anything here.
    """

    url: str
    state: GuestState | None
    trouble: str = ""
    ports: dict[int, str] = field(default_factory=dict[int, str])
    enforced: bool = True


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found, and where the guest answers now."""

    claims: tuple[Claim, ...]
    url: str

    def holds(self, name: str) -> bool:
        """Say whether the claim of that name was seen to be true."""
        return any(claim.good for claim in self.claims if claim.name == name)


async def looked(visitor: Visitor, url: str, *, enforced: bool) -> Seen:
    """Look at the guest at ``url``."""
    if not url:
        return Seen(url="", state=None, trouble="the cloud lets nobody in", enforced=enforced)
    try:
        state = await visitor.answering(url, ANSWER_S)
    except errors.Error as error:
        return Seen(url=url, state=None, trouble=error.text, enforced=enforced)
    ports = {port: await visitor.accepts(url, port) for port in (80, CLOSED_PORT)} if enforced else {}
    return Seen(url=url, state=state, ports=ports, enforced=enforced)


def arrived(seen: Seen, vm: VM, side: Side, kept: Kept) -> Iterator[Claim]:
    """Yield what must be true of the guest at ``side``, where the cloud describes it as ``vm``."""
    state = seen.state
    if state is None:
        yield Claim("answers", False, f"the guest does not answer: {seen.trouble}")
        return
    yield Claim("answers", True, f"the guest answers at {seen.url}: boot {state.boots} of {state.hostname}")
    yield _data(state, kept)
    yield _network(state, vm, side)
    yield _group(seen, vm, side)
    yield _flavor(state, vm, side)
    yield _key(state, vm, side)
    same = state.host_key == kept.state.host_key and state.instance_id == kept.state.instance_id
    word = "is" if same else "is not"
    yield Claim(
        "identity", same, f"it {word} the machine it was: host key and instance id {state.instance_id}"
    )


def retained(vm: VM, side: Side, answer: str) -> Claim:
    """Say whether the VM at the source is off, fenced and kept; ``answer`` is what its address says."""
    off, fenced = vm.power is PowerState.STOPPED, vm.fenced
    there = bool(vm.disks)
    words = f"{vm.power.value}, {'fenced' if fenced else 'NOT fenced'}, {len(vm.disks)} disk kept"
    quiet = answer != "open"
    text = (
        f"{vm.name} at {side.cloud} is {words}; its old address {'is silent' if quiet else 'STILL ANSWERS'}"
    )
    return Claim("source_kept", off and fenced and there and quiet, text)


def _data(state: GuestState, kept: Kept) -> Claim:
    lost = [name for name, digest in kept.data.items() if state.data.get(name) != digest]
    if lost:
        return Claim("data", False, f"not what was stored: {', '.join(lost)}")
    digests = ", ".join(f"{name} {digest[:12]}…" for name, digest in kept.data.items())
    return Claim("data", True, f"its data are intact, SHA-256 as before: {digests}")


def _network(state: GuestState, vm: VM, side: Side) -> Claim:
    found = [ip_interface(text) for texts in state.addresses.values() for text in texts]
    inside = [each for each in found if each.ip in ip_network(side.cidr)]
    promised = {address.partition("/")[0] for nic in vm.nics for address in nic.addresses}
    good = (
        bool(inside) and {str(each.ip) for each in inside} <= promised and vm.nics[0].network == side.network
    )
    macs = {nic.mac.lower() for nic in vm.nics} <= {mac.lower() for mac in state.macs.values()}
    told = ", ".join(str(each.ip) for each in inside) or "no address"
    return Claim("network", good and macs, f"network {vm.nics[0].network}: it has {told} of {side.cidr}")


def _group(seen: Seen, vm: VM, side: Side) -> Claim:
    mapped = vm.nics[0].security_groups == (side.group,)
    if not seen.enforced:
        return Claim("security_group", mapped, f"security group {side.group} (not enforced without root)")
    good = mapped and seen.ports.get(80) == "open" and seen.ports.get(CLOSED_PORT) == "silent"
    says = ", ".join(f"port {port} is {answer}" for port, answer in seen.ports.items())
    return Claim("security_group", good, f"security group {side.group} is in force: {says}")


def _flavor(state: GuestState, vm: VM, side: Side) -> Claim:
    # The kernel keeps some memory for itself: up to a quarter of so little.
    memory = state.memory_kib * KIB
    fits = state.cpus == 1 and side.memory * 3 // 4 < memory <= side.memory
    text = (
        f"flavor {vm.flavor}: it sees {state.cpus} processor, {memory // MIB} MiB of {size_text(side.memory)}"
    )
    return Claim("flavor", fits and vm.flavor == side.flavor, text)


def _key(state: GuestState, vm: VM, side: Side) -> Claim:
    admitted = any(key.endswith("anna@example.org") for key in state.keys)
    return Claim("key", admitted and vm.keys == (side.key,), f"key {', '.join(vm.keys)}: the guest admits it")
