"""What of gateways and the link between them stands in the way, found before anything is touched. Pure.

Each site tells of the gateway at its own end, also when it describes that to a partner.
"""

from collections.abc import Callable

from crossport.migration.passage import Passage
from crossport.model.artifact import Place
from crossport.model.finding import Finding, Severity
from crossport.model.gateway import Presence, Seated

__all__ = ["link_findings", "seat_findings"]

_OTHER_RELEASES = ("transfer.protocol.newer", "transfer.protocol.older")


def seat_findings(place: Place, seated: Seated) -> tuple[Finding, ...]:
    """Return why a copy could not begin now at the end whose gateway this is."""
    return (_SAID[seated.presence](place, seated),) if seated.presence in _SAID else ()


def link_findings(passage: Passage) -> tuple[Finding, ...]:
    """Return why a copy could not get from the one end to the other."""
    if passage.ends is None:
        return ()
    source, target = passage.ends.places
    subject = f"link {source.cloud} {target.cloud}"
    if passage.code == "transfer.peer.unreachable":
        return (
            Finding(
                "gateway.link.closed",
                Severity.BLOCKER,
                subject,
                f"{source.subnet} of {source.cloud} and {target.subnet} of {target.cloud} cannot reach each "
                f"other. {passage.why}",
                "Let one of the two be dialled from the other; in which direction does not matter.",
            ),
        )
    if passage.code in _OTHER_RELEASES:
        return (
            Finding(
                "gateway.link.release",
                Severity.BLOCKER,
                subject,
                f"The two ends copy in no version that both speak. {passage.why}",
                "Update the gateway of the older release: releases that follow one another work together.",
            ),
        )
    return ()


def _away(place: Place, seated: Seated) -> Finding:
    return Finding(
        "gateway.away",
        Severity.BLOCKER,
        f"gateway {seated.gateway}",
        f"{seated.gateway} in {place.subnet} of {place.cloud} is not connected to its site.",
        "See that `crossport gateway run` runs on its machine; its log says what it cannot reach.",
    )


def _draining(place: Place, seated: Seated) -> Finding:
    return Finding(
        "gateway.draining",
        Severity.BLOCKER,
        f"gateway {seated.gateway}",
        f"{seated.gateway} in {place.subnet} of {place.cloud} begins nothing new.",
        "Enroll another one for this subnet, or remove this one.",
    )


def _apart(place: Place, seated: Seated) -> Finding:
    release = f"is of release {seated.release}, which" if seated.release else "is of a release that"
    return Finding(
        "gateway.release.apart",
        Severity.BLOCKER,
        f"gateway {seated.gateway}",
        f"{seated.gateway} in {place.subnet} of {place.cloud} {release} its site does not understand.",
        "Update the older of the two: releases that follow one another understand each other.",
    )


def _mute(place: Place, seated: Seated) -> Finding:
    release = f"is of release {seated.release}, which" if seated.release else "is of a release that"
    return Finding(
        "gateway.release.claims",
        Severity.BLOCKER,
        f"gateway {seated.gateway}",
        f"{seated.gateway} in {place.subnet} of {place.cloud} {release} does not vouch for what it reads and "
        "writes, so that nothing which it copies can be certified.",
        "Install its site's release on its machine and restart `crossport gateway run` there; "
        "`crossport gateway list` then shows it.",
    )


_SAID: dict[Presence, Callable[[Place, Seated], Finding]] = {
    Presence.AWAY: _away,
    Presence.DRAINING: _draining,
    Presence.APART: _apart,
    Presence.MUTE: _mute,
}
