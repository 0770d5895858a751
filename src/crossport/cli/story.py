"""What the events of a run add up to: its phases, how far the copy is, how it stands. Pure."""

from dataclasses import dataclass, field, replace

from crossport.cli.text import Table
from crossport.model.artifact import Progress
from crossport.model.run import PHASES, Event, EventKind, Phase, RunState
from crossport.units import rate_text, seconds_text, size_text

__all__ = ["FETCHES", "MIGRATIONS", "Story", "copy_text", "phase_table", "phases_of"]

COPY, FETCH = "image_upload", "image_download"
"""The phase in which disks are copied, and the one in which an image is fetched."""
MIGRATIONS, FETCHES = "migrate", "fetch"
"""Kinds of runs: those that have two ends, and those that bring an image from a web server."""


@dataclass(slots=True)
class Story:
    """A run as its events told it so far. ``ended`` are finished phases, ``begun`` those that go on.

    ``phases`` are those that it has, in order.
    """

    phases: tuple[str, ...] = PHASES
    state: RunState = RunState.QUEUED
    text: str = ""
    begun: dict[str, Phase] = field(default_factory=dict[str, Phase])
    ended: dict[str, Phase] = field(default_factory=dict[str, Phase])
    copies: dict[str, Progress] = field(default_factory=dict[str, Progress])

    def take(self, event: Event) -> None:
        """Add one event."""
        match event.kind:
            case EventKind.STATE if event.state is not None:
                self.state, self.text = event.state, event.text
            case EventKind.PHASE_STARTED if event.phase is not None:
                # A phase that was interrupted begins anew.
                self.begun[event.phase.name] = event.phase
                self.ended.pop(event.phase.name, None)
            case EventKind.PHASE_FINISHED if event.phase is not None:
                self.ended[event.phase.name] = event.phase
                self.begun.pop(event.phase.name, None)
            case EventKind.PROGRESS if event.progress is not None:
                self.copies[event.progress.artifact] = event.progress
            case _:
                pass

    @property
    def copying(self) -> bool:
        """Whether the phase in which disks are copied, or the image, has begun."""
        fetched = self.phases == (FETCH,) and FETCH in self.ended
        return COPY in self.begun or COPY in self.ended or FETCH in self.begun or fetched

    def copied(self) -> Progress | None:
        """Return the copies of all artifacts as one; None before the first byte."""
        if not self.copies:
            return None
        parts = tuple(self.copies.values())
        unfinished = [part for part in parts if part.done < part.size]
        left = [part.seconds_left for part in unfinished if part.seconds_left is not None]
        whole = Progress(
            artifact="", size=sum(part.size for part in parts), done=sum(part.done for part in parts)
        )
        rate = sum(part.rate_bps for part in unfinished)
        waits = {part.waits_for for part in unfinished}
        # One that stands still is not worth a word while another goes on.
        waits_for = waits.pop() if len(waits) == 1 else ""
        return replace(whole, rate_bps=rate, seconds_left=max(left) if left else None, waits_for=waits_for)


def phases_of(kind: str) -> tuple[str, ...]:
    """Return the phases that runs of ``kind`` have."""
    return (FETCH,) if kind == FETCHES else PHASES


def phase_table(story: Story, now: float) -> Table:
    """Return the run's phases as they stand at ``now`` (Unix seconds)."""
    rows: list[tuple[str, str, str]] = []
    for name in story.phases:
        if name in story.ended:
            phase = story.ended[name]
            merged = f"in {phase.merged_into}" if phase.merged_into else seconds_text(phase.seconds)
            rows.append((name, "done", merged))
        elif name in story.begun:
            rows.append((name, "running", seconds_text(max(0.0, now - story.begun[name].started))))
        else:
            rows.append((name, "", ""))
    return Table(("PHASE", "STATE", "TIME"), tuple(rows), right=frozenset({"TIME"}))


def copy_text(progress: Progress) -> str:
    """Return ``48 MiB of 120 MiB (40 %), 800 Mbit/s, 1.0 s left``."""
    percent = 100 * progress.done // progress.size if progress.size else 100
    text = f"{size_text(progress.done)} of {size_text(progress.size)} ({percent} %)"
    if progress.rate_bps:
        text += f", {rate_text(progress.rate_bps)}"
    if progress.seconds_left is not None:
        text += f", {seconds_text(progress.seconds_left)} left"
    return text + (f", stands still: waits for the {progress.waits_for}" if progress.waits_for else "")
