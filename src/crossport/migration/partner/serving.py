"""A call of a partner as it is made: in whose name, and what is believed and shown on the way."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypedDict

from pydantic import Field

from crossport.migration.partner.foreign import RunEnd
from crossport.migration.partner.notary import Deed, Notary
from crossport.migration.standing import Standing
from crossport.model.artifact import Artifact
from crossport.model.grant import Granted
from crossport.model.name import Name
from crossport.model.permit import SignedStatement, Statement, StatementKind
from crossport.model.record import record
from crossport.model.run import Act
from crossport.spi.site import Site
from crossport.transfer.partner.grant import Tickets
from crossport.transfer.partner.reference import References

__all__ = ["About", "Ask", "Serving"]

Step = Annotated[str, Field(pattern=r"^[a-z0-9][A-Za-z0-9._-]*$", max_length=120)]


class About(TypedDict):
    """The fields of every `Ask`."""

    tenant: str
    cloud: str
    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """One call as it is made: at which site of ours, in whose name, and what is believed on the way.

    ``require_copy`` raises Refused unless a VM at a cloud is the copy of this partner's run, not opened yet.
    """

    site: Site
    act: Act
    deed: Deed
    notary: Notary
    references: References
    tickets: Tickets
    became: Callable[[str], Awaitable[None]]
    standing: Callable[[str, RunEnd, str], Awaitable[Standing]]
    granted: Callable[[str], Awaitable[Granted]]
    require_copy: Callable[[str, str], Awaitable[None]]

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
    """What every call carries: the partner's tenant, one of our clouds, and the step of the run.

    One that goes ``BACK``, or finishes what was decided, is answered for a run that lost its right, too; one
    that ``READS`` only, for long, does not keep it waiting.
    """

    OPERATION: ClassVar[str] = ""
    END: ClassVar[RunEnd] = RunEnd.NONE
    MAKES: ClassVar[bool] = False
    BACK: ClassVar[bool] = False
    READS: ClassVar[bool] = False
    ANSWER: ClassVar[type[object]] = bool

    tenant: Name
    cloud: Name
    step: Step = "none"

    @property
    def end(self) -> RunEnd:
        """Which end of the run is asked."""
        return self.END

    @property
    def about_run(self) -> str:
        """The partner's word for a run that it is about without being a part of it."""
        return ""

    @property
    def vm_id(self) -> str:
        """Which VM of the serving site it is about, empty when that is not said."""
        return ""

    @abstractmethod
    async def made(self, at: Serving) -> object:
        """Make the call; return an ANSWER."""
