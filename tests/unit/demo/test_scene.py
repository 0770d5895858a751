"""The two clouds of the demonstration: nothing stands in the way of ``web``, and the mapping shows."""

from collections.abc import Iterable

import pytest

from crossport.cli.demo.scene import ALPHA, BETA, MAPPING, Side, spec
from crossport.cli.parameter import pairs
from crossport.migration.finding import standing
from crossport.migration.mapping import propose
from crossport.model.construct import Constructs
from crossport.model.mapping import Choice, Construct, MappingRules
from crossport.model.vm import VM, Disk, Nic
from crossport.units import MIB


def constructs(side: Side) -> Constructs:
    made = spec(side, accelerator_memory="")
    return Constructs(
        cloud=side.cloud,
        project="default",
        zones=made.zones,
        flavors=made.flavors,
        networks=made.networks,
        security_groups=made.security_groups,
        keys=made.keys,
        storage_classes=("qcow2",),
        free=made.quota,
        disk_free=1 << 40,
    )


def proposed(source: Side, target: Side) -> Iterable[Choice]:
    given = dict(zip(MAPPING[source.cloud][::2], MAPPING[source.cloud][1::2], strict=True))
    rules = MappingRules(
        networks=pairs([given["--map-network"]], ""), security_groups=pairs([given["--map-group"]], "")
    )
    nic = Nic(
        mac="52:54:00:00:00:01",
        network=source.network,
        addresses=(source.cidr.replace(".0/24", ".10/24"),),
        security_groups=(source.group,),
    )
    vm = VM(
        id="1",
        name="web",
        project="default",
        zone=source.zone,
        flavor=source.flavor,
        cpus=1,
        memory=source.memory,
        disks=(Disk(id="d", name="root", size=192 * MIB, storage_class="qcow2"),),
        nics=(nic,),
        keys=(source.key,),
    )
    mapping, findings = propose(vm, constructs(source), constructs(target), rules)
    assert standing(findings, ()) == ()
    return mapping.choices


@pytest.mark.parametrize(("source", "target"), [(ALPHA, BETA), (BETA, ALPHA)])
def test_web_may_go_either_way(source: Side, target: Side) -> None:
    assert list(proposed(source, target))


def test_every_construct_that_has_a_name_gets_another_one() -> None:
    named = {Construct.ZONE, Construct.FLAVOR, Construct.NETWORK, Construct.SECURITY_GROUP, Construct.KEY}
    changed = {choice.construct for choice in proposed(ALPHA, BETA) if choice.source != choice.target}
    assert named <= changed
