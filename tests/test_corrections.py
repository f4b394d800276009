import numpy as np
import pytest

from maskbatch.reports.agreement import agreement, cohens_kappa
from maskbatch.reports.corrections import Errors, Labelled, corrected_by_errors, sampled_rate
from maskbatch.reports.statistics import seconds_rate
from maskbatch.store.review import Verdict


def labelled(stratum, masked, p_mask, judged=None):
    """A sample in which the model judged everybody."""
    ones = np.ones(len(masked))
    return Labelled(np.array(stratum), np.array(masked, float), ones if judged is None else np.array(judged, float),
                    np.array(p_mask, float), ones)  # fmt: skip


def test_kappa_and_its_interval_are_those_of_statsmodels():
    """Cohen's kappa and its variance agree with an independent implementation."""
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    counts = np.array([[41, 3, 2], [5, 22, 1], [0, 4, 9]])
    oracle = inter_rater.cohens_kappa(counts)
    assert cohens_kappa(counts) == pytest.approx((oracle.kappa, oracle.kappa_low, oracle.kappa_upp), abs=1e-6)


def test_kappa_is_undefined_when_all_verdicts_are_the_same():
    """Nobody can agree beyond chance where chance is certain; without anybody there is nothing to say either."""
    assert cohens_kappa(np.array([[7.0]])) == (None, None, None)
    assert cohens_kappa(np.zeros((0, 0))) == (None, None, None)


def test_the_people_on_whom_reviewers_differ_are_named():
    """Each reviewer's last verdict counts; moments are not compared."""
    rows = [(1, 0, "a", "with_mask"), (1, 0, "b", "without_mask"), (1, 1, "a", "unsure"), (1, 1, "b", "unsure"),
            (1, 0, "b", "with_mask"), (2, 0, "a", "with_mask"), (2, 0, "b", "without_mask"),
            (3, None, "a", "nobody")]  # fmt: skip
    [pair] = agreement([Verdict(source, person, 0, 0, 0, verdict, 1, "", who) for source, person, who, verdict in rows])
    assert (pair.first, pair.second, pair.num_both, pair.differ) == ("a", "b", 3, ((2, 0),))
    assert pair.observed == pytest.approx(2 / 3)


def test_a_census_gives_the_truth():
    """Where everybody was looked at, the corrected rate is what reviewers saw, whatever the model said."""
    masked = np.array([1, 1, 0, 1, 0, 1, 1, 0, 1, 1] * 10)
    sample = labelled(np.zeros(100, int), masked, 1 - masked)
    found = sampled_rate(np.array([100]), sample, 1.0 - masked, np.ones(100))
    assert found.value == pytest.approx(0.7) and found.low <= 0.7 <= found.high and found.high - found.low < 0.01


def test_the_sample_corrects_a_model_that_is_wrong():
    """A model that takes a third of the bare people for masked is corrected to the share that reviewers saw."""
    rng = np.random.default_rng(3)
    truth = (rng.random(6000) < 0.6).astype(float)
    p_mask = np.where((truth == 1) | (rng.random(6000) < 1 / 3), 0.95, 0.05)
    drawn = rng.choice(6000, 600, replace=False)
    found = sampled_rate(
        np.array([6000]), labelled(np.zeros(600, int), truth[drawn], p_mask[drawn]), p_mask, np.ones(6000)
    )
    assert found.low < truth.mean() < found.high
    assert (p_mask > 0.5).mean() > found.high


def test_a_good_model_makes_the_interval_narrower_and_a_useless_one_not_wider():
    """The weight of the model follows from the sample: the interval is at most that of a model that says nothing."""
    rng = np.random.default_rng(5)
    truth = (rng.random(4000) < 0.8).astype(float)
    drawn = rng.choice(4000, 400, replace=False)
    widths = {}
    for name, p_mask in {
        "good": np.where(truth == 1, 0.97, 0.03),
        "useless": rng.random(4000),
        "none": np.full(4000, 0.5),
    }.items():
        found = sampled_rate(
            np.array([4000]), labelled(np.zeros(400, int), truth[drawn], p_mask[drawn]), p_mask, np.ones(4000)
        )
        widths[name] = found.high - found.low
    assert widths["good"] < 0.5 * widths["none"]
    assert widths["useless"] <= widths["none"] + 1e-9


def test_faces_that_are_none_leave_the_denominator():
    """People whom the reviewer could not judge, and mistakes of the detector, count neither as masked nor as bare."""
    sample = labelled(np.zeros(10, int), [1] * 4 + [0] * 6, [0.9] * 10, judged=[1] * 8 + [0] * 2)
    assert sampled_rate(np.array([10]), sample, np.full(10, 0.9), np.ones(10)).value == pytest.approx(0.5)


@pytest.mark.parametrize("number", [0, 4])
def test_too_few_looks_give_no_rate(number):
    """Fewer than five reviewed people say nothing."""
    sample = labelled(np.zeros(number, int), np.ones(number), np.ones(number))
    assert sampled_rate(np.array([50]), sample, np.ones(50), np.ones(50)) is None


def test_strata_with_one_look_are_joined():
    """A stratum with a single reviewed person has no variance of its own, and none is left out of the total."""
    sample = labelled([0, 1, 1, 1, 2, 2], [1, 0, 0, 1, 1, 1], [0.9] * 6)
    found = sampled_rate(np.array([10, 20, 30]), sample, np.full(60, 0.9), np.ones(60))
    assert 0 <= found.low < found.value < found.high <= 1


def test_errors_from_elsewhere_correct_the_rate():
    """Rogan and Gladen: (rate + specificity - 1) / (sensitivity + specificity - 1), with a wider interval."""
    found = corrected_by_errors(700, 1000, Errors(200, 180, 100, 95))
    assert found.value == pytest.approx((0.7 + 0.95 - 1) / (0.9 + 0.95 - 1))
    surer = corrected_by_errors(700, 1000, Errors(20_000, 18_000, 10_000, 9_500))
    assert found.low < surer.low < found.value < surer.high < found.high


def test_a_model_that_guesses_corrects_nothing():
    """Without any power there is no corrected rate; neither is there without people or figures."""
    assert corrected_by_errors(50, 100, Errors(100, 50, 100, 40)) is None
    assert corrected_by_errors(0, 0, Errors(100, 90, 100, 90)) is None
    assert corrected_by_errors(5, 10, Errors(0, 0, 100, 90)) is None


def test_lang_and_reiczigel_cover_the_truth():
    """Over made-up studies the 95 % interval holds the true rate in 93 to 98 of 100."""
    rng, held = np.random.default_rng(11), 0
    for _ in range(2000):
        masked = rng.binomial(300, 0.85)
        seen = rng.binomial(masked, 0.95) + rng.binomial(300 - masked, 0.04)
        errors = Errors(400, rng.binomial(400, 0.95), 300, rng.binomial(300, 0.96))
        found = corrected_by_errors(seen, 300, errors)
        held += found.low <= 0.85 <= found.high
    assert 0.93 <= held / 2000 <= 0.98


def test_seconds_have_an_interval_from_five_recordings_on():
    """The bootstrap over recordings holds the share, is repeatable, and needs five of them."""
    hits, totals = np.array([50.0, 80, 90, 70, 100, 20]), np.full(6, 100.0)
    found = seconds_rate(hits, totals)
    assert found.value == pytest.approx(410 / 600) and found.low < found.value < found.high
    assert found == seconds_rate(hits, totals)
    assert seconds_rate(hits[:4], totals[:4]).low is None
    assert seconds_rate(np.zeros(0), np.zeros(0)).value is None


@pytest.mark.parametrize("number", [1, 6])
def test_seconds_are_not_cut_to_whole_ones(number):
    """The page shows the denominator in tenths, as the tables do, with an interval and without."""
    found = seconds_rate(np.full(number, 7.84), np.full(number, 7.84))
    assert found.denominator == pytest.approx(number * 7.84)
