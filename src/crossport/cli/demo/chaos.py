"""Three things that go wrong before the person's eyes: a killed process, a rotten bit, an unwell guest."""

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from crossport import errors
from crossport.cli.demo import flip
from crossport.cli.demo.facts import Act
from crossport.cli.demo.proof import Kept, Proof
from crossport.cli.demo.scene import ALPHA, BETA, PAGE, VM_NAME, Side
from crossport.cli.demo.stage import Stage
from crossport.cli.demo.story import Story
from crossport.cli.demo.visitor import Visitor
from crossport.client import AsyncClient, calls, over_socket
from crossport.client.embedded import read_token
from crossport.model.artifact import Progress
from crossport.model.run import MigrationReport, RunState

__all__ = ["Chaos", "Survived", "register_hook"]

HOOK = "demo-flip-a-bit"
BEGIN_S = 60.0
BACK_S = 60.0
POLL_S = 0.05
CHECK_S = "25"


def register_hook(stage: Stage) -> None:
    """Register, as the operator of the demonstration's site, the command that spoils a copy at alpha."""
    words = (sys.executable, "-I", str(Path(flip.__file__).resolve()))
    argv = [*words, str(stage.folder(ALPHA) / "volumes"), PAGE.decode().strip()]
    quoted = ", ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in argv)
    stage.settings.write_text(f"[hooks.{HOOK}]\ncommand = [{quoted}]\ntimeout_s = 30.0\n")


@dataclass(frozen=True, slots=True)
class Survived:
    """The run that was killed and went on: its act, report, proof, outage, and where the guest is now."""

    act: Act
    report: MigrationReport
    proof: Proof
    outage_s: float | None
    url: str


class Chaos:
    """The acts, in the order in which they have to be played."""

    def __init__(self, story: Story, visitor: Visitor, kept: Kept) -> None:
        self._story = story
        self._visitor = visitor
        self._kept = kept

    async def killed(self, url: str) -> Survived:
        """Kill the server and its workers in the middle of the copy; the next command resumes the run."""
        story, voice = self._story, self._story.voice
        voice.heading("3. A process is killed in the middle of the copy")
        async with story.watched(url, BETA) as outage:
            async with story.commands.shown(*story.words(ALPHA, BETA)):
                run, pid = await self._killed_in_the_copy()
            voice.say("The run is in the database. The next command starts a new server, which goes on:")
            voice.say("steps that were done are not done again; only the copy of this disk begins anew.")
            await story.commands.show("run", "watch", run)
        report = await story.report(run)
        new = story.stage.server()
        proof = await story.proven(self._visitor, self._kept, ALPHA, BETA, url)
        voice.say(outage.told())
        good = report.outcome is RunState.DONE and all(claim.good for claim in proof.claims) and pid != new
        text = f"server {pid} killed; server {new} finished run {run}: {report.outcome.value}"
        act = Act(
            name="killed in the copy", run=run, outcome=report.outcome.value, code="", text=text, good=good
        )
        return Survived(act, report, proof, outage.seconds, proof.url)

    async def _killed_in_the_copy(self) -> tuple[str, int]:
        """Wait until the copy has progressed, kill the server with SIGKILL; return the run and the server."""
        stage = self._story.stage
        token = read_token(stage.site.token_file)
        async with AsyncClient(over_socket(stage.site.socket), token, asyncio.sleep) as client:
            async with asyncio.timeout(BEGIN_S):
                run = await self._begun(client)
                progress = await self._under_way(client, run)
        pid = stage.server()
        if pid is None:
            raise errors.Broken(
                "demo.chaos.server",
                "The server that should be killed does not run.",
                remedy="Run it again; crossport doctor says what this machine lacks.",
            )
        os.kill(pid, signal.SIGKILL)
        share = progress.done * 100 // progress.size
        self._story.voice.harm(f"kill -9 {pid}: the server is dead, with {share} % of the disk copied.")
        return run, pid

    async def _begun(self, client: AsyncClient) -> str:
        """Return the first run of this site as soon as there is one."""
        while True:
            if runs := (await client.send(calls.runs())).items:
                return runs[0].id
            await asyncio.sleep(POLL_S)

    async def _under_way(self, client: AsyncClient, run: str) -> Progress:
        """Return the first progress of the run's copy that is a tenth or more."""
        async for event in client.follow(run):
            if event.progress is not None and event.progress.done * 10 >= event.progress.size:
                return event.progress
        raise errors.Broken(
            "demo.chaos.late",
            f"Run {run} ended before anything could be killed.",
            remedy="Run it again with nothing else running on this machine.",
        )

    async def flipped(self, url: str, run: str) -> Act:
        """Move back, while one bit of the copy changes after it was written: it has to be refused."""
        story = self._story
        story.voice.heading("4. One bit of the copy flips")
        story.voice.say("Back from beta to alpha; the old source there is retired first, to make room.")
        await story.commands.need("source", "retire", run, "--yes")
        story.voice.harm(f"The hook {HOOK} flips one bit of the order in the copy, before it is verified.")
        hook = ("--hook", f"after:image_upload:{HOOK}")
        wanted = "image.digest.mismatch"
        return await self._taken_back(url, "one bit flipped", wanted, *hook)

    async def unwell(self, url: str) -> Act:
        """Move back with a health check that cannot succeed: it has to be rolled back."""
        story = self._story
        story.voice.heading("5. The guest is not well at the target")
        old = (await story.vm(BETA)).nics[0].addresses[0].partition("/")[0]
        story.voice.harm(
            f"The check wants to see the address {old} in the guest's answer: it has another at alpha."
        )
        check = ("--check", f"http:80:/cgi-bin/state:{old}", "--check-timeout", CHECK_S)
        return await self._taken_back(url, "health check failed", "check.failed", *check)

    async def _taken_back(self, url: str, name: str, wanted: str, *more: str) -> Act:
        """Migrate back in vain; the source must answer again, with its data, and nothing be left at alpha."""
        story, voice = self._story, self._story.voice
        await story.commands.need(*story.words(BETA, ALPHA, *more), "--detach")
        run = await story.latest()
        await story.commands.show("run", "watch", run)
        report = await story.report(run)
        answers = await self._answers(url, BETA)
        gone = not [vm for vm in await story.clouds[ALPHA.cloud].vms() if vm.name == VM_NAME]
        refused = report.outcome is RunState.ROLLED_BACK and report.code == wanted
        rows = (
            (refused, f"the run was stopped: {report.code or report.outcome.value}"),
            (answers, f"{VM_NAME} at beta answers again at {url}, with its data"),
            (gone and not report.left_behind, "nothing of the copy is left at alpha"),
        )
        for good, text in rows:
            voice.claim(good, text)
        good = refused and answers and gone and not report.left_behind
        text = (
            f"{report.code or report.outcome.value}; the source {'answers' if answers else 'DOES NOT ANSWER'}"
        )
        return Act(
            name=name, run=report.run, outcome=report.outcome.value, code=report.code, text=text, good=good
        )

    async def _answers(self, url: str, side: Side) -> bool:
        """Say whether the guest at ``side`` is back, where it was, with its data."""
        with contextlib.suppress(errors.Unavailable, errors.Broken):
            address = await self._story.url(side) or url
            state = await self._visitor.answering(address, BACK_S)
            return all(state.data.get(name) == digest for name, digest in self._kept.data.items())
        return False
