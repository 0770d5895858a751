"""Propose how a VM's constructs translate to the target's, and check what a person asked for.

Pure: constructs in, choices and findings out. A proposal is never smaller than the source and never opens
more; where nothing fits, there is a blocker that says what to name.
"""

from collections.abc import Iterable, Sequence

from crossport.migration.address import placed
from crossport.migration.packets import MOST_RULES, Packets, beyond
from crossport.model.construct import NO_EGRESS, Constructs, Flavor, Network, SecurityGroup
from crossport.model.finding import Finding, Severity
from crossport.model.mapping import Choice, Construct, Mapping, MappingRules
from crossport.model.vm import VM, Nic
from crossport.units import size_text

__all__ = ["propose"]


def propose(
    vm: VM, source: Constructs, target: Constructs, rules: MappingRules, *, memory_kept: bool = False
) -> tuple[Mapping, tuple[Finding, ...]]:
    """Return the mapping of ``vm`` and what is wrong or worth knowing about it.

    ``memory_kept`` says that the guest wakes up where it was: then its processors, its memory, its MACs and
    its addresses have to be the same, because it will not look at them again.
    """
    choices: list[Choice] = []
    findings: list[Finding] = []
    for part in (
        _project(target, rules),
        _zone(vm, target, rules),
        _flavor(vm, source, target, rules, exact=memory_kept),
        *(_network(nic, source, target, rules) for nic in _first_by_network(vm.nics)),
        *(_group(name, source, target, rules) for name in _groups(vm)),
        *(_key(name, source, target, rules) for name in vm.keys),
        *(_storage_class(name, target, rules) for name in sorted({disk.storage_class for disk in vm.disks})),
    ):
        choices.extend(part[0])
        findings.extend(part[1])
    chosen = Mapping(tuple(choices))
    by_name = {network.name: network for network in target.networks}
    for index, nic in enumerate(vm.nics):
        network = by_name.get(_mapped_network(chosen, nic))
        if network is not None:  # else a blocker says so already
            more, found = placed(index, nic, network, rules, memory_kept=memory_kept)
            choices.extend(more)
            findings.extend(found)
    findings.extend(_unknown_rules(vm, rules))
    choices.extend(_hardware(vm))
    findings.extend(_hardware_findings(vm, target))
    return Mapping(tuple(choices)), tuple(findings)


_Part = tuple[list[Choice], list[Finding]]
_MOST_TOLD = 50
"""Ranges of packets in which two groups differ; more would be read by nobody."""


def _blocker(code: str, subject: str, text: str, remedy: str) -> _Part:
    return [], [Finding(code, Severity.BLOCKER, subject, text, remedy)]


def _project(target: Constructs, rules: MappingRules) -> _Part:
    name = rules.project or target.project
    return [Choice(construct=Construct.PROJECT, source="", target=name, given=bool(rules.project))], []


def _zone(vm: VM, target: Constructs, rules: MappingRules) -> _Part:
    if rules.zone and rules.zone not in target.zones:
        return _blocker(
            "mapping.zone.unknown",
            f"zone {rules.zone}",
            f"{target.cloud} has no zone {rules.zone}.",
            f"Choose one of: {_names(target.zones)}.",
        )
    if not target.zones:
        return _blocker(
            "mapping.zone.none", f"zone {vm.zone}", f"{target.cloud} offers no zone.", "Ask its operator."
        )
    same = vm.zone in target.zones
    name = rules.zone or (vm.zone if same else target.zones[0])
    reason = "asked for" if rules.zone else "same name" if same else "first zone that the target offers"
    return [
        Choice(construct=Construct.ZONE, source=vm.zone, target=name, given=bool(rules.zone), reason=reason)
    ], []


def _flavor(vm: VM, source: Constructs, target: Constructs, rules: MappingRules, *, exact: bool) -> _Part:
    wanted = _own_flavor(vm, source)
    if exact:
        return _exact_flavor(vm, wanted, target, rules)
    if rules.flavor:
        given = next((flavor for flavor in target.flavors if flavor.name == rules.flavor), None)
        if given is None:
            return _blocker(
                "mapping.flavor.unknown",
                f"flavor {rules.flavor}",
                f"{target.cloud} has no flavor {rules.flavor}.",
                f"Choose one of: {_names(flavor.name for flavor in target.flavors)}.",
            )
        choice = _flavor_choice(vm, wanted, given, given_by_person=True)
        smaller = [text for text in choice.differences if "smaller" in text]
        return [choice], [
            Finding(
                "mapping.flavor.smaller",
                Severity.DECISION,
                f"flavor {given.name}",
                f"The chosen flavor is smaller than the source: {', '.join(smaller)}.",
                "Choose a larger flavor, or accept it with --accept mapping.flavor.smaller.",
            )
        ] * bool(smaller)
    fitting = [flavor for flavor in target.flavors if _holds(flavor, wanted)]
    if not fitting:
        return _blocker(
            "mapping.flavor.none",
            f"flavor {vm.flavor}",
            f"No flavor of {target.cloud} has {wanted.cpus} processors, {size_text(wanted.memory)} of memory "
            f"and {size_text(wanted.disk)} of disk.",
            "Ask the target's operator for one, or name a smaller one with --flavor and accept it.",
        )
    nearest = min(fitting, key=lambda flavor: (flavor.cpus, flavor.memory, flavor.disk, flavor.name))
    return [_flavor_choice(vm, wanted, nearest, given_by_person=False)], []


def _exact_flavor(vm: VM, wanted: Flavor, target: Constructs, rules: MappingRules) -> _Part:
    same = [one for one in target.flavors if (one.cpus, one.memory) == (wanted.cpus, wanted.memory)]
    fitting = [one for one in same if _holds(one, wanted) and rules.flavor in {"", one.name}]
    if not fitting:
        return _blocker(
            "mapping.flavor.memory",
            f"flavor {rules.flavor or vm.flavor}",
            f"A memory state of {size_text(wanted.memory)} and {wanted.cpus} processors fits no other size"
            f"{f', and {rules.flavor} has another' if rules.flavor else ''}.",
            f"At {target.cloud} fit: {_names(one.name for one in same)}. Else use --mode cold.",
        )
    nearest = min(fitting, key=lambda flavor: (flavor.disk, flavor.name))
    return [_flavor_choice(vm, wanted, nearest, given_by_person=bool(rules.flavor))], []


def _own_flavor(vm: VM, source: Constructs) -> Flavor:
    """What the VM really has: its processors and memory, and the disk of its flavor or of its disks."""
    named = next((flavor for flavor in source.flavors if flavor.name == vm.flavor), None)
    largest = max((disk.size for disk in vm.disks if disk.boot), default=0)
    return Flavor(
        name=vm.flavor,
        cpus=vm.cpus,
        memory=vm.memory,
        disk=max(largest, named.disk if named and named.disk else 0),
    )


def _holds(flavor: Flavor, wanted: Flavor) -> bool:
    return (
        flavor.cpus >= wanted.cpus
        and flavor.memory >= wanted.memory
        and (flavor.disk == 0 or flavor.disk >= wanted.disk)
    )


def _flavor_choice(vm: VM, wanted: Flavor, chosen: Flavor, *, given_by_person: bool) -> Choice:
    differences = [
        f"{word} {'smaller' if new < old else 'larger'}: {text(old)} to {text(new)}"
        for word, old, new, text in (
            ("processors", wanted.cpus, chosen.cpus, str),
            ("memory", wanted.memory, chosen.memory, size_text),
            ("disk", wanted.disk, chosen.disk or wanted.disk, size_text),
        )
        if old != new
    ]
    return Choice(
        construct=Construct.FLAVOR,
        source=vm.flavor,
        target=chosen.name,
        given=given_by_person,
        reason="asked for" if given_by_person else "nearest that is not smaller",
        differences=tuple(differences),
    )


def _first_by_network(nics: Iterable[Nic]) -> list[Nic]:
    return list({nic.network: nic for nic in reversed(list(nics))}.values())[::-1]


def _network(nic: Nic, source: Constructs, target: Constructs, rules: MappingRules) -> _Part:
    usable = [network for network in target.networks if not network.reserved]
    wanted = rules.networks.get(nic.network, "")
    if wanted:
        found = next((network for network in usable if network.name == wanted), None)
        if found is None:
            return _blocker(
                "mapping.network.unknown",
                f"network {wanted}",
                f"{target.cloud} has no network {wanted} that takes VMs.",
                f"Choose one of: {_names(network.name for network in usable)}.",
            )
        return [_network_choice(nic.network, found, source, reason="asked for", given=True)], []
    for reason, found in _network_candidates(nic, source, usable):
        if found is not None:
            choice = _network_choice(nic.network, found, source, reason=reason, given=False)
            return [choice], _opened(nic.network, found, source)
    return _blocker(
        "mapping.network.none",
        f"network {nic.network}",
        f"No network of {target.cloud} stands for {nic.network}; the VM would lose a NIC.",
        f"Name one with --map-network {nic.network}=NAME out of: {_names(n.name for n in usable)}.",
    )


def _opened(name: str, found: Network, source: Constructs) -> list[Finding]:
    own = next((network for network in source.networks if network.name == name), None)
    if own is None or not own.isolated or found.isolated:
        return []
    return [
        Finding(
            "mapping.network.open",
            Severity.DECISION,
            f"network {name}",
            f"{name} is isolated at the source, and {found.name} is not.",
            f"Name another one with --map-network {name}=NAME, or accept it with "
            "--accept mapping.network.open.",
        )
    ]


def _mapped_network(chosen: Mapping, nic: Nic) -> str:
    try:
        return chosen.target(Construct.NETWORK, nic.network)
    except KeyError:
        return ""


def _network_candidates(
    nic: Nic, source: Constructs, usable: list[Network]
) -> list[tuple[str, Network | None]]:
    """The ways in which a network is found, best first; the last one only where there is no choice."""
    own = next((network for network in source.networks if network.name == nic.network), None)
    return [
        ("same name", next((n for n in usable if n.name == nic.network), None)),
        ("same addresses", next((n for n in usable if own and n.cidr == own.cidr), None)),
        ("the only network", usable[0] if len(usable) == 1 else None),
    ]


def _network_choice(name: str, found: Network, source: Constructs, *, reason: str, given: bool) -> Choice:
    own = next((network for network in source.networks if network.name == name), None)
    differences = () if own is None or own.cidr == found.cidr else (f"addresses {own.cidr} to {found.cidr}",)
    return Choice(
        construct=Construct.NETWORK,
        source=name,
        target=found.name,
        given=given,
        reason=reason,
        differences=differences,
    )


def _groups(vm: VM) -> list[str]:
    return sorted({name for nic in vm.nics for name in nic.security_groups})


def _group(name: str, source: Constructs, target: Constructs, rules: MappingRules) -> _Part:
    wanted = rules.security_groups.get(name, "") or name
    given = name in rules.security_groups
    found = next((group for group in target.security_groups if group.name == wanted), None)
    if found is None:
        return _blocker(
            "mapping.security-group.none",
            f"security group {name}",
            f"{target.cloud} has no security group {wanted}.",
            f"Name one with --map-group {name}=NAME out of: "
            f"{_names(group.name for group in target.security_groups)}.",
        )
    own = next((group for group in source.security_groups if group.name == name), None)
    wider, narrower = _rule_differences(own, found)
    choice = Choice(
        construct=Construct.SECURITY_GROUP,
        source=name,
        target=found.name,
        given=given,
        reason="asked for" if given else "same name",
        differences=(*wider, *narrower),
    )
    findings = [
        Finding(
            "mapping.security-group.wider",
            Severity.DECISION,
            f"security group {name}",
            f"{found.name} at {target.cloud} has other rules: {'; '.join(wider)}.",
            "Choose another group, or accept it with --accept mapping.security-group.wider.",
        )
    ] * bool(wider) + [
        Finding(
            "mapping.security-group.narrower",
            Severity.WARNING,
            f"security group {name}",
            f"{found.name} at {target.cloud} lacks rules: {'; '.join(narrower)}.",
            "Add the rules at the target if the guest needs them.",
        )
    ] * bool(narrower)
    return [choice], findings


def _rule_differences(
    own: SecurityGroup | None, found: SecurityGroup
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What only the target's group admits, and what only the source's does, in words.

    A source's group of which nothing is known counts as one that admits nothing. Of either, a partner may
    tell whatever it likes: groups that take long to compare are not, and are asked about like wider ones.
    """
    if own is None:
        own = SecurityGroup(name=found.name, rules=(NO_EGRESS,))
    largest = max(own, found, key=lambda group: len(group.rules))
    if (count := len(largest.rules)) > MOST_RULES:
        return (f"cannot be compared: {largest.name} has {count} rules, more than {MOST_RULES}",), ()
    return _told("also admits", beyond(found, own)), _told("does not admit", beyond(own, found))


def _told(words: str, packets: Sequence[Packets]) -> tuple[str, ...]:
    """Say which packets, the first of very many."""
    more = len(packets) - _MOST_TOLD
    rest = (f"{words} {more} more such ranges",) if more > 0 else ()
    return (*(f"{words} {one}" for one in packets[:_MOST_TOLD]), *rest)


def _key(name: str, source: Constructs, target: Constructs, rules: MappingRules) -> _Part:
    wanted = rules.keys.get(name, "")
    own = next((key for key in source.keys if key.name == name), None)
    found = next((key for key in target.keys if key.name == (wanted or name)), None)
    if own is not None and not wanted:  # the key itself counts for more than its name
        found = next((key for key in target.keys if key.fingerprint == own.fingerprint), found)
    if found is None:
        return _blocker(
            "mapping.key.none",
            f"key {name}",
            f"{target.cloud} has no key pair {wanted or name}, nor one with its fingerprint.",
            f"Import the public key there, or name one with --map-key {name}=NAME.",
        )
    same = own is not None and own.fingerprint == found.fingerprint
    choice = Choice(
        construct=Construct.KEY,
        source=name,
        target=found.name,
        given=bool(wanted),
        reason="asked for" if wanted else "same fingerprint" if same else "same name",
        differences=() if same else (f"another key: {found.fingerprint}",),
    )
    if same or wanted:
        return [choice], []
    return [choice], [
        Finding(
            "mapping.key.other",
            Severity.DECISION,
            f"key {name}",
            f"The key pair {name} at {target.cloud} is another key than at the source.",
            "Name the right one with --map-key, or accept it with --accept mapping.key.other.",
        )
    ]


def _storage_class(name: str, target: Constructs, rules: MappingRules) -> _Part:
    wanted = rules.storage_classes.get(name, "")
    if wanted and wanted not in target.storage_classes:
        return _blocker(
            "mapping.storage-class.unknown",
            f"storage class {wanted}",
            f"{target.cloud} has no storage class {wanted}.",
            f"Choose one of: {_names(target.storage_classes)}.",
        )
    chosen = wanted or (name if name in target.storage_classes else next(iter(target.storage_classes), ""))
    reason = "asked for" if wanted else "same name" if chosen == name else "the target's default"
    return [
        Choice(
            construct=Construct.STORAGE_CLASS, source=name, target=chosen, given=bool(wanted), reason=reason
        )
    ], []


def _unknown_rules(vm: VM, rules: MappingRules) -> list[Finding]:
    """Rules that match nothing of this VM: most likely a typing error, so they stand in the way."""
    known: dict[str, tuple[set[str], Iterable[str]]] = {
        "network": ({nic.network for nic in vm.nics}, rules.networks),
        "security group": (set(_groups(vm)), rules.security_groups),
        "key": (set(vm.keys), rules.keys),
        "storage class": ({disk.storage_class for disk in vm.disks}, rules.storage_classes),
        "address": ({nic.mac for nic in vm.nics}, rules.addresses),
    }
    return [
        Finding(
            "mapping.rule.unused",
            Severity.BLOCKER,
            f"{word} {name}",
            f"The mapping names the {word} {name}, which {vm.name} does not use.",
            f"It uses: {_names(sorted(own))}. Correct or remove the rule.",
        )
        for word, (own, named) in known.items()
        for name in sorted(set(named) - own)
    ]


def _hardware(vm: VM) -> list[Choice]:
    rows = [(Construct.FIRMWARE, vm.firmware.value)]
    rows += [(Construct.DISK_BUS, bus) for bus in sorted({disk.bus.value for disk in vm.disks})]
    rows += [(Construct.NIC_MODEL, model) for model in sorted({nic.model.value for nic in vm.nics})]
    return [Choice(construct=kind, source=value, target=value, reason="kept") for kind, value in rows]


def _hardware_findings(vm: VM, target: Constructs) -> list[Finding]:
    wants = [
        ("firmware", vm.firmware.value, target.firmwares),
        *(("disk bus", bus, target.disk_buses) for bus in sorted({disk.bus.value for disk in vm.disks})),
        *(("NIC model", model, target.nic_models) for model in sorted({nic.model.value for nic in vm.nics})),
    ]
    return [
        Finding(
            f"mapping.{word.replace(' ', '-').lower()}.none",
            Severity.BLOCKER,
            f"{word} {value}",
            f"{target.cloud} cannot give the guest {word} {value}.",
            f"It offers: {_names(offered)}. The guest would have to be converted first.",
        )
        for word, value, offered in wants
        if value not in offered
    ]


def _names(names: Iterable[str]) -> str:
    return ", ".join(names) or "(none)"
