"""The call by which the site that executes a run asks whether it still has its right at the other end."""

from typing import Annotated

from pydantic import Field

from crossport.migration.partner.serving import Ask, Serving
from crossport.model.grant import Granted
from crossport.model.record import record

__all__ = ["AskGrant"]


@record()
class AskGrant(Ask):
    """Whether ``run``, the partner's word for it, still has the right to go on here."""

    OPERATION = "site.grant"
    BACK = True
    ANSWER = Granted

    run: Annotated[str, Field(max_length=255)]

    @property
    def about_run(self) -> str:
        """The run."""
        return self.run

    async def made(self, at: Serving) -> Granted:
        """Look at it."""
        return await at.granted(self.run)
