"""The form of what one site asks another, so that it is done once, by whom it is for, and not later."""

from typing import Annotated

from pydantic import Field

from crossport.model.name import Name
from crossport.model.record import record

__all__ = ["FORMAT", "Envelope", "Reply"]

FORMAT = 1
EPOCHS = 1 << 31


@record()
class Envelope:
    """One request of ``sender`` to ``receiver``; ``body`` is the JSON of what ``operation`` takes.

    ``run`` is the sender's word for the run it belongs to, empty for none, and ``epoch`` that of the run's
    execution. ``nonce`` (hex) names the message: sent again it is the same message. ``time`` is Unix seconds.
    """

    version: int = FORMAT
    sender: Name
    receiver: Name
    operation: Annotated[str, Field(pattern=r"^[a-z]+(?:[.-][a-z]+)*$", max_length=63)]
    run: Annotated[str, Field(pattern=r"^(?:[A-Za-z0-9][A-Za-z0-9._-]*)?$", max_length=100)] = ""
    epoch: Annotated[int, Field(ge=0, lt=EPOCHS)] = 0
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{32,64}$")]
    time: Annotated[float, Field(allow_inf_nan=False)]
    body: str


@record()
class Reply:
    """The JSON of what the receiver answers; None when it is still at it, and shall be asked again."""

    version: int = FORMAT
    answer: str | None = None
