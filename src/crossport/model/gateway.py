"""Gateways as people see them: where one sits, whether it is there, and how a new one joins."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from crossport.model.record import record

__all__ = ["EnrollRequest", "Enrolment", "Gateway", "Presence", "Seated"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=63)]


@record()
class EnrollRequest:
    """Where a new gateway is to sit: in the reserved subnet ``subnet`` of ``cloud``."""

    cloud: Name
    subnet: Literal["VMExportSubnet", "VMImportSubnet"]


@record()
class Enrolment:
    """What a new gateway needs to join its site, once and until ``expires`` (Unix seconds).

    ``join`` is the text to carry to its machine, with a secret in it that is kept nowhere else.
    ``fingerprint`` is the hex SHA-256 of the authority that vouches for the site.
    """

    gateway: str
    cloud: str
    subnet: str
    expires: float
    fingerprint: str
    join: str


@record()
class Gateway:
    """A gateway that joined. Times are Unix seconds.

    ``connected`` says whether it is connected to the node that was asked, ``jobs`` what it does now.
    ``draining``: it begins no new copy. Its certificate is good until ``expires``; it renews it itself.
    """

    id: str
    cloud: str
    subnet: str
    joined: float
    expires: float
    draining: bool = False
    connected: bool = False
    release: str = ""
    jobs: int = 0


class Presence(StrEnum):
    """How the gateway of a seat stands. ``none`` was enrolled there: the site's own machine works instead.

    One that is ``apart`` came and was sent away: its release and the site's have no version in common. One
    that is ``mute`` is there, and of an older release: it does not vouch for what it reads and writes.
    """

    NONE = "none"
    HERE = "here"
    AWAY = "away"
    DRAINING = "draining"
    APART = "apart"
    MUTE = "mute"


@record()
class Seated:
    """The gateway that a copy would use at a seat, and how it stands now. ``release`` is its Crossport."""

    gateway: str = ""
    presence: Presence = Presence.NONE
    release: str = ""
