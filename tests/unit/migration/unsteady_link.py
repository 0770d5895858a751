"""What goes wrong between two sites: answers lost, messages repeated or late, a serving site that dies."""

from enum import StrEnum

import pytest
from tests.unit.migration.two_sites import SimulatedSite, TwoSites

from crossport import errors
from crossport.model.partner import Partner
from crossport.spi.partner import Answer
from crossport.testing.partner import Fate
from crossport.testing.run import KillPoint

__all__ = ["Dying", "Fault", "Late", "Recorder", "unsteady"]


class Fault(StrEnum):
    """What happens to every message, the first time that it is sent."""

    ANSWER_LOST = "answer-lost"
    REPEATED = "repeated"
    LATE_AGAIN = "late-again"
    """All that was sent before comes once more, behind each message."""


def unsteady(two: TwoSites, fault: Fault) -> None:
    """Let ``fault`` happen."""
    if fault is Fault.LATE_AGAIN:
        for site in (two.a, two.b):
            Recorder(site, plays=True)
        return
    lost = 0

    def fate(from_: str, to: str, operation: str) -> Fate:
        nonlocal lost
        del from_, to, operation
        if fault is Fault.REPEATED:
            return Fate(arrives=2)
        lost += 1
        return Fate(answered=lost % 2 == 0)

    two.link.fate = fate


class Recorder:
    """All messages that a site was sent, and a way to play them back; it ``plays`` them behind each one."""

    def __init__(self, site: SimulatedSite, *, plays: bool = False) -> None:
        self.site = site
        self._plays = plays
        self._plain: dict[str, Answer] = {}
        self.sent: list[tuple[Partner, str, bytes]] = []
        for operation in tuple(site.link.answers):
            self._record(operation)

    def _record(self, operation: str) -> None:
        answer = self.site.link.answers[operation]

        async def recorded(partner: Partner, content: bytes) -> bytes:
            self.sent.append((partner, operation, content))
            reply = await answer(partner, content)
            if self._plays:
                await self.play()
            return reply

        self.site.link.answers[operation] = recorded
        self._plain[operation] = answer

    async def play(self) -> list[str]:
        """Play all back; return the codes of what was refused."""
        codes: list[str] = []
        for partner, operation, content in tuple(self.sent):
            try:
                await self._plain[operation](partner, content)
            except errors.Error as error:
                codes.append(error.code)
        return codes


class Late:
    """The first message of one operation is held up until `deliver`; the step then sends another one."""

    def __init__(self, site: SimulatedSite, operation: str) -> None:
        self._answer = site.link.answers[operation]
        self.held: list[tuple[Partner, bytes]] = []
        site.link.answers[operation] = self._hold

    async def _hold(self, partner: Partner, content: bytes) -> bytes:
        if not self.held or content == self.held[0][1]:
            self.held[:] = [(partner, content)]
            raise errors.Unavailable("partner.away", "Nothing is heard of it.")
        return await self._answer(partner, content)

    async def deliver(self) -> str:
        """Let the message arrive; return the code of its refusal, empty when it was taken."""
        (message,) = self.held
        try:
            await self._answer(*message)
        except errors.Error as error:
            return error.code
        return ""


class Dying:
    """A serving control plane that dies once at one operation, and is started again. It counts how often it
    was asked."""

    def __init__(self, site: SimulatedSite, operation: str, point: KillPoint) -> None:
        self.asked = 0
        self._site = site
        self._operation = operation
        self._point = point
        self._stand_before()

    def _stand_before(self) -> None:
        self._answer = self._site.link.answers[self._operation]
        self._site.link.answers[self._operation] = self._asked

    async def _asked(self, partner: Partner, content: bytes) -> bytes:
        self.asked += 1
        if self.asked > 1:
            return await self._answer(partner, content)
        if self._point is KillPoint.AFTER_CALL:
            self._site.documents.lost_answers = 1
            with pytest.raises(errors.Unavailable, match="died before it kept"):
                await self._answer(partner, content)
        elif self._point is KillPoint.AFTER_RECORD:
            await self._answer(partner, content)
        await self._site.peer.close()
        self._site.start()
        self._stand_before()
        raise errors.Unavailable("partner.away", "It died.")
