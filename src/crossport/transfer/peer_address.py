"""Which address of another site's worker may be dialled: a gateway's, and nothing of this machine's own.

A partner says where its worker listens. Without a bound it could have this site's gateways knock at whatever
they reach and see which of it answers.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address

from crossport import errors

__all__ = ["check"]

_LEAST_PORT = 1024
"""A worker listens at a port of its kernel's choice, which is never one of the system's."""


def check(address: str, port: int, own: str) -> None:
    """Raise Refused (``transfer.peer.address``) unless a worker at ``own`` may dial this.

    Loopback and link-local addresses are those of one machine: they are dialled only from such a place.
    """
    try:
        found = ip_address(address)
    except ValueError as error:
        raise _refused(address, "that is no IP address") from error
    if not _LEAST_PORT <= port < 1 << 16:
        raise _refused(address, f"no worker listens at port {port}")
    if found.is_unspecified or found.is_multicast or found.is_reserved:
        raise _refused(address, "nobody can be dialled there")
    if _of_one_machine(found) and not _is_of_one_machine(own):
        raise _refused(address, "that is this gateway's own machine")


def _of_one_machine(found: IPv4Address | IPv6Address) -> bool:
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return any(one.is_loopback or one.is_link_local for one in (found, mapped or found))


def _is_of_one_machine(own: str) -> bool:
    try:
        return _of_one_machine(ip_address(own))
    except ValueError:
        return False


def _refused(address: str, why: str) -> errors.Refused:
    return errors.Refused(
        "transfer.peer.address",
        f"The partner's worker is said to be at {address[:64]!r}: {why}.",
        remedy="The partner's operator gives its cloud's gateways an address that this site reaches.",
    )
