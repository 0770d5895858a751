"""Play the demonstration from the empty stage to the last line, with or without chaos."""

import asyncio
import contextlib
import os
import platform
import shlex
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from crossport import __version__, errors
from crossport.cli.demo import facts
from crossport.cli.demo.chaos import Chaos, register_hook
from crossport.cli.demo.closing import Closing
from crossport.cli.demo.commands import Commands
from crossport.cli.demo.proof import Kept, Proof
from crossport.cli.demo.scene import ALPHA, BETA, VM_NAME
from crossport.cli.demo.stage import Stage, stage_home
from crossport.cli.demo.story import Story
from crossport.cli.demo.visitor import Visitor
from crossport.cli.demo.voice import Voice
from crossport.cli.session import Session
from crossport.model.run import RunState

__all__ = ["Play", "play"]

FILL_MIB = 24
CHAOS_FILL_MIB = 96
"""Enough for the copy to take some seconds, in whose middle a process is killed."""
TOOL_S = 20.0
FAILED = {
    RunState.BLOCKED: errors.Blocked.exit_code,
    RunState.ROLLED_BACK: errors.RolledBack.exit_code,
    RunState.CANCELLED: errors.Cancelled.exit_code,
}
"""Exit statuses of a migration that was not committed; of everything else, that of something broken."""


def play(session: Session, *, chaos: bool, facts_file: Path | None, clean: bool) -> int:
    """Play what was asked for on this machine; return the exit status."""
    machine = session.machine
    if facts_file is not None:
        _check_writable(facts_file)
    stage = Stage(stage_home(session.place.home), guest_cache(machine.environment))
    voice = Voice(machine.stdout)
    commands = Commands(stage.home, stage.settings, machine.environment, machine.stdout, voice)
    shown = Play(
        stage=stage,
        commands=commands,
        voice=voice,
        new_key=machine.new_key,
        environment=machine.environment,
        facts_file=facts_file,
    )
    work = shown.clean if clean else shown.chaos if chaos else shown.run
    try:
        with stage.alone():
            return asyncio.run(work())
    except KeyboardInterrupt:
        voice.say("")
        voice.bad("Stopped. What was begun may still run: crossport demo --clean ends and removes all of it.")
        return errors.Cancelled.exit_code


def _check_writable(path: Path) -> None:
    """Raise Invalid before anything is made when the figures could not be written in the end."""
    try:
        path.touch()
    except OSError as error:
        raise errors.Invalid(
            "demo.facts.unwritable",
            f"{path} cannot be written: {error.strerror}.",
            field="--facts",
            remedy="Name a file in a directory of yours.",
        ) from error


def guest_cache(environment: Mapping[str, str]) -> Path:
    """Return where built guests are kept, for demonstrations and tests alike."""
    folder = environment.get("XDG_CACHE_HOME") or f"{environment.get('HOME', '/')}/.cache"
    return Path(folder, "crossport", "guest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """``new_key`` returns fresh random text; ``facts_file`` is where the figures go, None for nowhere."""

    stage: Stage
    commands: Commands
    voice: Voice
    new_key: Callable[[], str]
    environment: Mapping[str, str]
    facts_file: Path | None = None

    async def clean(self) -> int:
        """Remove everything; return the exit status."""
        removed = await self.stage.clear()
        for text in removed:
            self.voice.good(f"removed {text}")
        if not removed:
            self.voice.say("There is nothing of the demonstration here.")
        if self.stage.cache.exists():
            self.voice.say(
                f"Kept: the guest's image in {self.stage.cache}, which tests use too. It is only a cache: "
                f"rm -r {shlex.quote(str(self.stage.cache))}"
            )
        return 0

    async def run(self) -> int:
        """Show a migration; return 0 only when the guest answered at the target with its data."""
        async with self._opened() as story, contextlib.AsyncExitStack() as held:
            visitor, kept, url = await self._prepared(story, held, FILL_MIB)
            shown = await self._migration(story, visitor, kept, url)
            self._write(shown)
            good = shown.outcome == RunState.DONE and all(shown.proof.values())
            end = self._closing(shown.run)
            if good:
                end.moved(" ".join(("crossport", *story.words(BETA, ALPHA))))
            else:
                end.failed()
            return 0 if good else FAILED.get(RunState(shown.outcome), errors.Broken.exit_code)

    async def chaos(self) -> int:
        """Show resumption, refusal and rollback; return 0 only when each went as it must."""
        async with self._opened() as story, contextlib.AsyncExitStack() as held:
            register_hook(self.stage)  # before the site starts, which reads its settings then
            visitor, kept, url = await self._prepared(story, held, CHAOS_FILL_MIB)
            chaos = Chaos(story, visitor, kept)
            first = await chaos.killed(url)
            acts = [first.act]
            if first.act.good:
                acts.append(await chaos.flipped(first.url, first.act.run))
                acts.append(await chaos.unwell(first.url))
            world = await self._world(story)
            self._write(facts.told(first.report, first.proof, first.outage_s, world, tuple(acts)))
            good = len(acts) == 3 and all(act.good for act in acts)
            self.voice.heading("What happened")
            for act in acts:
                self.voice.claim(act.good, f"{act.name}: {act.text}")
            end = self._closing(acts[-1].run)
            if good:
                end.survived()
            else:
                end.failed()
            return 0 if good else errors.Broken.exit_code

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncGenerator[Story]:
        """Build the stage, and let go of the connections at the end; what runs goes on running."""
        self.voice.say("A real VM moves between two small clouds on this machine. Ctrl-C stops it any time,")
        self.voice.say("and crossport demo --clean removes all that was made.")
        self.voice.heading("1. Two clouds on this machine")
        if removed := await self.stage.clear():
            self.voice.good(f"Removed an earlier demonstration ({len(removed)} things)")
        await self.stage.build(self.voice, self.new_key)
        clouds = {side.cloud: self.stage.cloud(side) for side in (ALPHA, BETA)}
        try:
            for note in (await clouds[BETA.cloud].about()).notes:
                self.voice.say(f"Not enforced: {note}")
            yield Story(self.stage, self.commands, self.voice, clouds)
        finally:
            for cloud in clouds.values():
                await cloud.close()

    async def _prepared(
        self, story: Story, held: contextlib.AsyncExitStack, mib: int
    ) -> tuple[Visitor, Kept, str]:
        self.voice.say("Every command below really runs, on a site of the demonstration's own.")
        await story.connect()
        self.voice.heading(f"2. A running VM, {VM_NAME}, at {ALPHA.cloud}")
        url = await story.boot()
        visitor = await held.enter_async_context(Visitor.sent(story.namespace))
        kept = await story.furnish(visitor, url, mib)
        return visitor, kept, url

    async def _migration(self, story: Story, visitor: Visitor, kept: Kept, url: str) -> facts.Facts:
        self.voice.heading(f"3. The migration from {ALPHA.cloud} to {BETA.cloud}")
        async with story.watched(url, BETA) as outage:
            await self.commands.show(*story.words(ALPHA, BETA))
        report = await story.report(await story.latest())
        self.voice.heading("4. The proof, from outside both clouds")
        if report.outcome is RunState.DONE:
            proof = await story.proven(visitor, kept, ALPHA, BETA, url)
            self.voice.say(outage.told())
        else:
            proof = Proof((), "")
            self.voice.claim(False, f"There is nothing to prove: the run is {report.outcome}. {report.text}")
        return facts.told(report, proof, outage.seconds, await self._world(story))

    def _write(self, shown: facts.Facts) -> None:
        if self.facts_file is not None:
            facts.written(shown, self.facts_file)

    def _closing(self, run: str) -> Closing:
        return Closing(self.voice, self.stage.home, run, self.environment)

    async def _world(self, story: Story) -> facts.World:
        about = await story.clouds[BETA.cloud].about()
        return facts.World(
            versions={
                "crossport": __version__,
                "python": platform.python_version(),
                "qemu": await _said("qemu-system-x86_64", "--version"),
                "kernel": os.uname().release,
            },
            accelerator=about.accelerator,
            accelerator_reason=about.accelerator_reason,
            network="enforced" if story.enforced else "user",
            not_enforced=about.notes,
        )


async def _said(*words: str) -> str:
    """Return the first line that a program prints."""
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(TOOL_S):
        output, _ = await process.communicate()
    return output.decode(errors="replace").partition("\n")[0]
