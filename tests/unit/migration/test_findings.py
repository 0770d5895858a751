"""Every finding of a migration: what provokes it, how severe it is, what it names, and what it advises.

A finding in the code without a row here fails, so that none is worded without being seen.
"""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scripts.codes import SOURCE, codes_in
from tests.unit.migration.finding_scene import (
    BLOCKER,
    DECISION,
    INFO,
    LOGIN,
    SEED,
    SSH,
    WARNING,
    WEB,
    Scene,
    free,
    group,
    isolated,
    lacking,
    looking,
    looking_warm,
    policy,
)
from tests.unit.migration.gateway_rows import GATEWAY_ROWS
from tests.unit.migration.test_control import TENANT, open_place
from tests.unit.migration.test_plan_run import begun, plan_of
from tests.unit.migration.world import World, new_world

from crossport.migration.judge import dry_run
from crossport.migration.passage import Passage
from crossport.model.construct import KeyPair
from crossport.model.finding import Finding, Severity
from crossport.model.health import HealthChecks
from crossport.model.import_policy import OwnCheck
from crossport.model.inspection import LookMode
from crossport.model.mapping import MappingRules
from crossport.model.run import Hook, Verify
from crossport.model.vm import DiskBus, Firmware, NicModel, PowerState
from crossport.spi.site import Description
from crossport.testing.world import ALPHA, BETA
from crossport.units import MIB

Row = tuple[str, Severity, str, str, str, Callable[[Scene], None]]

ROWS: tuple[Row, ...] = (
    # code, severity, what it is about, a part of the text, a part of the remedy, what provokes it
    (
        "target.check.unable",
        BLOCKER,
        "site here",
        "cannot check for that",
        "own_checks",
        policy(own_checks=(OwnCheck.MALWARE,)),
    ),
    ("target.policy.asks", INFO, "site here", "has an SBOM", "", policy(sbom_required=True)),
    ("source.look.unable", BLOCKER, "cloud alpha", "cannot look", "inspector", looking(LookMode.REQUIRED)),
    (
        "source.look.planned",
        INFO,
        "cloud alpha",
        "packages",
        "",
        looking(LookMode.AUTO, OwnCheck.PACKAGES),
    ),
    (
        "vm.memory.unscanned",
        WARNING,
        "vm web",
        "nobody looks into its memory",
        "--mode cold",
        lambda it: (it.suspended(), looking(LookMode.AUTO, OwnCheck.PACKAGES)(it))[0],
    ),
    (
        "vm.memory.unscanned",
        BLOCKER,
        "vm web",
        "here lets no guest in",
        "--mode cold",
        lambda it: (it.suspended(), policy(own_checks=(OwnCheck.MALWARE,))(it))[0],
    ),
    ("source.look.omitted", INFO, "cloud alpha", "outage longer", "", looking_warm),
    ("vm.fenced", BLOCKER, "vm web", "fenced", "run list", lambda it: it.change(fenced=True)),
    ("vm.busy", BLOCKER, "vm web", "resizing", "Wait", lambda it: it.change(busy="resizing")),
    (
        "vm.halted",
        BLOCKER,
        "vm web",
        "stands still: its disk is full",
        "power it off",
        lambda it: it.change(halted="its disk is full"),
    ),
    (
        "nic.floating.left",
        WARNING,
        "nic 0",
        "192.0.2.9 leads to web",
        "point names",
        lambda it: it.change(nics=(dataclasses.replace(it.vm.nics[0], floating=("192.0.2.9",)),)),
    ),
    (
        "vm.special",
        BLOCKER,
        "vm web",
        "hw_disk_bus=usb",
        "at the source",
        lambda it: it.change(special=("hw_disk_bus=usb",)),
    ),
    (
        "source.export.unable",
        BLOCKER,
        "cloud alpha",
        "stopped",
        "--mode",
        lambda it: setattr(it, "source", dataclasses.replace(it.source, points=())),
    ),
    (
        "vm.suspend.stopped",
        BLOCKER,
        "vm web",
        "is off",
        "--mode cold",
        lambda it: (it.suspended(), it.change(power=PowerState.STOPPED))[0],
    ),
    (
        "vm.memory.lost",
        DECISION,
        "vm web",
        "suspended",
        "--accept vm.memory.lost",
        lambda it: it.change(power=PowerState.SUSPENDED),
    ),
    ("vm.disk.none", BLOCKER, "vm web", "no disk", "at least one disk", lambda it: it.change(disks=())),
    ("disk.shared", BLOCKER, "disk root", "db", "Detach", lambda it: it.disk(used_by=("db",))),
    (
        "disk.snapshots",
        DECISION,
        "disk root",
        "before-upgrade",
        "--accept disk.snapshots",
        lambda it: it.disk(snapshots=("before-upgrade",)),
    ),
    (
        "disk.backing",
        DECISION,
        "disk root",
        "debian-12",
        "--accept disk.backing",
        lambda it: it.disk(backing="debian-12"),
    ),
    (
        "disk.seed.left",
        WARNING,
        "disk cidata",
        "stays behind",
        "into the guest",
        lambda it: it.change(disks=(*it.vm.disks, SEED)),
    ),
    ("source.ability.none", BLOCKER, "cloud alpha", "Fencer", "driver", lacking("source", "Fencer")),
    ("target.ability.none", BLOCKER, "cloud beta", "Importer", "driver", lacking("target", "Importer")),
    (
        "target.name.unusable",
        BLOCKER,
        "vm 'web\\x1b[2J'",
        "cannot be shown",
        "--name",
        lambda it: it.change(name="web\x1b[2J"),
    ),
    (
        "target.name.taken",
        BLOCKER,
        "vm web",
        "already has",
        "--name",
        lambda it: setattr(it, "target", dataclasses.replace(it.target, names=("web",))),
    ),
    ("target.tpm.none", BLOCKER, "vm web", "TPM", "another target", lambda it: it.change(tpm=True)),
    (
        "target.not-enforced",
        INFO,
        "cloud beta",
        "Groups are not enforced",
        "",
        lambda it: it.offer(notes=("Groups are not enforced.",)),
    ),
    ("check.none", WARNING, "vm web", "No health check", "--check", lambda it: it.ask(checks=HealthChecks())),
    (
        "check.console.memory",
        DECISION,
        "check console login:",
        "does not print again",
        "--accept check.console.memory",
        lambda it: (it.suspended(), it.ask(checks=LOGIN))[0],
    ),
    ("target.quota.vms", BLOCKER, "project shop", "needs 1 of vms", "operator", free(vms=0)),
    ("target.quota.cpus", BLOCKER, "project shop", "leaves 0", "operator", free(cpus=0)),
    ("target.quota.memory", BLOCKER, "project shop", "256 MiB of memory", "operator", free(memory=MIB)),
    ("target.quota.disk", BLOCKER, "project shop", "1 MiB of disk", "operator", free(disk=0)),
    ("target.disk.full", BLOCKER, "cloud beta", "has 0 B left", "Free", lambda it: it.offer(disk_free=0)),
    (
        "mapping.zone.unknown",
        BLOCKER,
        "zone moon",
        "no zone moon",
        "east, west",
        lambda it: it.rules(zone="moon"),
    ),
    ("mapping.zone.none", BLOCKER, "zone north", "no zone", "operator", lambda it: it.offer(zones=())),
    (
        "mapping.flavor.unknown",
        BLOCKER,
        "flavor huge",
        "no flavor huge",
        "tiny, medium, large",
        lambda it: it.rules(flavor="huge"),
    ),
    (
        "mapping.flavor.smaller",
        DECISION,
        "flavor tiny",
        "memory smaller: 256 MiB to 128 MiB",
        "--accept mapping.flavor.smaller",
        lambda it: it.rules(flavor="tiny"),
    ),
    (
        "mapping.flavor.none",
        BLOCKER,
        "flavor small",
        "256 MiB of memory",
        "--flavor",
        lambda it: it.offer(flavors=BETA.flavors[:1]),
    ),
    ("mapping.flavor.memory", BLOCKER, "flavor small", "no other size", "--mode cold", Scene.suspended),
    (
        "mapping.network.unknown",
        BLOCKER,
        "network nowhere",
        "no network nowhere",
        "frontend",
        lambda it: it.rules(networks={"app": "nowhere"}),
    ),
    (
        "mapping.network.none",
        BLOCKER,
        "network app",
        "lose a NIC",
        "--map-network app=NAME",
        lambda it: (it.ask(rules=MappingRules()), it.offer(networks=()))[0],
    ),
    (
        "mapping.network.open",
        DECISION,
        "network app",
        "isolated at the source",
        "--accept mapping.network.open",
        isolated,
    ),
    (
        "mapping.security-group.none",
        BLOCKER,
        "security group web",
        "no security group web",
        "--map-group web=NAME",
        lambda it: it.offer(security_groups=()),
    ),
    (
        "mapping.security-group.wider",
        DECISION,
        "security group web",
        "other rules",
        "--accept mapping.security-group.wider",
        group(WEB, SSH),
    ),
    ("mapping.security-group.narrower", WARNING, "security group web", "lacks", "Add the rules", group()),
    (
        "mapping.key.other",
        DECISION,
        "key ann",
        "another key",
        "--accept mapping.key.other",
        lambda it: it.offer(keys=(KeyPair(name="ann", public_key="x", fingerprint="SHA256:two"),)),
    ),
    ("mapping.key.none", BLOCKER, "key ann", "", "--map-key", lambda it: it.offer(keys=())),
    (
        "mapping.storage-class.unknown",
        BLOCKER,
        "storage class gold",
        "no storage class gold",
        "fast, slow",
        lambda it: it.rules(storage_classes={"standard": "gold"}),
    ),
    (
        "mapping.rule.unused",
        BLOCKER,
        "network ap",
        "does not use",
        "It uses: app",
        lambda it: it.rules(networks={"ap": "frontend"}),
    ),
    (
        "mapping.firmware.none",
        BLOCKER,
        "firmware uefi",
        "cannot give",
        "It offers: bios",
        lambda it: (it.change(firmware=Firmware.UEFI), it.offer(firmwares=("bios",)))[0],
    ),
    (
        "mapping.disk-bus.none",
        BLOCKER,
        "disk bus ide",
        "cannot give",
        "It offers: virtio",
        lambda it: it.disk(bus=DiskBus.IDE),
    ),
    (
        "mapping.nic-model.none",
        BLOCKER,
        "NIC model e1000",
        "cannot give",
        "It offers: virtio",
        lambda it: it.nic(model=NicModel.E1000),
    ),
    (
        "mapping.address.invalid",
        BLOCKER,
        "nic 0",
        "no IP address",
        "for instance 10.20.0.1",
        lambda it: it.rules(addresses={it.vm.nics[0].mac: "ten"}),
    ),
    (
        "mapping.address.outside",
        BLOCKER,
        "nic 0",
        "does not belong",
        "of that network",
        lambda it: it.rules(addresses={it.vm.nics[0].mac: "10.9.0.1"}),
    ),
    (
        "mapping.address.memory",
        BLOCKER,
        "nic 0",
        "wakes up",
        "--mode cold",
        lambda it: it.suspended(flavors=ALPHA.flavors),
    ),
    ("mapping.address.changes", WARNING, "nic 0", "will change", "Point names", lambda it: None),
    *GATEWAY_ROWS,
    (
        "vm.warm.stopped",
        BLOCKER,
        "vm web",
        "nothing that goes on",
        "--mode cold",
        lambda it: (it.warm(), it.change(power=PowerState.STOPPED))[0],
    ),
    (
        "source.tracking.none",
        WARNING,
        "cloud alpha",
        "every sync reads all",
        "longer outage",
        lambda it: (it.warm(), lacking("source", "ChangeTracker")(it))[0],
    ),
    (
        "verify.stream",
        DECISION,
        "vm web",
        "stays unseen",
        "--accept verify.stream",
        lambda it: it.warm(verify=Verify.STREAM),
    ),
    (
        "cutover.time.past",
        BLOCKER,
        "vm web",
        "is over",
        "--cutover-at",
        lambda it: it.warm(cutover_at=1.0),
    ),
    (
        "warm.outage.long",
        DECISION,
        "vm web",
        "--max-outage allows",
        "--accept warm.outage.long",
        lambda it: it.warm(max_outage_s=0.001),
    ),
    (
        "hook.unknown",
        BLOCKER,
        "hook unknown-one",
        "No operator",
        "Register it",
        lambda it: it.ask(hooks=(Hook(name="unknown-one", phase="image_creation"),)),
    ),
    (
        "check.baseline",
        DECISION,
        "check http 80",
        "fails at the source",
        "--accept check.baseline",
        Scene.ask,
    ),
)
ELSEWHERE = {
    *("plan.vm.moved", "warm.changes.missed", "warm.snapshot.taken"),
    *("partner.end.away", "partner.end.refused", "partner.release.apart", "partner.signer.elsewhere"),
    "grant.late",
}
"""What a plan alone tells (the test below), what is found only in the copy (test_dropped_bit.py), what only a
partner can be found with (test_two_sites.py), and what comes behind the commit (test_run_grants.py)."""


async def judged(root: Path, row: Row) -> tuple[Finding, ...]:
    """Return the findings of the world that the row describes."""
    world: World = await new_world(root, guest_health="bad" if row[0] == "check.baseline" else "good")
    site, request = world.site, world.request()
    scene = Scene(await site.describe("alpha", "web"), await site.describe("beta"), request)
    row[5](scene)

    class Said:
        """Describes both ends as the row says; everything else is the site's own."""

        def __getattr__(self, name: str) -> Any:
            return getattr(site, name)

        async def describe(self, cloud: str, vm: str = "") -> Description:
            return scene.source if vm else scene.target

    async def site_of(cloud: str) -> Any:
        return Said()

    async def passage(source: str, target: str) -> Passage:
        del source, target
        return scene.passage

    parts = dataclasses.replace(world.parts, site=site_of, passage=passage)
    return (await dry_run(scene.request, parts)).findings


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
async def test_what_provokes_a_finding(tmp_path: Path, row: Row):
    code, severity, subject, text, remedy, _ = row
    found = [one for one in await judged(tmp_path, row) if one.code == code]
    assert [(one.severity, one.subject) for one in found] == [(severity, subject)]
    assert text in found[0].text
    assert remedy in found[0].remedy
    assert bool(found[0].remedy) is (severity is not INFO)
    assert found[0].text.endswith(".")


async def test_a_plan_says_which_vms_moved_already(tmp_path: Path):
    async with open_place(tmp_path) as place:
        await place.vm("web")
        run = await begun(place, plan_of("web"))
        await place.ended(run)
        ((found,),) = (await place.control.check_plan(TENANT, "move")).findings.values()
    assert (found.code, found.severity, found.subject) == ("plan.vm.moved", INFO, "vm web")


def test_each_finding_in_the_code_has_a_row():
    severities = {severity.value for severity in Severity}
    paths = sorted((SOURCE / "migration").glob("*.py"))
    used = {one.code for path in paths for one in codes_in(path) if one.kind in severities}
    rows = {row[0] for row in ROWS} | ELSEWHERE
    without = {code for code in used if not any(re.fullmatch(_pattern(code), row) for row in rows)}
    assert not without
    assert not {row for row in rows if not any(re.fullmatch(_pattern(code), row) for code in used)}


def _pattern(code: str) -> str:
    return ".+".join(re.escape(part) for part in code.split("{…}"))
