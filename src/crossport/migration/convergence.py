"""When a warm migration may go over: pure, from the copies made so far.

A copy of what changed takes a part that does not depend on how much that is, for which the quickest copy
so far is taken, and a part that does. What changes while a copy goes on is what the next one has to copy: so
the last one, with the guest off, takes about ``quickest + (seconds - quickest) · seconds / gap``, where
``gap`` is the time between the moments of the last two copies. That plus what shutting down, comparing and
starting take is the outage of a cutover now.

What a copy left out, because it changes all the time, is owed to the last one. That takes as long
as it took the last copy that had as much to read.

Copies that follow one another at once get shorter as long as less changes than is copied in the same time.
When they do not get shorter any more, and the outage is still too long, nothing helps but a person.
"""

from collections.abc import Sequence
from enum import StrEnum

from crossport.model.record import record
from crossport.model.run import Cutover, Sync, WarmRules

__all__ = ["Next", "Outlook", "changes_bps", "copies_bps", "outlook"]

SHRINKS = 0.75  # a copy that takes so much of the one before is worth another one
LEAD = 1.5  # how much longer than the last one the copy before an appointed time may take
LEAST_LEAD_S = 5.0


class Next(StrEnum):
    """What to do now."""

    CUT_OVER = "cut-over"
    COPY = "copy"
    WAIT = "wait"
    GIVE_UP = "give-up"


@record()
class Outlook:
    """``outage_s`` is what a cutover now would cost, None before that is known. First wait ``wait_s``.

    ``stuck``: the copies do not get shorter, and the outage is longer than allowed.
    """

    next: Next
    outage_s: float | None = None
    wait_s: float = 0.0
    stuck: bool = False


def outlook(
    syncs: Sequence[Sync], rules: WarmRules, floor_s: float, *, ordered: bool, forced: bool
) -> Outlook:
    """Say what comes after these copies, the last of which has just ended.

    ``floor_s`` is the outage without the last copy. ``ordered``: a person said go. ``forced``: a person
    accepted beforehand whatever outage cannot be avoided.
    """
    if len(syncs) < 2:
        return Outlook(next=Next.COPY)
    last = syncs[-1]
    now = last.started + last.seconds
    outage_s = floor_s + _rest_s(syncs)
    if ordered:
        return Outlook(next=Next.CUT_OVER, outage_s=outage_s)
    late = now - syncs[0].started > rules.deadline_s
    if rules.cutover_at:
        return _appointed(last, rules.cutover_at - now, rules.interval_s, outage_s)
    if rules.cutover is Cutover.MANUAL:
        following = Next.GIVE_UP if late else Next.WAIT
        return Outlook(next=following, outage_s=outage_s, wait_s=rules.interval_s)
    if outage_s <= rules.max_outage_s:
        return Outlook(next=Next.CUT_OVER, outage_s=outage_s)
    if len(syncs) < 3 or last.seconds <= SHRINKS * syncs[-2].seconds:
        return Outlook(next=Next.COPY, outage_s=outage_s)
    if forced:
        return Outlook(next=Next.CUT_OVER, outage_s=outage_s)
    following = Next.GIVE_UP if late else Next.WAIT
    return Outlook(next=following, outage_s=outage_s, wait_s=rules.interval_s, stuck=True)


def _appointed(last: Sync, left_s: float, interval_s: float, outage_s: float) -> Outlook:
    lead_s = max(LEAD * last.seconds, LEAST_LEAD_S)
    if left_s <= lead_s:
        return Outlook(next=Next.CUT_OVER, outage_s=outage_s, wait_s=max(0.0, left_s))
    return Outlook(next=Next.WAIT, outage_s=outage_s, wait_s=min(interval_s, left_s - lead_s))


def _rest_s(syncs: Sequence[Sync]) -> float:
    last = syncs[-1]
    quickest = min(sync.seconds for sync in syncs[1:])
    gap_s = last.started - syncs[-2].started
    share = min(1.0, last.seconds / gap_s) if gap_s > 0 else 1.0
    return quickest + (last.seconds - quickest) * share + _owed_s(syncs)


def _owed_s(syncs: Sequence[Sync]) -> float:
    """Return how long that takes which the last copy left out, as the last one that copied as much took."""
    owed = syncs[-1].owed
    alike = next((sync for sync in reversed(syncs) if sync.read and sync.read >= owed), syncs[0])
    return owed * alike.seconds / alike.read if alike.read else 0.0


def changes_bps(syncs: Sequence[Sync]) -> float:
    """Return how fast the guest changes its disks, in bits per second, as the last copies found it."""
    gap_s = syncs[-1].started - syncs[-2].started
    return (syncs[-1].read + syncs[-1].owed) * 8 / gap_s if gap_s > 0 else 0.0


def copies_bps(syncs: Sequence[Sync]) -> float:
    """Return how fast changes are copied, in bits per second of the disk."""
    return syncs[-1].read * 8 / syncs[-1].seconds if syncs[-1].seconds > 0 else 0.0
