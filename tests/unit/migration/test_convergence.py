"""When a warm migration goes over, as tables: what follows from the copies made so far."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from crossport.migration.convergence import Next, changes_bps, copies_bps, outlook
from crossport.model.run import Cutover, Sync, WarmRules

MIB = 1 << 20


def syncs(*seconds: float, pause_s: float = 0.0) -> list[Sync]:
    """Return copies that followed one another, with a pause between."""
    made: list[Sync] = []
    now = 1000.0
    for index, each in enumerate(seconds):
        what = "delta" if index else "first"
        made.append(Sync(what=what, started=now, seconds=each, read=MIB * round(each), sent=0))
        now += each + pause_s
    return made


@pytest.mark.parametrize(
    ("copies", "following", "outage_s"),
    [
        ((100,), Next.COPY, None),
        ((100, 20), Next.CUT_OVER, 30 + 20),
        ((1000, 60), Next.COPY, 30 + 60),
        ((1000, 100, 60), Next.COPY, 30 + 60),
        ((1000, 100, 60, 40), Next.CUT_OVER, 30 + 40),
        ((1000, 100, 90), Next.WAIT, 30 + 90),
        ((1000, 100, 200), Next.WAIT, 30 + 200),
    ],
)
def test_copies_follow_one_another_while_they_get_shorter(
    copies: Sequence[float], following: Next, outage_s: float | None
):
    look = outlook(syncs(*copies), WarmRules(max_outage_s=75.0), 30.0, ordered=False, forced=False)
    assert (look.next, look.outage_s) == (following, outage_s)
    assert look.stuck == (following is Next.WAIT)


def test_after_a_pause_the_last_copy_has_less_to_do_than_the_one_before():
    copies = syncs(100, 2, 62, pause_s=298)
    look = outlook(copies, WarmRules(max_outage_s=60.0), 30.0, ordered=False, forced=False)
    assert look.outage_s == pytest.approx(30 + 2 + 60 * 62 / 300)
    assert look.next is Next.CUT_OVER


def test_what_is_owed_counts_as_part_of_the_outage():
    """The copy before took 60 s for 60 MiB; the last one left out 20 MiB of them."""
    copies = syncs(1000, 60, 10)
    copies[-1] = replace(copies[-1], owed=20 * MIB)
    look = outlook(copies, WarmRules(max_outage_s=55.0), 30.0, ordered=False, forced=False)
    assert look.outage_s == pytest.approx(30 + 10 + 20)
    assert look.next is Next.COPY
    assert changes_bps(copies) == pytest.approx(30 * MIB * 8 / 60)


def test_what_is_owed_is_judged_by_a_copy_that_had_as_much_to_read():
    copies = syncs(1000, 60, 10)
    copies[0] = replace(copies[0], read=5000 * MIB)
    copies[-1] = replace(copies[-1], owed=100 * MIB)
    look = outlook(copies, WarmRules(), 30.0, ordered=False, forced=False)
    assert look.outage_s == pytest.approx(30 + 10 + 100 * 1000 / 5000)


@pytest.mark.parametrize("rules", [WarmRules(cutover=Cutover.MANUAL), WarmRules(cutover_at=9e9)])
def test_a_person_decides_when_told_so(rules: WarmRules):
    assert outlook(syncs(100, 2), rules, 1.0, ordered=False, forced=False).next is Next.WAIT
    assert outlook(syncs(100, 2), rules, 1.0, ordered=True, forced=False).next is Next.CUT_OVER
    assert outlook(syncs(100), rules, 1.0, ordered=True, forced=False).next is Next.COPY


@pytest.mark.parametrize(
    ("left_s", "following", "wait_s"),
    [
        (1000.0, Next.WAIT, 300.0),
        (200.0, Next.WAIT, 185.0),
        (10.0, Next.CUT_OVER, 10.0),
        (-5.0, Next.CUT_OVER, 0.0),
    ],
)
def test_an_appointed_time_is_met_with_a_fresh_copy(left_s: float, following: Next, wait_s: float):
    copies = syncs(100, 10)
    rules = WarmRules(cutover_at=1110.0 + left_s)
    look = outlook(copies, rules, 1e6, ordered=False, forced=False)
    assert (look.next, look.wait_s) == (following, wait_s)


@pytest.mark.parametrize("cutover", list(Cutover))
def test_nobody_waits_for_ever(cutover: Cutover):
    rules = WarmRules(cutover=cutover, deadline_s=500.0)
    assert outlook(syncs(100, 200, 190), rules, 1e6, ordered=False, forced=False).next is Next.WAIT
    assert outlook(syncs(100, 210, 200), rules, 1e6, ordered=False, forced=False).next is Next.GIVE_UP


def test_what_was_accepted_beforehand_is_not_asked():
    assert outlook(syncs(1000, 100, 90), WarmRules(), 1e6, ordered=False, forced=True).next is Next.CUT_OVER
    assert outlook(syncs(1000, 100, 60), WarmRules(), 1e6, ordered=False, forced=True).next is Next.COPY


def test_rates_are_those_of_the_last_copies():
    copies = syncs(100, 10, 20)
    assert changes_bps(copies) == 20 * MIB * 8 / 10
    assert copies_bps(copies) == MIB * 8
