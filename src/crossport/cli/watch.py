"""Watch a run until nothing more happens by itself: live on a terminal, line by line elsewhere.

The first Ctrl-C asks whether to detach or to cancel; the run belongs to the site, so it goes on either way
until it is told to stop. Where nobody can be asked, Ctrl-C detaches.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from crossport import errors
from crossport.cli.output import rich_table
from crossport.cli.session import Session
from crossport.cli.story import FETCHES, Story, copy_text, phase_table, phases_of
from crossport.cli.text import harmless
from crossport.client import calls
from crossport.model.run import Event, EventKind, Mode, RunState
from crossport.units import seconds_text

__all__ = ["exit_status", "how_to_go_on", "watch"]

NO_LABELS: Mapping[str, str] = MappingProxyType({})
DETACHED = 130
DECISION_S = 2.0
"""How long the site may take to notice a decision."""
STEP_PERCENT = 10
BACK = "the source comes back"
"""How often the copy is told where lines cannot be written again."""

EXITS = {
    RunState.BLOCKED: errors.Blocked.exit_code,
    RunState.ROLLED_BACK: errors.RolledBack.exit_code,
    RunState.ATTENTION: errors.NeedsAttention.exit_code,
    RunState.CANCELLED: errors.Cancelled.exit_code,
}


def exit_status(state: RunState) -> int:
    """Return the exit status that tells how a run ended; 0 while it goes on."""
    return EXITS.get(state, 0)


def watch(session: Session, run: str, *, stream: bool = False, back: str = BACK) -> int:
    """Show the run until it is final or waits for a person; return the exit status.

    With ``stream`` every event is a line of JSON on standard output. ``back`` says what cancelling leaves.
    """
    story = Story(phases=phases_of(session.send(calls.run(run)).kind))
    after = 0
    while True:
        try:
            with _screen(session, story, stream=stream) as show:
                for event in _until_still(session, run, session.client.follow(run, after=after)):
                    after = max(after, event.number)
                    story.take(event)
                    show(event)
            break
        except KeyboardInterrupt:
            if _detached(session, run, back):
                return 0 if session.out.live else DETACHED
    if story.state in (RunState.WAITING, RunState.ATTENTION):
        record = session.send(calls.run(run))
        session.out.say(how_to_go_on(run, story.state, record.labels, record.kind))
    return exit_status(story.state)


def how_to_go_on(run: str, state: RunState, labels: Mapping[str, str] = NO_LABELS, kind: str = "") -> str:
    """Return what a person can do with a run in ``state``."""
    match state:
        case RunState.WAITING if labels.get("mode") == Mode.WARM:
            return (
                f"Run {run} waits: to order its cutover, `crossport run cutover {run}`; if it asks whether to"
                f" commit, `crossport run commit {run}` or `crossport run rollback {run}`; to give up before,"
                f" `crossport run cancel {run}`."
            )
        case RunState.WAITING:
            return (
                f"Run {run} waits for your decision: `crossport run commit {run}`"
                f" or `crossport run rollback {run}`."
            )
        case RunState.ATTENTION if kind == FETCHES:
            return (
                f"Run {run} needs attention: `crossport run resume {run}` goes on with what arrived,"
                f" `crossport run cancel {run}` gives it up."
            )
        case RunState.ATTENTION:
            return f"Run {run} needs attention: see `crossport run show {run}`, then resume or resolve it."
        case _:
            return (
                f"Run {run} goes on at the site: `crossport run watch {run}`, `crossport run cancel {run}`."
            )


def _until_still(session: Session, run: str, events: Iterator[Event]) -> Iterator[Event]:
    """Yield events up to the one after which a person has to act."""
    for event in events:
        yield event
        waits = event.kind is EventKind.STATE and event.state is RunState.WAITING
        if waits and not _decided(session, run, event):
            return


def _decided(session: Session, run: str, event: Event) -> bool:
    """Say whether the waiting that ``event`` tells is over; a decision takes a moment to be noticed."""
    recent = session.machine.wall() - event.time < DECISION_S
    for _ in range(1 if recent else 10):
        if session.send(calls.run(run)).state is not RunState.WAITING:
            return True
        if not recent:
            session.machine.sleep(DECISION_S / 10)
    return False


def _detached(session: Session, run: str, back: str) -> bool:
    """Ask what Ctrl-C meant. Return True to stop watching, False to watch the cancelling."""
    try:
        answer = session.ask(f"\nDetach (the run goes on) or cancel it ({back})? [d/c] ")
    except KeyboardInterrupt:
        answer = ""
    if answer.startswith("c"):
        try:
            session.send(calls.cancel(run))
        except errors.Conflict as error:
            # Past the commit, or just over: what comes then is worth watching.
            session.out.error(error)
        return False
    session.out.warn(how_to_go_on(run, RunState.RUNNING))
    return True


@contextmanager
def _screen(session: Session, story: Story, *, stream: bool) -> "Generator[Any]":
    """Yield what shows each event."""
    if stream:
        yield session.out.json_line
    elif session.out.live:
        with _live(session, story) as show:
            yield show
    elif session.out.as_json:
        yield _nothing
    else:
        yield _Lines(session, story).show


@contextmanager
def _live(session: Session, story: Story) -> "Generator[Any]":
    """Show the phases and the copy on a terminal, always up to date."""
    from rich.console import Group  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    def picture() -> Group:
        parts: list[Any] = [rich_table(phase_table(story, session.machine.wall()))]
        progress = story.copied()
        if progress:
            row = Table.grid(padding=(0, 1))
            bar = ProgressBar(total=progress.size or 1, completed=progress.done, width=30)
            row.add_row(bar, Text(harmless(copy_text(progress))))
            parts += [Text(), row]
        parts.append(
            Text(f"{story.state.value}: {harmless(story.text)}" if story.text else story.state.value)
        )
        return Group(*parts)

    with Live(get_renderable=picture, console=session.out.console(), refresh_per_second=4):
        yield _nothing


def _nothing(event: Event) -> None:
    """Show nothing: the screen draws itself, and JSON has its own stream."""


class _Lines:
    """Tells events as lines, the copy by tens of percents."""

    def __init__(self, session: Session, story: Story) -> None:
        self._out = session.out
        self._story = story
        self._told = -1
        self._said = ""

    def show(self, event: Event) -> None:
        """Write a line when the event is worth one, and one when the copy is."""
        for text in (self._line(event), self._copy()):
            if text:
                self._out.say(text)

    def _line(self, event: Event) -> str:
        match event.kind:
            case EventKind.STATE:
                told = event.text and event.text != self._said
                return f"{self._story.state.value}{': ' + event.text if told else ''}"
            case EventKind.PHASE_FINISHED if event.phase:
                return f"  {event.phase.name:<22}{seconds_text(event.phase.seconds):>10}"
            case EventKind.FINDING if event.finding:
                return f"  {event.finding.severity.value} {event.finding.code}: {event.finding.text}"
            case EventKind.LOG:
                self._said = event.text
                return f"  {event.text}"
            case _:
                return ""

    def _copy(self) -> str:
        """Return how far the copy is. It comes first when a run is watched late, yet belongs to its phase."""
        progress = self._story.copied() if self._story.copying else None
        step = 100 * progress.done // progress.size // STEP_PERCENT if progress and progress.size else 0
        if progress is None or step <= self._told:
            return ""
        self._told = step
        return f"  copy: {copy_text(progress)}"
