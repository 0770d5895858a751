"""What the demonstration tells machines: one JSON object, the same figures that the person saw."""

import json
from dataclasses import field
from pathlib import Path

from crossport.cli.demo.proof import Proof
from crossport.model import codec
from crossport.model.finding import Finding
from crossport.model.mapping import Choice
from crossport.model.record import record
from crossport.model.run import MigrationReport, Phase

__all__ = ["Act", "Facts", "World", "told", "written"]


@record()
class World:
    """On what it ran: versions by program, ``kvm`` or ``tcg`` and why, ``enforced`` or ``user`` networks."""

    versions: dict[str, str] = field(default_factory=dict[str, str])
    accelerator: str = ""
    accelerator_reason: str = ""
    network: str = ""
    not_enforced: tuple[str, ...] = ()


@record()
class Act:
    """One act of the chaos: what was done to the run, how it ended, and whether all was as promised."""

    name: str
    run: str
    outcome: str
    code: str
    text: str
    good: bool


@record()
class Facts:
    """The figures. Times are seconds, ``started`` is Unix seconds, ``outage_s`` None when nobody saw it."""

    run: str
    mode: str
    outcome: str
    phases: tuple[Phase, ...]
    total_seconds: float
    bytes_read: int
    bytes_sent: int
    bytes_written: int
    outage_s: float | None
    guest_answered: bool
    data_intact: bool
    proof: dict[str, bool]
    mapping: tuple[Choice, ...]
    findings: tuple[Finding, ...]
    world: World
    chaos: tuple[Act, ...] = ()


def told(
    report: MigrationReport, proof: Proof, outage_s: float | None, world: World, chaos: tuple[Act, ...] = ()
) -> Facts:
    """Put together what the run's report says, and what was seen from outside."""
    return Facts(
        run=report.run,
        mode=report.request.mode.value,
        outcome=report.outcome.value,
        phases=report.phases,
        total_seconds=report.total_seconds,
        bytes_read=sum(one.counters.read for one in report.moved),
        bytes_sent=sum(one.counters.sent for one in report.moved),
        bytes_written=sum(one.counters.written for one in report.moved),
        outage_s=outage_s,
        guest_answered=proof.holds("answers"),
        data_intact=proof.holds("data"),
        proof={claim.name: claim.good for claim in proof.claims},
        mapping=report.mapping.choices,
        findings=report.findings,
        world=world,
        chaos=chaos,
    )


def written(facts: Facts, path: Path) -> None:
    """Write the facts to ``path``, replacing what is there."""
    text = json.dumps(json.loads(codec.encoded(facts)), indent=2)
    path.write_text(text + "\n")
