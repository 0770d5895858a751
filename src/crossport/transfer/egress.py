"""Decide whether a URL may be fetched from inside a cloud's network, and to which address exactly.

A name is resolved once; the connection then goes to the address that was judged, so that a name that answers
differently the second time gains nothing. Whoever follows a redirect asks again.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

from crossport import errors
from crossport.model.url import LONGEST_URL, WEB_URL

__all__ = ["Egress", "Endpoint", "Guard"]

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|[0-9a-f:.]+")
_URL = re.compile(WEB_URL)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Resolve: TypeAlias = Callable[[str, int], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A URL that may be fetched, and the address that answers for its host.

    ``authorities`` are certificates (PEM) that are trusted for it beside those that the machine trusts.
    """

    scheme: str
    host: str
    port: int
    target: str
    address: str
    authorities: str = ""

    @property
    def url(self) -> str:
        """The URL, to resolve a relative redirect against."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.target}"


class Guard(Protocol):
    """Whoever says whether a URL may be fetched, and from which address."""

    def endpoint(self, url: str) -> Endpoint:
        """Return where to connect; raise Invalid, Refused, and Unavailable for an unknown name."""
        ...


@dataclass(frozen=True, slots=True)
class _Rule:
    scheme: str
    host: str
    port: int

    def admits(self, scheme: str, host: str, port: int) -> bool:
        if (scheme, port) != (self.scheme, self.port):
            return False
        return host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host


def resolved(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host by the machine's resolver; raise Unavailable."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise errors.Unavailable(
            "egress.name.unknown",
            f"The name {host} does not resolve ({error.strerror or error}).",
            remedy="Correct the name, or the resolver of the machine that fetches.",
        ) from error
    return [str(each[4][0]) for each in found]


class Egress:
    """What may be fetched: hosts by name, and networks that are not public.

    An entry is ``images.example.org``, ``*.example.org``, ``https://host:8443``, ``http://host`` (only so is
    plain HTTP allowed), or a network like ``10.1.0.0/16``: addresses in it may be connected to although they
    are private. A host must be allowed by name, or by its address if the URL has that.
    """

    def __init__(self, allowed: Iterable[str], *, resolve: Resolve = resolved, authorities: str = "") -> None:
        """Raise Invalid for an entry that is none of these."""
        self._authorities = authorities
        self._allowed = tuple(allowed)
        self._rules, self._networks = list[_Rule](), list[_Network]()
        self._resolve = resolve
        for entry in self._allowed:
            network = _network(entry)
            if network is None:
                self._rules.append(_rule(entry))
            else:
                self._networks.append(network)

    def beside(self, url: str) -> "Egress":
        """Return what allows the host and port of ``url`` by name, too, if it is an https URL."""
        scheme, host, port, _ = _taken_apart(url)
        if scheme != "https" or _address(host):
            return self
        allowed = (*self._allowed, f"https://{host}:{port}")
        return Egress(allowed, resolve=self._resolve, authorities=self._authorities)

    def endpoint(self, url: str) -> Endpoint:
        """Return where to connect; raise Invalid, Refused, and Unavailable for an unknown name."""
        scheme, host, port, target = _taken_apart(url)
        literal = _address(host)
        if not (self._names(scheme, host, port) or (literal and self._allows(literal))):
            raise _refused(f"{scheme}://{host}:{port} is not among the allowed hosts")
        addresses = [host] if literal else list(dict.fromkeys(self._resolve(host, port)))
        for text in addresses:
            address = _address(text)
            if address is None or not (_public(address) or self._allows(address)):
                raise _refused(f"{host} leads to {text}, which is not a public address")
        if not addresses:
            raise errors.Unavailable(
                "egress.name.unknown",
                f"The name {host} does not resolve.",
                remedy="Correct the name, or the resolver of the machine that fetches.",
            )
        return Endpoint(scheme, host, port, target, addresses[0], self._authorities)

    def _names(self, scheme: str, host: str, port: int) -> bool:
        return any(rule.admits(scheme, host, port) for rule in self._rules)

    def _allows(self, address: _Address) -> bool:
        return any(
            each.version == network.version and each in network
            for each in (address, *_embedded(address))
            for network in self._networks
        )


def _taken_apart(url: str) -> tuple[str, str, int, str]:
    if len(url) > LONGEST_URL or not _URL.fullmatch(url):
        raise _malformed(url)
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _PORTS[parts.scheme], target


def _public(address: _Address) -> bool:
    return all(
        each.is_global and not each.is_multicast and not each.is_reserved
        for each in (address, *_embedded(address))
        if each not in _NAT64
    )


def _embedded(address: _Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address leads to, by translation or tunnel."""
    if not isinstance(address, ipaddress.IPv6Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if address in _NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _address(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _network(entry: str) -> _Network | None:
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        return None


def _rule(entry: str) -> _Rule:
    scheme, separator, rest = entry.partition("://")
    scheme, rest = (scheme, rest) if separator else ("https", entry)
    host, _, port = rest.partition(":")
    host = host.lower()
    if scheme not in _PORTS or not _HOST.fullmatch(host) or (port and not port.isdigit()):
        raise errors.Invalid(
            "egress.rule.invalid",
            f"{entry!r} names neither a host nor a network.",
            field="egress",
            remedy="Write images.example.org, *.example.org, https://host:8443, http://host or 10.1.0.0/16.",
        )
    return _Rule(scheme, host, int(port) if port else _PORTS[scheme])


def _malformed(url: str) -> errors.Invalid:
    return errors.Invalid(
        "egress.url.invalid",
        f"{url[:200]!r} is no URL that can be fetched.",
        field="url",
        remedy="Write https://host/path, without user name and password.",
    )


def _refused(why: str) -> errors.Refused:
    return errors.Refused(
        "egress.denied",
        f"This may not be fetched: {why}.",
        field="url",
        remedy="Let the operator add the host, or a private network, to the setting egress.",
    )
