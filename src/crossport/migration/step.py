"""What the steps of a migration leave behind, and how long they took."""

from typing import Generic, TypeVar

from crossport.model.artifact import Artifact, Export, ExportPoint
from crossport.model.finding import Finding
from crossport.model.import_policy import OwnCheck
from crossport.model.mapping import Mapping
from crossport.model.permit import Statement
from crossport.model.record import record
from crossport.model.run import Estimate, Phase
from crossport.model.vm import VM
from crossport.spi.clock import Clock

__all__ = ["Exported", "Moment", "Proposed", "Room", "SurveyRule", "Timed", "between", "moment"]

T = TypeVar("T")


@record()
class Moment:
    """A point in time: ``wall`` for people, ``monotonic`` for durations within one execution (``epoch``)."""

    wall: float
    monotonic: float
    epoch: int


def moment(clock: Clock, epoch: int) -> Moment:
    """Return now."""
    return Moment(wall=clock.wall(), monotonic=clock.monotonic(), epoch=epoch)


def between(first: Moment, last: Moment) -> float:
    """Return the seconds from ``first`` to ``last``.

    Two executions may have run on two machines, whose monotonic clocks say nothing of one another: then
    the wall clock is all there is, and a jump of it shows.
    """
    if first.epoch == last.epoch:
        return last.monotonic - first.monotonic
    return max(0.0, last.wall - first.wall)


@record()
class Timed(Generic[T]):
    """What a step returned, and when it was called and done."""

    value: T
    began: Moment
    ended: Moment

    def phase(self, name: str, merged_into: str = "") -> Phase:
        """Return the step as the phase ``name``."""
        return Phase(
            name=name,
            started=self.began.wall,
            seconds=between(self.began, self.ended),
            merged_into=merged_into,
        )


@record()
class SurveyRule:
    """Whether the source's site looks into the guest for ``checks``, and whether the run waits for that."""

    made: bool = False
    required: bool = False
    checks: tuple[OwnCheck, ...] = ()


@record()
class Proposed:
    """What would be done: ``moving`` bytes of ``vm`` as it is at ``point``.

    ``tracks``: the source can tell what changed while the VM runs. ``survey``: whether the guest is
    looked into at its source.
    """

    vm: VM
    point: ExportPoint
    mapping: Mapping
    findings: tuple[Finding, ...]
    estimate: Estimate
    moving: int
    tracks: bool = False
    survey: SurveyRule = SurveyRule()


@record()
class Exported:
    """The source's VM, opened for reading. A snapshot has no statement: the VM was not stopped."""

    export: Export
    statement: Statement | None


@record()
class Room:
    """The target's volumes, opened for writing."""

    artifacts: tuple[Artifact, ...]
