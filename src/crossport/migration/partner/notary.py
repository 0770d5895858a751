"""Statements across the boundary of a site: signed on the way out, believed on the way in, and kept.

Whatever crosses is kept as it was signed, by both sides: it is the evidence when they disagree.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace

from crossport import errors
from crossport.identity import role_document as roles
from crossport.identity import statement as statements
from crossport.model.partner import Partner
from crossport.model.permit import SignedStatement, Stated, Statement, StatementKind
from crossport.model.record import record
from crossport.spi.clock import Clock
from crossport.spi.document import Documents
from crossport.spi.statement import StatementSigner

__all__ = ["Deed", "Evidence", "Notary"]

KIND = "statement"


@record()
class Evidence:
    """A statement that crossed the boundary, and who initiated the run it is about.

    ``kept`` is when, by this site's clock (Unix seconds), 0 where an older release kept it.
    """

    initiator: str
    partner: str
    statement: Statement
    signed: SignedStatement
    kept: float = 0.0


@dataclass(frozen=True, slots=True)
class Deed:
    """A run that two sites share: its initiator, that one's word for it, and ours."""

    partner: Partner
    initiator: str
    run: str
    here: str


class Notary:
    """Signs and believes for the site ``site``."""

    def __init__(
        self, site: str, signer: StatementSigner, documents: Callable[[], Documents], clock: Clock
    ) -> None:
        self._site = site
        self._signer = signer
        self._documents = documents
        self._clock = clock

    async def ready(self) -> None:
        """Raise Conflict where this node cannot sign: its first statement to a partner would fail."""
        await self._signer.ready()

    async def signed(self, statement: Statement, deed: Deed) -> SignedStatement:
        """Return a statement of this site, for the partner."""
        told = replace(statement, run=deed.run)
        stated = Stated(to=deed.partner.name, initiator=deed.initiator, statement=told)
        signed = await self._signer.sign(stated)
        await self._keep(deed, statement, signed)
        return signed

    async def believed(
        self, signed: SignedStatement, deed: Deed, kinds: tuple[StatementKind, ...]
    ) -> Statement:
        """Return the partner's statement in our words for the run; raise Refused unless it made just this.

        ``kinds`` are those that are an answer here.
        """
        between = statements.Between(deed.partner.name, self._site, deed.initiator, deed.run)
        told = statements.believed(signed, self._keys(deed.partner), between, self._clock.wall())
        if told.kind not in kinds:
            raise errors.Refused(
                "permit.statement.wrong",
                f"{deed.partner.name} stated {told.kind} in run {deed.run}, which does not allow this.",
                remedy=f"See the evidence of both sides with: crossport run show {deed.here}",
            )
        statement = replace(told, run=deed.here)
        await self._keep(deed, statement, signed)
        return statement

    async def evidence(self, run: str) -> tuple[Evidence, ...]:
        """Return what was stated in ``run``, our word for it, in the order in which it was stated."""
        found = await self._documents().list(KIND, Evidence, prefix=f"{run}/")
        return tuple(sorted((one.value for one in found), key=lambda one: one.statement.made))

    async def stated_by(self, partner: str) -> tuple[tuple[str, Evidence], ...]:
        """Return all that a partner has stated to this site and is still kept, each with our run's word."""
        found: list[tuple[str, Evidence]] = []
        after = ""
        while page := await self._documents().list(KIND, Evidence, after=after):
            found += [
                (one.key.partition("/")[0], one.value) for one in page if one.value.statement.site == partner
            ]
            after = page[-1].key
        return tuple(found)

    async def forget(self, run: str) -> None:
        """Drop the evidence of a run on which nothing hangs any more."""
        for one in await self._documents().list(KIND, Evidence, prefix=f"{run}/"):
            await self._documents().delete(KIND, one.key)

    def _keys(self, partner: Partner) -> roles.RoleDocument:
        """Return the partner's role document, as it was believed when it came."""
        return roles.believed(
            base64.b64decode(partner.roles),
            partner.name,
            base64.b64decode(partner.root),
            self._clock.wall(),
            None,
        )

    async def _keep(self, deed: Deed, statement: Statement, signed: SignedStatement) -> None:
        """Keep the last one of its kind: a call that is repeated states the same anew."""
        kept = Evidence(
            initiator=deed.initiator,
            partner=deed.partner.name,
            statement=statement,
            signed=signed,
            kept=self._clock.wall(),
        )
        await self._documents().put(KIND, f"{deed.here}/{statement.site}/{statement.kind}", kept)
