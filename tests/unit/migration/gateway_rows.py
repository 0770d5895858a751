"""The findings of gateways and of the link between them, as rows of the table in ``test_findings``."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from crossport.migration.gateway_finding import seat_findings
from crossport.migration.passage import Ends, Passage
from crossport.model.artifact import Place
from crossport.model.finding import Severity
from crossport.model.gateway import Presence, Seated

__all__ = ["GATEWAY_ROWS"]

SEATS = (
    Place(cloud="alpha", subnet="VMExportSubnet", address=""),
    Place(cloud="beta", subnet="VMImportSubnet", address=""),
)
HERE = Presence.HERE


def standing(source: Presence, target: Presence, *, code: str = "", why: str = "") -> Callable[[Any], None]:
    """Let the gateways of both ends stand so, and measuring the link between them fail with ``code``."""

    def gateway(presence: Presence) -> Seated:
        return Seated(gateway="gw-1", presence=presence, release="0.9.0")

    passage = Passage(code=code, why=why, ends=Ends(SEATS, (gateway(source), gateway(target))))

    def stands(scene: Any) -> None:
        scene.passage = passage
        scene.source = replace(scene.source, findings=seat_findings(SEATS[0], gateway(source)))
        scene.target = replace(scene.target, findings=seat_findings(SEATS[1], gateway(target)))

    return stands


GATEWAY_ROWS = (
    (
        "gateway.away",
        Severity.BLOCKER,
        "gateway gw-1",
        "VMExportSubnet of alpha is not connected",
        "crossport gateway run",
        standing(Presence.AWAY, HERE),
    ),
    (
        "gateway.draining",
        Severity.BLOCKER,
        "gateway gw-1",
        "VMImportSubnet of beta begins nothing new",
        "Enroll another one",
        standing(HERE, Presence.DRAINING),
    ),
    (
        "gateway.release.apart",
        Severity.BLOCKER,
        "gateway gw-1",
        "release 0.9.0",
        "Update the older",
        standing(HERE, Presence.APART),
    ),
    (
        "gateway.release.claims",
        Severity.BLOCKER,
        "gateway gw-1",
        "VMExportSubnet of alpha is of release 0.9.0, which does not vouch",
        "restart `crossport gateway run`",
        standing(Presence.MUTE, HERE),
    ),
    (
        "gateway.release.claims",
        Severity.BLOCKER,
        "gateway gw-1",
        "VMImportSubnet of beta is of release 0.9.0, which does not vouch",
        "restart `crossport gateway run`",
        standing(HERE, Presence.MUTE),
    ),
    (
        "gateway.link.closed",
        Severity.BLOCKER,
        "link alpha beta",
        "cannot reach each other. No answer.",
        "in which direction does not matter",
        standing(HERE, HERE, code="transfer.peer.unreachable", why="No answer."),
    ),
    (
        "gateway.link.release",
        Severity.BLOCKER,
        "link alpha beta",
        "no version that both speak. Ours is 3.",
        "Update the gateway",
        standing(HERE, HERE, code="transfer.protocol.newer", why="Ours is 3."),
    ),
)
