"""Answers partners that execute runs with one end here: each call is judged, then made at our own site.

A partner acts as one of our tenants, as the rule for its own tenant says, and on the clouds of that rule
alone. Each run is served under a word of our own, and one call after the other.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from crossport import errors
from crossport.identity.messages import Messages
from crossport.migration.end import Ends
from crossport.migration.grant import Trusted, refused
from crossport.migration.grants import Grants
from crossport.migration.partner.calls import CALLS, Clean
from crossport.migration.partner.foreign import Entry, Foreign, ForeignRun, RunEnd, foreign_id
from crossport.migration.partner.notary import Deed, Notary
from crossport.migration.partner.permission import OPERATIONS, permitted
from crossport.migration.partner.serving import Ask, Serving
from crossport.migration.partner.turn import Turns
from crossport.migration.standing import Standing, Standings
from crossport.model import codec
from crossport.model.grant import Granted, RunGrant
from crossport.model.message import Envelope
from crossport.model.partner import Partner, TenantRule
from crossport.model.run import Act
from crossport.spi.authorize import Authorizer
from crossport.spi.mover import Mover
from crossport.spi.partner import Answer, PartnerOperations
from crossport.spi.site import Site
from crossport.transfer.partner.grant import Tickets
from crossport.transfer.partner.reference import References

__all__ = ["DeskParts", "SiteDesk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskParts:
    """What a desk works with. ``site`` returns our own site: as which tenant has it, for which partner."""

    site: Callable[[str, str], Site]
    messages: Messages
    notary: Notary
    foreign: Foreign
    references: References
    tickets: Tickets
    mover: Mover
    standings: Standings
    authorizer: Authorizer
    turns: Turns
    grants: Grants
    ends: Callable[[], Ends]


class SiteDesk:
    """The serving side of every `RemoteSite` of a partner."""

    def __init__(self, parts: DeskParts) -> None:
        self._parts = parts

    def serve(self, operations: PartnerOperations) -> None:
        """Answer the calls of a site."""
        self._parts.authorizer.require(OPERATIONS.values())
        for kind in CALLS:
            operations.answer(kind.OPERATION, self._answering(kind))

    def _answering(self, kind: type[Ask]) -> Answer:
        async def answer(partner: Partner, content: bytes) -> bytes:
            async def made(envelope: Envelope) -> str:
                return await self._made(partner, kind, envelope)

            return await self._parts.messages.answered(partner.name, kind.OPERATION, content, made)

        return answer

    async def _made(self, partner: Partner, kind: type[Ask], envelope: Envelope) -> str:
        ask = codec.decoded(envelope.body, kind)
        word = envelope.run or ask.about_run
        known = await self._parts.foreign.find(foreign_id(partner.name, word)) if word else None
        rule = permitted(partner, ask, envelope.run, self._parts.authorizer, known)
        if not envelope.run:
            if kind.MAKES or ask.end or kind is Clean:
                raise errors.Invalid(
                    "partner.run.none",
                    "This call belongs to a run, and names none.",
                    field="run",
                    remedy=errors.SAME_RELEASE,
                )
            return await self._answer(ask, self._serving(partner, rule, ask, envelope, None))
        entry = Entry(
            run=envelope.run,
            epoch=envelope.epoch,
            theirs=ask.tenant,
            tenant=rule.ours,
            cloud=ask.cloud,
            end=ask.end,
            vm=ask.vm_id,
            makes=kind.MAKES,
        )
        return await self._in_turn(partner, rule, ask, envelope, entry)

    async def _in_turn(
        self, partner: Partner, rule: TenantRule, ask: Ask, envelope: Envelope, entry: Entry
    ) -> str:
        run = await self._parts.foreign.enter(partner, entry)
        await self._parts.messages.end(partner.name, entry.run, entry.epoch)
        turns = self._parts.turns
        if ask.BACK:
            await turns.end_reading(run.id)
        async with turns.reading(run.id) if ask.READS else turns.of(run.id):
            run = await self._parts.foreign.enter(partner, entry)  # what waited may come too late by now
            if not ask.BACK:
                await self._need_right(partner, run)
            if isinstance(ask, Clean):
                await self._parts.foreign.close(run.id)
                await self._parts.grants.end(run.id)
            return await self._answer(ask, self._serving(partner, rule, ask, envelope, run))

    async def _need_right(self, partner: Partner, run: ForeignRun) -> None:
        """Raise Refused ``grant.lost`` unless the run may go on. It gets its grant at its first call."""
        grants = self._parts.grants
        grant = await grants.of(run.id) or grants.of_partner(_grant(run))
        if not run.closed:
            grant = await grants.hold(grant)
        granted = await self._granted(partner, grant)
        if granted.loss and not granted.late:
            await grants.lose(run.id, granted.loss)
            raise refused(granted.loss, run.run)

    async def _granted(self, partner: Partner, grant: RunGrant | None) -> Granted:
        loss = self._parts.grants.loss(grant, Trusted(partners=(partner,))) if grant else None
        if grant is None or loss is None:
            return Granted()
        return Granted(loss=loss, late=await self._parts.ends().committed(grant.run))

    def _serving(
        self, partner: Partner, rule: TenantRule, ask: Ask, envelope: Envelope, run: ForeignRun | None
    ) -> Serving:
        here = run.id if run else ""

        async def became(vm: str) -> None:
            await self._parts.foreign.became(here, vm)

        async def standing(word: str, end: RunEnd, vm: str) -> Standing:
            return await self._standing((partner.name, word), ask, (end, vm))

        async def granted(word: str) -> Granted:
            return await self._granted(partner, await self._parts.grants.of(foreign_id(partner.name, word)))

        async def require_copy(cloud: str, vm: str) -> None:
            await self._require_copy(partner, (ask.tenant, cloud, vm))

        return Serving(
            site=self._parts.site(rule.ours, partner.name),
            act=Act(run=here, step=ask.step, epoch=envelope.epoch),
            deed=Deed(partner=partner, initiator=partner.name, run=envelope.run, here=here),
            notary=self._parts.notary,
            references=self._parts.references,
            tickets=self._parts.tickets,
            became=became,
            standing=standing,
            granted=granted,
            require_copy=require_copy,
        )

    async def _standing(self, run: tuple[str, str], ask: Ask, which: tuple[RunEnd, str]) -> Standing:
        """Return how a run of this tenant of the partner stands here, if it was ever here."""
        known = await self._parts.foreign.find(foreign_id(*run))
        if known is None or (known.theirs, known.cloud) != (ask.tenant, ask.cloud):
            return Standing()
        end, vm = which
        looks = self._parts.standings
        if end is RunEnd.SOURCE:
            found = await looks.source(known.tenant, known.id, known.cloud, vm)
        else:
            found = await looks.target(known.tenant, known.id, known.cloud)
        return replace(found, tenant=known.tenant)

    async def _require_copy(self, partner: Partner, which: tuple[str, str, str]) -> None:
        for run in await self._parts.foreign.runs(partner.name):
            known = (run.theirs, run.cloud, run.vm) == which and run.end is RunEnd.TARGET
            if known and not run.closed and not (await self._parts.ends().landing(run.id)).opened:
                return
        raise errors.Refused(
            "partner.check.command",
            f"No run of {partner.name} keeps VM {which[2]} in quarantine: it may not type there.",
            field="checks",
            remedy="Leave command: out of what is asked of this VM; a copy that was made can be asked.",
        )

    async def _answer(self, ask: Ask, serving: Serving) -> str:
        answer = await ask.made(serving)
        if isinstance(ask, Clean):
            await self._parts.mover.forget(serving.deed.here)
            await self._parts.references.forget(serving.deed.here)
        return codec.encoded(answer, ask.ANSWER)


def _grant(run: ForeignRun) -> RunGrant:
    """Return the right of a partner's run, whose times are not known yet."""
    return RunGrant(
        run=run.id,
        tenant=run.tenant,
        since=0.0,
        until=0.0,
        about=run.vm,
        clouds=(run.cloud,),
        partner=run.partner,
        theirs=run.theirs,
        called=run.run,
    )
