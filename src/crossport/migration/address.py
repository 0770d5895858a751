"""Which MAC and address a NIC has at the target, and what changes for those who talk to it."""

from ipaddress import ip_address, ip_interface, ip_network

from crossport.model.construct import Network
from crossport.model.finding import Finding, Severity
from crossport.model.mapping import Choice, Construct, MappingRules
from crossport.model.vm import Nic

__all__ = ["placed"]


def placed(
    index: int, nic: Nic, network: Network, rules: MappingRules, *, memory_kept: bool
) -> tuple[list[Choice], list[Finding]]:
    """Return MAC and address of ``nic`` in the target's ``network``.

    An address that belongs to the network is kept. ``memory_kept`` says that the guest will not look at
    its configuration again, so that nothing about the NIC may change.
    """
    cidr, wanted = ip_network(network.cidr), rules.addresses.get(nic.mac, "")
    old = nic.addresses[0] if nic.addresses else ""
    if wanted and not _is_address(wanted):
        return [], [
            Finding(
                "mapping.address.invalid",
                Severity.BLOCKER,
                f"nic {index}",
                f"{wanted} is no IP address.",
                f"Write it without prefix length, for instance {next(cidr.hosts())}.",
            )
        ]
    if wanted and ip_interface(wanted).ip not in cidr:
        return [], [
            Finding(
                "mapping.address.outside",
                Severity.BLOCKER,
                f"nic {index}",
                f"{wanted} does not belong to {cidr} of network {network.name}.",
                "Name an address of that network, or none to be given one.",
            )
        ]
    kept = bool(old) and ip_interface(old).ip in cidr and wanted in {"", str(ip_interface(old).ip)}
    if memory_kept and not (kept and rules.keep_mac):
        return [], [
            Finding(
                "mapping.address.memory",
                Severity.BLOCKER,
                f"nic {index}",
                f"The guest wakes up with MAC {nic.mac} and address {old or '(none)'}, which it would not "
                f"keep in network {network.name}.",
                "Map it to a network that has this address, or use --mode cold.",
            )
        ]
    new = wanted or (str(ip_interface(old).ip) if kept else "")
    mac = Choice(
        construct=Construct.MAC,
        source=nic.mac,
        target=nic.mac if rules.keep_mac else "",
        reason="kept" if rules.keep_mac else "a new one was asked for",
    )
    address = Choice(
        construct=Construct.ADDRESS,
        source=old or nic.mac,
        target=f"{new}/{cidr.prefixlen}" if new else "",
        given=bool(wanted),
        reason="asked for" if wanted else "kept" if kept else f"the source's does not belong to {cidr}",
        differences=() if kept else (f"{old or 'none'} to {new or f'one of {cidr}'}",),
    )
    return [mac, address], [] if kept else [_changes(index, old, str(cidr))]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _changes(index: int, old: str, cidr: str) -> Finding:
    return Finding(
        "mapping.address.changes",
        Severity.WARNING,
        f"nic {index}",
        f"The address {old or '(none)'} will change to one of {cidr} at the target.",
        "Point names and clients to the new address after the migration.",
    )
