"""The difference between two ways of training: images and training seeds are both random."""

import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from abo_vqa.common.errors import InputError
from abo_vqa.comparison.training import (
    Components,
    components,
    detectable_difference,
    half_width,
    independent_training_difference,
    training_difference,
)
from abo_vqa.statistics.intervals import POWER, mean_difference
from paths import ROOT

sys.path.append(str(ROOT / "benchmarks"))
from experiments import Training, training_rates

IMAGES = [str(i // 5) for i in range(800)]


def gains(seed: int, replicates: int = 3, deviation: float = 0.05) -> np.ndarray:
    """Return (questions, replicates) of 1, 0 and -1 in the order of IMAGES."""
    rng = np.random.default_rng(seed)
    lead = 0.1 + rng.normal(0, deviation, replicates) + rng.normal(0, 0.1, (160, 1)).repeat(5, 0)
    return rng.choice([-1.0, 0.0, 1.0], (800, replicates), p=[0.1, 0.6, 0.3]) * (rng.random(lead.shape) < 0.5 + lead)


@pytest.mark.parametrize("seed", range(5))
def test_if_replicates_are_equal_it_is_the_test_over_images(seed):
    one = gains(seed, 1)
    found, alone = training_difference(one.repeat(4, 1), IMAGES, 0.95), mean_difference(one[:, 0], IMAGES, 0.95)
    for name in ("n", "estimate", "low", "high", "p", "detectable"):
        assert getattr(found, name) == pytest.approx(getattr(alone, name)), name
    assert (found.seed_error, found.seed_deviation, found.image_degrees) == pytest.approx((0, 0, 159))


@pytest.mark.parametrize("leads", [[0.02, 0.06, 0.07], [-0.05, 0.01, 0.02, 0.02, 0.08]])
def test_if_questions_are_alike_it_is_students_t_test_over_replicates(leads):
    found = training_difference(np.tile(leads, (5000, 1)), [str(i) for i in range(5000)], 0.95)
    test = ttest_1samp(leads, 0)
    limits = test.confidence_interval(0.95)
    assert (found.p, found.low, found.high) == pytest.approx((test.pvalue, limits.low, limits.high), rel=2e-3)
    assert found.seed_deviation == pytest.approx(np.std(leads, ddof=1))
    assert found.seed_error == pytest.approx(np.std(leads, ddof=1) / len(leads) ** 0.5)


def test_the_components_are_those_that_were_put_in():
    sums = Training(replicates=10, seed_deviation=0.05, image_effect=0.3).draw(1000, np.random.default_rng(1))
    found = components(sums, np.full(160, 5.0), 1.0)
    estimate = found.estimate.var()
    assert (found.images + found.replicates).mean() == pytest.approx(estimate, rel=0.13)
    assert ((found.replicates - found.interaction) * 10).mean() == pytest.approx(0.05**2, rel=0.1)


@pytest.mark.parametrize(("replicates", "reason"), [(1, "one training run"), (2, "2 training runs, fewer than 3")])
def test_with_fewer_than_three_replicates_nothing_is_said(replicates, reason):
    found = training_difference(gains(0, replicates), IMAGES, 0.95)
    assert found.unsaid == reason
    assert (found.low, found.high, found.p, found.detectable) == (-1, 1, 1, 1)
    assert found.image_error is found.seed_deviation is None


def test_one_image_says_nothing_and_none_is_refused():
    found = training_difference(gains(0)[:5], ["a"] * 5, 0.95, bound=2.0)
    assert (found.unsaid, found.low, found.high, found.p) == ("one image", -2, 2, 1)
    with pytest.raises(InputError, match="no questions"):
        training_difference(np.zeros((0, 3)), [], 0.95)
    with pytest.raises(InputError, match=r"shape \(800,\)"):
        training_difference(np.zeros(800), IMAGES, 0.95)


def test_equal_ways_have_p_one_and_a_detectable_difference():
    found = training_difference(np.zeros((800, 3)), IMAGES, 0.95)
    assert (found.estimate, found.p, found.seed_deviation) == (0, 1, 0)
    assert -0.05 < found.low < 0 < found.high < found.detectable < 0.1


@pytest.mark.parametrize("replicates", [3, 5])
def test_p_is_small_exactly_if_the_interval_excludes_zero(replicates):
    seen = set()
    for seed in range(30):
        matrix = gains(seed, replicates, 0.2)
        for confidence in (0.8, 0.95, 0.9999):
            found = training_difference(matrix, IMAGES, confidence)
            assert (found.p < 1 - confidence) == (not found.low <= 0 <= found.high)
            assert found.detectable > 0
            seen.add((confidence, found.p < 1 - confidence))
    assert {shown for _, shown in seen} == {True, False}


def test_a_smaller_p_needs_a_wider_interval_whatever_the_components():
    tails = np.geomspace(1e-12, 0.999, 300)
    for images in (0.0, 0.1, 1.0, 3.0, 30.0):
        for spread in (0.0, 0.1, 0.3, 0.6, 0.9, 1.0, 2.0, 30.0):
            for replicates in (3, 5, 10):
                found = Components(*(np.full(300, value) for value in (0.0, images, 1.0, spread)))
                widths = half_width(found, 159, replicates, tails)
                assert (np.diff(widths) < 0).all(), (images, spread, replicates)


def test_an_interval_at_p_ends_at_zero():
    matrix = gains(1, 3, 0.02)
    found = training_difference(matrix, IMAGES, 0.95)
    at_p = training_difference(matrix, IMAGES, 1 - found.p)
    assert min(abs(at_p.low), abs(at_p.high)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("replicates", "deviation"), [(3, 0.02), (10, 0.02), (5, 0.05)])
def test_a_difference_of_the_detectable_size_is_found_four_times_in_five(replicates, deviation):
    design, sizes = Training(replicates, deviation), np.full(160, 5.0)
    true = components(design.draw(200, np.random.default_rng(0)), sizes, 1.0)
    mean = Components(*(getattr(true, name).mean() for name in ("estimate", "images", "interaction", "replicates")))
    effect = detectable_difference(mean, 159, replicates, 0.95)
    sums = Training(replicates, deviation, effect=effect).draw(400, np.random.default_rng(1))
    found = components(sums, sizes, 1.0)
    # Three standard errors of 400 experiments are 6 points.
    assert abs((found.estimate > half_width(found, 159, replicates, 0.05)).mean() - POWER) < 0.06


def tables(matrix: np.ndarray) -> list[pd.DataFrame]:
    names = [f"q{i}" for i in range(len(matrix))]
    images = [str(i // 5) for i in range(len(matrix))]
    return [pd.DataFrame({"qa_id": names, "image_group": images, "correct": column}) for column in matrix.T]


def test_a_model_without_replicates_is_compared_with_each_of_the_other():
    rng = np.random.default_rng(0)
    arm, base = rng.random((100, 3)) < 0.7, rng.random((100, 1)) < 0.5
    found = independent_training_difference(tables(arm), tables(base), 0.95)
    expected = training_difference(arm.astype(float) - base, [str(i // 5) for i in range(100)], 0.95)
    assert found == expected
    turned = independent_training_difference(tables(base), tables(arm), 0.95)
    assert (turned.low, turned.high, turned.p) == pytest.approx((-found.high, -found.low, found.p))


def test_replicates_are_matched_by_question():
    rng = np.random.default_rng(0)
    arm, other = rng.random((100, 3)) < 0.7, rng.random((100, 3)) < 0.5
    mixed = [table.sample(frac=1, random_state=place) for place, table in enumerate(tables(other))]
    found = independent_training_difference(tables(arm), mixed, 0.95)
    # Shuffled clusters come in another order, which the last bits may show.
    straight = independent_training_difference(tables(arm), tables(other), 0.95)
    assert (found.low, found.p) == pytest.approx((straight.low, straight.p))
    with pytest.raises(InputError, match="3 replicates against 2"):
        independent_training_difference(tables(arm), tables(other)[:2], 0.95)
    with pytest.raises(InputError, match=r"different questions: 1 .* q99"):
        independent_training_difference(tables(arm), [table[:99] for table in tables(other)], 0.95)


def test_independent_replicates_may_be_in_any_order():
    arm, other = tables(gains(1) > 0), tables(gains(2) > 0)
    found = independent_training_difference(arm, other, 0.95)
    for place in (1, 2):
        turned = independent_training_difference(arm, other[place:] + other[:place], 0.95)
        assert vars(turned) == pytest.approx(vars(found))


def test_the_components_of_independent_replicates_are_both_ways_together():
    """Of two ways that answer every question alike, the seeds are all that is left: their variances add up."""
    leads = np.array([[0.1, 0.3, 0.5], [0.4, 0.2, 0.3]])
    ones, others = (np.arange(5000)[:, None] % 10 < 10 * lead for lead in leads)
    found = independent_training_difference(tables(ones), tables(others), 0.95)
    assert found.seed_deviation == pytest.approx(np.sqrt(leads.var(1, ddof=1).sum()), rel=0.01)


def test_sorting_the_replicates_by_accuracy_shows_no_difference_of_equal_ways():
    """Paired by place, sorted replicates agree by construction: at these settings every third pair would differ."""
    rng, shown = np.random.default_rng(0), []
    for _ in range(120):
        chances = rng.normal(0.6, 0.08, (2, 1, 3)) + rng.normal(0, 0.1, (150, 1))
        ways = [tables(rng.random((150, 3)) < way) for way in chances]
        found = independent_training_difference(
            *(sorted(way, key=lambda run: run["correct"].mean()) for way in ways), 0.95
        )
        shown.append(found.p < 0.05)
    assert np.mean(shown) <= 0.08


@pytest.mark.slow
def test_simulated_ways_of_training_are_covered_and_images_alone_are_not_enough():
    """400 experiments a cell: three standard errors are 3.3 points, over all nine cells 1.1."""
    covered, rejected = [], []
    for deviation in (0.0, 0.02, 0.05):
        for replicates in (3, 5, 10):
            found = training_rates(Training(replicates, deviation, effect=0.04), 400, replicates).covered
            assert 0.917 <= found["images and seeds"] <= 0.983, (deviation, replicates, found)
            covered.append(found["images and seeds"])
            null = training_rates(Training(replicates, deviation), 400, replicates).covered
            rejected.append(1 - null["images and seeds"])
            if deviation == 0.05 and replicates < 10:
                assert found["images"] < 0.85, (replicates, found)
    assert np.mean(rejected) <= 0.061, rejected
    assert 0.939 <= np.mean(covered) <= 0.967, covered
