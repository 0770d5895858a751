"""The site's run grants, kept durably: those of runs that go on, and for a while those that are over."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from crossport import errors
from crossport.migration.grant import Trusted, loss_of
from crossport.model.grant import Begun, GrantScope, GrantState, Holder, Loss, RunGrant
from crossport.model.run import RunRecord
from crossport.spi.clock import Clock
from crossport.spi.document import Document, Documents

__all__ = ["HOUR_S", "GrantTerms", "Grants"]

KIND = "run-grant"
LIVE, PAST = "live/", "past/"
HOUR_S = 3600.0
KEPT_S = 30 * 24 * HOUR_S
"""How long a grant that is over can be seen."""
_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """How long runs may go on: of people for whom their rule says nothing, and of partners."""

    hours: float = 24.0
    partner_hours: float = 192.0


class Grants:
    """Makes, shows and ends grants. ``documents`` is asked at each use.

    ``changed`` is called when a right was taken, so that nobody waits for the next look; ``is_run`` says
    whether this site has a run.
    """

    def __init__(
        self, documents: Callable[[], Documents], clock: Clock, terms: GrantTerms | None = None
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._terms = terms or GrantTerms()
        self.changed: Callable[[], None] = lambda: None
        self.is_run: Callable[[str], Awaitable[bool]] = _none

    async def begun(self, begun: Begun, start: Callable[[], Awaitable[RunRecord]]) -> RunRecord:
        """Begin a run with ``start``, holding its grant before; return the run.

        A run that is there already was begun by whoever began it, and gets no other right.
        """
        if begun.holder is None or await self.is_run(begun.run):
            return await start()
        await self.hold(self._of_person(begun, begun.holder))
        try:
            return await start()
        except errors.Error:
            if not await self.is_run(begun.run):
                await self._documents().delete(KIND, LIVE + begun.run)
            raise

    def _of_person(self, begun: Begun, holder: Holder) -> RunGrant:
        now = self._clock.wall()
        return RunGrant(
            run=begun.run,
            tenant=holder.tenant,
            since=now,
            until=now + (holder.rule.hours or self._terms.hours) * HOUR_S,
            about=begun.about,
            clouds=begun.clouds,
            holder=holder,
        )

    def of_partner(self, grant: RunGrant) -> RunGrant:
        """Return ``grant`` with the times of a new one of a partner."""
        now = self._clock.wall()
        return replace(grant, since=now, until=now + self._terms.partner_hours * HOUR_S)

    def loss(self, grant: RunGrant, trusted: Trusted) -> Loss | None:
        """Return how the right of a grant is lost, None while it holds."""
        return loss_of(grant, trusted, self._clock.wall())

    async def hold(self, grant: RunGrant) -> RunGrant:
        """Keep a grant, unless its run has one; return the one that holds."""
        try:
            return (await self._documents().put(KIND, LIVE + grant.run, grant, generation=0)).value
        except errors.Conflict:
            return (await self._documents().fetch(KIND, LIVE + grant.run, RunGrant)).value

    async def live(self) -> tuple[RunGrant, ...]:
        """Return the grants of runs that are not over."""
        return tuple([each.value for each in await self._all(LIVE)])

    async def of(self, run: str) -> RunGrant | None:
        """Return the grant of a run that is not over, None when it needs none."""
        found = await self._found(LIVE + run)
        return found.value if found else None

    async def listed(self, scope: GrantScope) -> tuple[RunGrant, ...]:
        """Return the grants in ``scope``, by run: of those that are over, what is still kept."""
        found = {each.value.run: each.value for each in await self._all(PAST)}
        found |= {each.value.run: each.value for each in await self._all(LIVE)}
        return tuple(grant for _, grant in sorted(found.items()) if scope.has(grant))

    async def shown(self, run: str, scope: GrantScope) -> RunGrant:
        """Return one; raise NotFound ``grant.unknown``."""
        found = await self._found(LIVE + run) or await self._found(PAST + run)
        if found is None or not scope.has(found.value):
            raise errors.NotFound(
                "grant.unknown",
                f"There is no grant of a run {run}.",
                field="run",
                remedy="See `crossport grant list`; runs begun with a token of the site need none.",
            )
        return found.value

    async def revoke(self, run: str, scope: GrantScope, by: str) -> RunGrant:
        """Take a run its right; it may be asked twice. One that is over is left as it is."""
        grant = await self.shown(run, scope)
        if grant.state is GrantState.OVER:
            return grant
        taken = await self.lose(run, Loss.REVOKED, by)
        self.changed()
        return taken or await self.shown(run, scope)

    async def lose(self, run: str, loss: Loss, by: str = "") -> RunGrant | None:
        """Note that a right is lost; the first reason counts. None when the run is over meanwhile."""
        now = self._clock.wall()

        def changed(grant: RunGrant) -> RunGrant:
            if grant.loss:
                return grant
            return replace(grant, state=GrantState.LOST, loss=loss, lost=now, by=by)

        return await self._change(run, changed)

    async def too_late(self, run: str) -> None:
        """Note that the loss came behind the commit."""
        await self._change(run, lambda grant: replace(grant, late=True))

    async def end(self, run: str) -> None:
        """End the grant of a run, if it has one that is not over."""
        if grant := await self.of(run):
            await self.over(grant)

    async def over(self, grant: RunGrant) -> None:
        """End a grant with its run; may be repeated."""
        await self._documents().put(KIND, PAST + grant.run, replace(grant, state=GrantState.OVER))
        await self._documents().delete(KIND, LIVE + grant.run)

    async def prune(self) -> None:
        """Forget what was over long ago, by when it began."""
        now = self._clock.wall()
        for each in await self._all(PAST):
            if max(each.value.until, each.value.lost) + KEPT_S < now:
                await self._documents().delete(KIND, each.key)

    async def _change(self, run: str, change: Callable[[RunGrant], RunGrant]) -> RunGrant | None:
        for _ in range(_ATTEMPTS):
            found = await self._found(LIVE + run)
            if found is None:
                return None
            value = change(found.value)
            if value == found.value:
                return value
            try:
                await self._documents().put(KIND, found.key, value, generation=found.generation)
            except errors.Conflict:
                continue
            return value
        raise errors.Unavailable(
            "grant.contended",
            f"The grant of run {run} is being changed all the time.",
            remedy=errors.TRIED_AGAIN,
        )

    async def _found(self, key: str) -> Document[RunGrant] | None:
        try:
            return await self._documents().fetch(KIND, key, RunGrant)
        except errors.NotFound:
            return None

    async def _all(self, prefix: str) -> list[Document[RunGrant]]:
        found: list[Document[RunGrant]] = []
        after = ""
        while batch := await self._documents().list(KIND, RunGrant, prefix=prefix, after=after):
            found += batch
            after = batch[-1].key
        return found


async def _none(run: str) -> bool:
    del run
    return False
