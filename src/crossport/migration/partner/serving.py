"""A call of a partner as it is made: in whose name, and what is believed and shown on the way."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Protocol, TypedDict

from pydantic import Field

from crossport.migration.partner.foreign import RunEnd
from crossport.migration.partner.notary import Deed, Notary
from crossport.model.artifact import Artifact, Ticket
from crossport.model.name import Name
from crossport.model.permit import SignedStatement, Statement, StatementKind
from crossport.model.record import record
from crossport.model.run import Act
from crossport.spi.site import Site

__all__ = ["About", "Ask", "References", "Serving"]

Step = Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._-]*$", max_length=120)]


class About(TypedDict):
    """The fields of every `Ask`."""

    tenant: str
    cloud: str
    step: str


class References(Protocol):
    """Who shows a partner handles in the place of what lies behind them, and knows them again."""

    async def shown(self, partner: str, run: str, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        """Return the artifacts as the partner may see them."""
        ...

    async def known(self, partner: str, run: str, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        """Return what the partner was shown as it is; raise Refused for what it was not."""
        ...

    async def give(self, partner: str, ticket: Ticket, *, run: str, tenant: str) -> Ticket:
        """Keep a ticket, and return what the partner may see, in its own words for run and tenant."""
        ...

    async def forget(self, run: str) -> None:
        """Forget what was shown for a run."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """One call as it is made: at which site of ours, in whose name, and what is believed on the way."""

    site: Site
    act: Act
    deed: Deed
    notary: Notary
    references: References
    became: Callable[[str], Awaitable[None]]

    async def shown(self, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        """Return artifacts as the partner may see them."""
        return await self.references.shown(self.deed.partner.name, self.deed.here, artifacts)

    async def known(self, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        """Return artifacts that the partner was shown as they are."""
        return await self.references.known(self.deed.partner.name, self.deed.here, artifacts)

    async def signed(self, statement: Statement) -> SignedStatement:
        """Return a statement of ours for the partner."""
        return await self.notary.signed(statement, self.deed)

    async def believed(self, signed: SignedStatement, kinds: tuple[StatementKind, ...]) -> Statement:
        """Return a statement of the partner."""
        return await self.notary.believed(signed, self.deed, kinds)


@record()
class Ask(ABC):
    """What every call carries: the partner's tenant, one of our clouds, and the step of the run."""

    OPERATION: ClassVar[str] = ""
    END: ClassVar[RunEnd] = RunEnd.NONE
    MAKES: ClassVar[bool] = False
    ANSWER: ClassVar[type[object]] = bool

    tenant: Name
    cloud: Name
    step: Step = "none"

    @property
    def end(self) -> RunEnd:
        """Which end of the run is asked."""
        return self.END

    @property
    def vm_id(self) -> str:
        """Which VM of the serving site it is about, empty when that is not said."""
        return ""

    @abstractmethod
    async def made(self, at: Serving) -> object:
        """Make the call; return an ANSWER."""
