"""A sender gives up to offer what nobody has, and begins again as soon as something is found."""

from itertools import groupby

from crossport.transfer.prospect import IN_VAIN, Prospect

BATCH = 4


def asked(prospect: Prospect, count: int, found: float = 0.0) -> list[bool]:
    """Return which of ``count`` batches were offered; of each offered chunk ``found`` is found."""
    offered = list[bool]()
    for _ in range(count):
        offered.append(prospect.takes(BATCH))
        for _ in range(BATCH if offered[-1] else 0):
            prospect.answered(found)
    return offered


def given_up() -> Prospect:
    prospect = Prospect()
    assert all(asked(prospect, IN_VAIN // BATCH))
    return prospect


def test_after_some_chunks_in_vain_only_samples_are_offered_further_and_further_apart() -> None:
    offered = asked(given_up(), 1000)
    runs = [(is_offered, len(list(run))) for is_offered, run in groupby(offered)]
    samples = [length for is_offered, length in runs if is_offered]
    gaps = [length for is_offered, length in runs if not is_offered]
    assert set(samples) == {1}
    assert gaps[:3] == [8, 16, 32]
    assert set(gaps[2:-1]) == {32}


def test_a_sample_that_is_found_brings_all_offers_back() -> None:
    prospect = given_up()
    asked(prospect, 100)
    while not prospect.takes(BATCH):
        pass
    prospect.answered(1.0)
    assert all(asked(prospect, 7))
    assert not all(asked(prospect, 2))
    asked(prospect, 100, found=1.0)
    assert all(asked(prospect, 100, found=1.0))


def test_after_a_find_the_samples_begin_near_again() -> None:
    prospect = given_up()
    asked(prospect, 1000)
    prospect.answered(1.0)
    offered = asked(prospect, 100)
    assert all(offered[: IN_VAIN // BATCH])
    gaps = [len(list(run)) for is_offered, run in groupby(offered) if not is_offered]
    assert gaps[:3] == [8, 16, 32]


def test_as_long_as_a_little_is_found_everything_is_offered() -> None:
    assert all(asked(Prospect(), 1000, found=1 / 32))
    assert not all(asked(Prospect(), 1000, found=1 / 64))


def test_nobody_gives_up_what_others_may_wait_for() -> None:
    prospect = given_up()
    assert prospect.is_open
    prospect.insist()
    assert all(asked(prospect, 1000))
    assert not prospect.is_open
