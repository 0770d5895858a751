"""A packet filter that follows nftables commands as `ruleset` writes them: slow, small, and strict.

It knows the few expressions that are used, and refuses every other, so that a new one is not overlooked.
"""

import ipaddress
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Filter", "Packet"]

BASE = ("prerouting", "forward", "input", "output")


@dataclass(frozen=True)
class Packet:
    """A packet at the router. ``into`` and ``out`` are devices; ``tap`` is where a guest's frame came in."""

    source: str
    target: str
    protocol: str = "tcp"
    port: int = 0
    into: str = ""
    out: str = ""
    state: str = "new"
    local: bool = False
    mac: str = ""
    kind: str = "ip"
    sender_mac: str = ""
    echo: bool = False


@dataclass
class Filter:
    """The tables after some commands."""

    chains: dict[str, list[list[str]]] = field(default_factory=dict[str, list[list[str]]])
    sets: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])

    def follow(self, script: str) -> None:
        """Apply the commands; a command that nft would refuse raises."""
        for line in script.splitlines():
            act, thing, _, _, *rest = shlex.split(line.replace(",", " , "))
            match thing:
                case "table":
                    assert act == "add"
                case "set" | "map":
                    self._follow_set(act, rest[0])
                case "chain":
                    self._follow_chain(act, rest[0])
                case "rule":
                    self.chains[rest[0]].append(rest[1:])
                case _:
                    assert thing == "element", line
                    self._follow_elements(act, rest[0], rest[2:-1])

    def _follow_set(self, act: str, name: str) -> None:
        if act == "flush":
            self.sets[name].clear()
        else:
            self.sets.setdefault(name, {})

    def _follow_chain(self, act: str, name: str) -> None:
        match act:
            case "add":
                self.chains.setdefault(name, [])
            case "flush":
                self.chains[name].clear()
            case _:
                assert not self.chains.pop(name), "the chain has rules"

    def _follow_elements(self, act: str, name: str, words: list[str]) -> None:
        for key, verdict in elements(words):
            if act == "delete":
                del self.sets[name][key]
            else:
                assert self.sets[name].setdefault(key, verdict) == verdict, "the element exists"

    def admits(self, hook: str, packet: Packet) -> bool:
        """Say whether the base chain accepts the packet; its policy is to drop."""
        assert hook in BASE
        return self._verdict(hook, packet) == "accept"

    def _verdict(self, chain: str, packet: Packet) -> str:
        for rule in self.chains[chain]:
            if verdict := self._applied(list(rule), packet):
                return self._verdict(verdict[5:], packet) if verdict.startswith("goto ") else verdict
        return "drop"

    def _applied(self, words: list[str], packet: Packet) -> str:
        """Return the verdict of a rule; empty when it does not match."""
        while words:
            if words[0] in ("accept", "drop"):
                return words[0]
            if words[0] == "goto":
                return f"goto {words[1]}"
            value, words = seen(words, packet)
            if words[0] == "&":
                value = str(ipaddress.IPv4Address(int(ipaddress.IPv4Address(value)) & mask_of(words[1:3])))
                words = words[3:]
            if words[0] == "vmap":
                return self.sets[words[1].removeprefix("@")].get(value, "")
            negated = words[0] == "!="
            words = words[1:] if negated else words
            choices, words = taken(words)
            if self._among(value, choices) is negated:
                return ""
        raise AssertionError("a rule without verdict")

    def _among(self, value: str, choices: list[str]) -> bool:
        for choice in choices:
            if choice.startswith("@"):
                if value in self.sets[choice[1:]]:
                    return True
            elif matches(value, choice):
                return True
        return False


def mask_of(words: list[str]) -> int:
    """Return the mask of ``MASK ==``."""
    assert words[1] == "=="
    return int(ipaddress.IPv4Address(words[0]))


def elements(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield keys and verdicts of ``k : v , k : v``."""
    for element in " ".join(words).split(" , "):
        key, _, verdict = element.partition(" : ")
        yield key.strip(), verdict.strip()


def seen(words: list[str], packet: Packet) -> tuple[str, list[str]]:
    """Return what the packet has for the expression at the front, and the words after it."""
    known = {
        ("iifname",): packet.into,
        ("oifname",): packet.out,
        ("ip", "saddr"): packet.source,
        ("ip", "daddr"): packet.target,
        ("ct", "state"): packet.state,
        ("meta", "l4proto"): packet.protocol,
        ("th", "dport"): str(packet.port),
        ("fib", "daddr", "type"): "local" if packet.local else "unicast",
        ("icmp", "type"): "echo-request" if packet.echo else "other",
        ("ether", "saddr"): packet.mac,
        ("ether", "type"): packet.kind,
        ("arp", "saddr", "ether"): packet.sender_mac,
        ("arp", "saddr", "ip"): packet.source,
    }
    for expression, value in known.items():
        if tuple(words[: len(expression)]) == expression:
            return value, words[len(expression) :]
    raise AssertionError(words)


def taken(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the values at the front, of a set in braces or separated by commas, and the words after them."""
    if words[0] == "{":
        end = words.index("}")
        return [word for word in words[1:end] if word != ","], words[end + 1 :]
    values, words = [words[0]], words[1:]
    while words[:1] == [","]:
        values.append(words[1])
        words = words[2:]
    return values, words


def matches(value: str, choice: str) -> bool:
    """Say whether a value is the choice, in its network, or in its range of numbers."""
    if "/" in choice:
        return ipaddress.ip_address(value) in ipaddress.ip_network(choice)
    first, dash, last = choice.partition("-")
    if dash and first.isdigit() and value.isdigit():
        return int(first) <= int(value) <= int(last)
    return value == choice
