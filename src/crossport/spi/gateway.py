"""What a site does about its gateways: for people, and for who plans a copy."""

from typing import Protocol

from crossport.model.artifact import Place
from crossport.model.gateway import EnrollRequest, Enrolment, Gateway, Seated

__all__ = ["Gateways", "Seats"]


class Gateways(Protocol):
    """The gateways of a site. Every call names the tenant whose clouds they sit in."""

    async def enroll(self, tenant: str, request: EnrollRequest) -> Enrolment:
        """Let one new gateway join within a few minutes, once."""
        ...

    async def gateways(self, tenant: str) -> tuple[Gateway, ...]:
        """Return those that joined, by id."""
        ...

    async def gateway(self, tenant: str, id: str) -> Gateway:  # noqa: A002 - the record's own word
        """Return one; raise NotFound (``gateway.unknown``)."""
        ...

    async def drain(self, tenant: str, id: str) -> Gateway:  # noqa: A002
        """Let it begin no new copy; those that run go on. May be called again."""
        ...

    async def remove(self, tenant: str, id: str) -> None:  # noqa: A002
        """Trust it no longer and end its connection; its copies end. Raise NotFound."""
        ...


class Seats(Protocol):
    """Who knows which gateways are there."""

    async def seated(self, place: Place) -> Seated:
        """Return who would work at ``place``; waits a moment for a gateway that is just reconnecting."""
        ...
