"""How a migration makes its steps: timed, told as phases, retried as their kind demands."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from crossport.migration.parts import Parts
from crossport.migration.step import Timed, moment
from crossport.model.record import record
from crossport.model.run import Act, Event, EventKind, Hook, MigrationRequest, Phase
from crossport.model.vm import VM
from crossport.spi.run import NO_RETRY, Retry, RunContext
from crossport.spi.site import Site

__all__ = ["BRIEF", "CERTAIN", "PATIENT", "SURE", "How", "Leg"]

T = TypeVar("T")

PATIENT = Retry(attempts=6)
CERTAIN = Retry(attempts=12, longest_pause_s=30.0)
"""For what must not be given up half-way: going back, and everything behind the commit."""


@record()
class How:
    """How a step is made. ``phase`` is told as begun and ended, or one of both where it spans steps."""

    phase: str = ""
    begins: bool = True
    ends: bool = True
    retry: Retry = NO_RETRY
    cancellable: bool = False


PLAIN = How()
SURE = How(retry=CERTAIN)
BRIEF = How(retry=PATIENT)


class Leg:
    """The steps of one execution of one migration."""

    def __init__(self, context: RunContext, request: MigrationRequest, parts: Parts) -> None:
        self.context = context
        self.request = request
        self.parts = parts

    async def source(self) -> Site:
        """Return the source's end."""
        return await self.parts.site(self.request.source)

    async def target(self) -> Site:
        """Return the target's end."""
        return await self.parts.site(self.request.target)

    async def timed(
        self, name: str, call: Callable[[Act], Awaitable[T]], result: type[T], how: How = PLAIN
    ) -> Timed[T]:
        """Make the step ``name`` and return what it left behind, with its times."""
        context, clock = self.context, self.parts.clock

        async def made() -> Timed[T]:
            began = moment(clock, context.epoch)
            if how.phase and how.begins:
                begun = Phase(name=how.phase, started=began.wall, seconds=0.0)
                await self._tell_phase(EventKind.PHASE_STARTED, begun)
            value = await call(context.act(name))
            done = Timed(value=value, began=began, ended=moment(clock, context.epoch))
            if how.phase and how.ends:
                await self._tell_phase(EventKind.PHASE_FINISHED, done.phase(how.phase))
            return done

        return await context.step(
            name, made, result=Timed[result], retry=how.retry, cancellable=how.cancellable
        )

    async def tell(self, name: str, text: str) -> Timed[bool]:
        """Add a line to the run's story, once. The states of runs are the engine's to tell."""

        async def told(act: Act) -> bool:
            del act
            await self.context.emit(Event(kind=EventKind.LOG, text=text))
            return True

        return await self.timed(f"tell-{name}", told, bool)

    async def hooks(self, phase: str, *, after: bool, vm: VM) -> None:
        """Run the hooks that the request has before or after ``phase``, each as a step of its own."""
        for index, hook in enumerate(self.request.hooks):
            if hook.phase == phase and hook.after == after:
                await self._hook(f"hook-{index}-{hook.name}", hook, vm)

    async def _hook(self, name: str, hook: Hook, vm: VM) -> None:
        async def call(act: Act) -> bool:
            await self.parts.hooks.run(hook, act.run, vm)
            return True

        await self.timed(name, call, bool, How(cancellable=True))

    async def _tell_phase(self, kind: EventKind, phase: Phase) -> None:
        await self.context.emit(Event(kind=kind, text=phase.name, phase=phase))
