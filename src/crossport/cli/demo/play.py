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
from crossport.cli.demo.chaos import Chaos, register_hooks
from crossport.cli.demo.commands import Commands
from crossport.cli.demo.proof import Kept
from crossport.cli.demo.scene import ALPHA, BETA, VM_NAME
from crossport.cli.demo.stage import Stage
from crossport.cli.demo.story import Story
from crossport.cli.demo.visitor import Visitor
from crossport.cli.demo.voice import Voice
from crossport.cli.session import Session

__all__ = ["Play", "play"]

FILL_MIB = 24
CHAOS_FILL_MIB = 96
"""Enough for the copy to take some seconds, in whose middle a process is killed."""
TOOL_S = 20.0


def play(session: Session, *, chaos: bool, facts_file: Path | None, clean: bool) -> int:
    """Play what was asked for on this machine; return the exit status."""
    machine = session.machine
    stage = Stage(session.place.home / "demo", guest_cache(machine.environment))
    voice = Voice(machine.stdout)
    commands = Commands(stage.home, stage.settings, machine.environment, machine.stdout, voice)
    shown = Play(stage=stage, commands=commands, voice=voice, new_key=machine.new_key, facts_file=facts_file)
    work = shown.clean if clean else shown.chaos if chaos else shown.run
    try:
        with stage.alone():
            return asyncio.run(work())
    except KeyboardInterrupt:
        voice.say("")
        voice.bad("Stopped. What was begun may still run: crossport demo --clean ends and removes all of it.")
        return errors.Cancelled.exit_code


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
            good = shown.outcome == "done" and all(shown.proof.values())
            self._end(story, good, shown.run)
            return 0 if good else self._failed(shown)

    async def chaos(self) -> int:
        """Show resumption, refusal and rollback; return 0 only when each went as it must."""
        async with self._opened() as story, contextlib.AsyncExitStack() as held:
            visitor, kept, url = await self._prepared(story, held, CHAOS_FILL_MIB)
            chaos = Chaos(story, visitor, kept)
            first = await chaos.killed(url)
            acts = [first.act]
            if first.act.good:
                acts.append(await chaos.flipped(first.url, first.act.run))
                acts.append(await chaos.unwell(first.url))
            self._write(
                facts.told(first.report, first.proof, first.outage_s, await self._world(story), tuple(acts))
            )
            good = len(acts) == 3 and all(act.good for act in acts)
            self.voice.heading("What happened")
            for act in acts:
                (self.voice.good if act.good else self.voice.bad)(f"{act.name}: {act.text}")
            self._end(story, good, first.act.run)
            return 0 if good else 5

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncGenerator[Story]:
        """Build the stage, and let go of the connections at the end; what runs goes on running."""
        self.voice.heading("1. Two clouds on this machine")
        if removed := await self.stage.clear():
            self.voice.good(f"Removed an earlier demonstration ({len(removed)} things)")
        await self.stage.build(self.voice, self.new_key)
        register_hooks(self.stage)
        clouds = {side.cloud: self.stage.cloud(side) for side in (ALPHA, BETA)}
        try:
            yield Story(self.stage, self.commands, self.voice, clouds)
        finally:
            for cloud in clouds.values():
                await cloud.close()

    async def _prepared(
        self, story: Story, held: contextlib.AsyncExitStack, mib: int
    ) -> tuple[Visitor, Kept, str]:
        self.voice.say(f"All that follows works on a site of its own. In your shell: {self._export()}")
        await story.connect()
        self.voice.heading(f"2. A running VM, {VM_NAME}, at {ALPHA.cloud}")
        url = await story.boot()
        visitor = await held.enter_async_context(Visitor.sent(story.namespace))
        kept = await story.furnish(visitor, url, mib)
        for note in (await story.clouds[BETA.cloud].about()).notes:
            self.voice.say(f"Not enforced here: {note}")
        return visitor, kept, url

    async def _migration(self, story: Story, visitor: Visitor, kept: Kept, url: str) -> facts.Facts:
        self.voice.heading(f"3. The migration from {ALPHA.cloud} to {BETA.cloud}")
        async with story.watched(url, BETA) as outage:
            await self.commands.show(*story.words(ALPHA, BETA))
        report = await story.report(await story.latest())
        self.voice.heading("4. The proof, from outside both clouds")
        proof = await story.proven(visitor, kept, ALPHA, BETA, url)
        self.voice.say(outage.told())
        return facts.told(report, proof, outage.seconds, await self._world(story))

    def _write(self, shown: facts.Facts) -> None:
        if self.facts_file is not None:
            facts.written(shown, self.facts_file)

    def _failed(self, shown: facts.Facts) -> int:
        codes = {"rolled-back": 4, "attention": 5, "cancelled": 6, "blocked": 3}
        return codes.get(shown.outcome, errors.Broken.exit_code)

    def _end(self, story: Story, good: bool, run: str) -> None:
        self.voice.heading("Try next" if good else "Look closer")
        self.voice.say(self._export())
        rows = [
            (f"crossport run report {run}", "what the migration did, again"),
            (f"crossport vm list {ALPHA.cloud}", "the source: off, fenced, kept"),
        ]
        if good:
            back = " ".join(("crossport", *story.words(BETA, ALPHA)))
            rows += [
                (f"crossport source retire {run}", "delete the source for ever"),
                (back, "and move back, once it is retired"),
            ]
        rows.append(("crossport demo --clean", "remove everything the demonstration made"))
        self.voice.table(rows)

    def _export(self) -> str:
        return f"export CROSSPORT_HOME={shlex.quote(str(self.stage.home))}"

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
