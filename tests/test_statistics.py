import numpy as np
import pytest

from maskbatch.reports.statistics import clustered_rate, seconds_rate


def rate(hits, totals):
    return clustered_rate(np.array(hits), np.array(totals))


def test_people_of_one_recording_have_wilsons_interval():
    """Without a second recording nothing tells how alike its people are; the figures are those of Wilson's formula."""
    found = rate([81], [263])
    assert (found.value, found.denominator, found.design_effect) == (pytest.approx(81 / 263), 263, 1.0)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)  # Newcombe 1998, table I


def test_recordings_that_differ_widen_the_interval():
    """The same share of the same people is less sure when whole recordings go one way."""
    alike, apart = rate([8] * 10, [10] * 10), rate([10] * 8 + [0] * 2, [10] * 10)
    assert alike.value == apart.value == 0.8
    assert apart.design_effect > 8 > 2 > alike.design_effect
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)


@pytest.mark.parametrize(("hits", "totals"), [([], []), ([0], [0]), ([0, 0], [0, 0])])
def test_nobody_has_no_rate(hits, totals):
    """The words say so."""
    found = rate(hits, totals)
    assert found.value is None and found.denominator == 0 and str(found) == "nobody could be judged"


def test_fewer_than_five_people_have_no_interval():
    """Their share is given with its denominator only."""
    assert str(rate([1, 2], [2, 2])) == "75.0% of 4 people"
    assert rate([2, 2], [3, 2]).low is not None


@pytest.mark.parametrize("hits", [0, 50])
def test_all_or_nobody_leaves_room_for_others(hits):
    """A share of 0 or 1 has an interval of some width, within 0 and 1."""
    found = rate([hits], [50])
    assert 0 <= found.low <= found.value <= found.high <= 1 and found.high - found.low > 0.05


def test_the_order_of_recordings_and_empty_ones_change_nothing():
    """Files without people are no clusters."""
    first, second = rate([3, 9, 5], [4, 10, 5]), rate([5, 0, 9, 3], [5, 0, 10, 4])
    assert first == second and second.num_clusters == 3


def test_the_interval_holds_the_truth():
    """Of 300 made-up sites whose recordings are alike by 0.1, at 80 to 95 %, nine in ten and more (coverage.py)."""
    rng = np.random.default_rng(1)
    for true in (0.8, 0.95):
        held = 0
        for _ in range(300):
            totals = 1 + rng.poisson(19, 30)
            found = clustered_rate(rng.binomial(totals, rng.beta(9 * true, 9 * (1 - true), 30)), totals)
            held += found.low <= true <= found.high
        assert 0.9 < held / 300 <= 0.99


def test_a_rate_says_what_it_counts():
    """A share of seconds, to a tenth, or of episodes is not one of people."""
    assert str(seconds_rate(np.array([17.04]), np.array([20.04]))) == "85.0% of 20.0 person-seconds"
    assert str(clustered_rate(np.array([1]), np.array([2]), unit="episodes")) == "50.0% of 2 episodes"
