"""What both ends say before a row of test_findings changes it, and the changes that several rows make."""

import dataclasses
from collections.abc import Callable
from typing import Any

from crossport.migration.passage import Passage
from crossport.model.construct import Network, Quota, Rule, SecurityGroup
from crossport.model.finding import Severity
from crossport.model.health import HealthChecks, Probe, ProbeKind
from crossport.model.import_policy import OwnCheck
from crossport.model.inspection import LookMode
from crossport.model.mapping import MappingRules
from crossport.model.run import MigrationRequest, Mode, WarmRules
from crossport.model.vm import VM, Disk
from crossport.spi.site import Description
from crossport.units import MIB

BLOCKER, DECISION, WARNING, INFO = Severity.BLOCKER, Severity.DECISION, Severity.WARNING, Severity.INFO
LOGIN = HealthChecks(probes=(Probe(kind=ProbeKind.CONSOLE, expect="login:"),))
RULES = MappingRules(networks={"app": "frontend"})


@dataclasses.dataclass
class Scene:
    """What both ends say and what is asked for, before a row changes it."""

    source: Description
    target: Description
    request: MigrationRequest
    passage: Passage = dataclasses.field(default_factory=Passage)

    @property
    def vm(self) -> VM:
        assert self.source.vm
        return self.source.vm

    def change(self, **changes: Any) -> None:
        self.source = dataclasses.replace(self.source, vm=dataclasses.replace(self.vm, **changes))

    def disk(self, **changes: Any) -> None:
        self.change(disks=(dataclasses.replace(self.vm.disks[0], **changes),))

    def nic(self, **changes: Any) -> None:
        self.change(nics=(dataclasses.replace(self.vm.nics[0], **changes),))

    def offer(self, **changes: Any) -> None:
        constructs = dataclasses.replace(self.target.constructs, **changes)
        self.target = dataclasses.replace(self.target, constructs=constructs)

    def here(self, **changes: Any) -> None:
        constructs = dataclasses.replace(self.source.constructs, **changes)
        self.source = dataclasses.replace(self.source, constructs=constructs)

    def ask(self, **changes: Any) -> None:
        self.request = dataclasses.replace(self.request, **changes)

    def rules(self, **changes: Any) -> None:
        self.ask(rules=dataclasses.replace(RULES, **changes))

    def suspended(self, **changes: Any) -> None:
        self.ask(mode=Mode.SUSPEND)
        if changes:
            self.offer(**changes)

    def warm(self, **rules: Any) -> None:
        self.ask(mode=Mode.WARM, warm=WarmRules(**rules))


SSH = Rule(protocol="tcp", first_port=22, last_port=22)
WEB = Rule(protocol="tcp", first_port=80, last_port=80)
PLENTY = Quota(vms=9, cpus=99, memory=1 << 40, disk=1 << 50)
SEED = Disk(id="s", name="cidata", size=MIB, seed=True)


def isolated(scene: Scene) -> None:
    scene.here(networks=(Network(name="app", cidr="10.10.0.0/24", isolated=True),))
    scene.offer(networks=(Network(name="app", cidr="10.10.0.0/24"),))
    scene.ask(rules=MappingRules())


def policy(**changes: Any) -> Callable[[Scene], None]:
    def change(scene: Scene) -> None:
        assert scene.target.policy
        asked = dataclasses.replace(scene.target.policy, **changes)
        scene.target = dataclasses.replace(scene.target, policy=asked)

    return change


def looking(mode: LookMode, *checks: OwnCheck) -> Callable[[Scene], None]:
    """Let the source's site look into guests that leave it, where it can make ``checks``."""

    def change(scene: Scene) -> None:
        scene.source = dataclasses.replace(scene.source, look=mode, checks=checks)

    return change


def looking_warm(scene: Scene) -> None:
    """Let it look into a guest that runs till the end."""
    scene.warm()
    looking(LookMode.AUTO, OwnCheck.PACKAGES)(scene)


def free(**left: int) -> Callable[[Scene], None]:
    return lambda scene: scene.offer(free=dataclasses.replace(PLENTY, **left))


def group(*rules: Rule) -> Callable[[Scene], None]:
    return lambda scene: scene.offer(security_groups=(SecurityGroup(name="web", rules=rules),))


def lacking(end: str, ability: str) -> Callable[[Scene], None]:
    def change(scene: Scene) -> None:
        described: Description = getattr(scene, end)
        abilities = tuple(one for one in described.abilities if one != ability)
        setattr(scene, end, dataclasses.replace(described, abilities=abilities))

    return change
