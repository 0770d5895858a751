"""The message by which a run has the source's site look into its guest, for its own seal."""

from typing import Annotated

from pydantic import Field

from crossport.migration.partner.foreign import RunEnd
from crossport.migration.partner.serving import Ask, Serving
from crossport.model.artifact import Artifact
from crossport.model.inspection import Surveyed
from crossport.model.record import record

__all__ = ["SurveyGuest"]


@record()
class SurveyGuest(Ask):
    """`Site.survey`."""

    OPERATION = "site.survey"
    END = RunEnd.SOURCE
    ANSWER = Surveyed

    artifacts: Annotated[tuple[Artifact, ...], Field(max_length=64)]

    async def made(self, at: Serving) -> Surveyed:
        """Look into our guest, for our seal."""
        return await at.site.survey(at.act, self.cloud, await at.known(self.artifacts))
