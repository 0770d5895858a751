"""What is known of the way from one cloud to another: who works at its ends, and how fast bytes pass."""

from dataclasses import dataclass

from crossport.model.artifact import Place, Rate
from crossport.model.gateway import Presence, Seated
from crossport.units import rate_text, size_text

__all__ = ["READY", "Ends", "Passage"]

READY = (Presence.NONE, Presence.HERE)
"""How the gateway of a seat stands where a copy can begin."""


@dataclass(frozen=True, slots=True)
class Ends:
    """Both seats of a link, the source's first, and who works there."""

    places: tuple[Place, Place]
    seated: tuple[Seated, Seated]


@dataclass(frozen=True, slots=True)
class Passage:
    """What is known of a link: its rate of ``age_s`` seconds ago, or why it has none (``code``, ``why``).

    ``ends`` are as they stand now, None where nobody could say.
    """

    rate: Rate | None = None
    why: str = ""
    age_s: float = 0.0
    code: str = ""
    ends: Ends | None = None

    @property
    def words(self) -> str:
        """Say on what it rests; empty when nobody measures here."""
        if self.rate is None:
            return f"not measured ({self.why.rstrip('.')})" if self.why else ""
        when = "now" if self.age_s < 60 else f"{self.age_s / 60:.0f} min ago"
        return f"measured {when}: {rate_text(self.rate.bps)} over {size_text(self.rate.size)}"
