"""Intervals that cover what they say, and paired tests checked against textbook values."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, ttest_1samp

from abo_vqa.common.errors import InputError
from abo_vqa.statistics.intervals import (
    POWER,
    align,
    cluster_interval,
    cluster_test,
    mean_difference,
    paired_difference,
)


def answers(correct: Sequence[bool], images: Sequence[str] | None = None) -> pd.DataFrame:
    names = [f"q{i}" for i in range(len(correct))]
    return pd.DataFrame({"qa_id": names, "image_id": images or names, "correct": correct})


def test_the_estimate_is_the_mean_over_questions_not_over_images():
    found = cluster_interval([1, 1, 1, 0], ["a", "a", "a", "b"], 0.95, 500, 0)
    assert (found.n, found.estimate) == (4, 0.75)
    assert found.low == 0 and found.high == 1


def test_without_clusters_it_is_the_binomial_interval():
    values = np.arange(1000) < 700
    found = cluster_interval(values, [str(i) for i in range(1000)], 0.95, 4000, 0)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 1000)
    assert (found.low, found.high) == pytest.approx((0.7 - half, 0.7 + half), abs=0.003)


def test_copies_of_a_question_add_no_certainty():
    values, images = np.tile(np.arange(200) < 120, 5), [str(i) for i in range(200)] * 5
    once = cluster_interval(values[:200], images[:200], 0.95, 2000, 0)
    copied = cluster_interval(values, images, 0.95, 2000, 0)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))
    assert copied.n == 1000


def test_the_same_seed_gives_the_same_interval_and_another_a_near_one():
    values, images = np.random.default_rng(0).random(200) < 0.4, [str(i // 3) for i in range(200)]
    one, same, other = (cluster_interval(values, images, 0.95, 2000, seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert one.low == pytest.approx(other.low, abs=0.02)


def test_a_higher_confidence_is_wider():
    values, images = [i % 3 == 0 for i in range(90)], [str(i // 5) for i in range(90)]
    narrow, wide = (cluster_interval(values, images, level, 2000, 1) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_one_image_says_nothing_and_none_is_refused():
    found = cluster_interval([1, 1, 0], ["a"] * 3, 0.95, 100, 0)
    assert (found.low, found.high) == (0, 1)
    assert cluster_test([1, 1, 0], ["a"] * 3) == (1, float("inf"))
    alone = mean_difference([1.0, 1.0, 0.0], ["a"] * 3, 0.95, 100, 0)
    assert (alone.low, alone.high, alone.robust_p, alone.detectable) == (-1, 1, 1, 1)
    with pytest.raises(InputError, match="no questions"):
        cluster_interval([], [], 0.95, 100, 0)


@pytest.mark.slow
def test_with_five_correlated_questions_an_image_the_interval_covers_and_the_naive_one_does_not():
    rng = np.random.default_rng(20261122)
    trials, images, each, truth = 500, 120, 5, 0.6
    names = [str(i) for i in range(images) for _ in range(each)]
    alone = [str(i) for i in range(images * each)]
    covered = {"clusters": 0, "naive": 0}
    for trial in range(trials):
        # Beta(0.6, 0.4): mean 0.6, correlation of two questions on one image 1 / (0.6 + 0.4 + 1) = 0.5.
        ability = rng.beta(0.6, 0.4, images).repeat(each)
        values = rng.random(images * each) < ability
        for method, clusters in (("clusters", names), ("naive", alone)):
            found = cluster_interval(values, clusters, 0.95, 500, trial)
            covered[method] += found.low <= truth <= found.high
    # Three standard errors of 500 trials around 95 %, a little less for the bootstrap's own shortness.
    assert 0.915 <= covered["clusters"] / trials <= 0.98
    assert covered["naive"] / trials < 0.85


@pytest.mark.slow
def test_between_two_equal_models_the_interval_covers_and_the_test_rejects_as_often_as_they_say():
    """2,000 replications: a standard error is 0.5 points, so that 1.5 points either side are three.

    999 resamples are enough for that: the percentile interval of B of them covers 2 (1 - 0.05) / (B + 1) less than that
    of infinitely many, which is 0.2 points.
    """
    rng = np.random.default_rng(20261122)
    trials, images, each = 2000, 150, 5
    names = [str(i) for i in range(images) for _ in range(each)]
    count = {"covered": 0, "rejected": 0, "naive covered": 0, "McNemar rejected": 0}
    for trial in range(trials):
        # Each model has its own luck with each image: two of its answers there correlate 1 / (0.6 + 0.4 + 1) = 0.5.
        tables = [answers(rng.random(images * each) < rng.beta(0.6, 0.4, images).repeat(each), names) for _ in range(2)]
        found = paired_difference(*tables, 0.95, 999, trial)
        gains = tables[0]["correct"].astype(float) - tables[1]["correct"]
        naive = norm.interval(0.95, gains.mean(), gains.std() / len(gains) ** 0.5)
        count["covered"] += found.low <= 0 <= found.high
        count["rejected"] += found.robust_p < 0.05
        count["naive covered"] += naive[0] <= 0 <= naive[1]
        count["McNemar rejected"] += found.mcnemar_p < 0.05
    shares = {name: value / trials for name, value in count.items()}
    assert 0.935 <= shares["covered"] <= 0.965, shares
    assert 0.035 <= shares["rejected"] <= 0.065, shares
    assert shares["naive covered"] < 0.85, shares
    assert shares["McNemar rejected"] > 0.15, shares


def test_a_difference_of_the_detectable_size_is_found_four_times_in_five():
    rng = np.random.default_rng(3)
    images, each, trials = 150, 4, 400
    names = [str(i) for i in range(images) for _ in range(each)]

    def gains(lead: float) -> np.ndarray:
        return rng.normal(0, 0.3, images).repeat(each) + rng.normal(lead, 0.4, images * each)

    detectable = np.mean([mean_difference(gains(0), names, 0.95, 9, 0).detectable for _ in range(20)])
    found = sum(cluster_test(gains(detectable), names)[0] < 0.05 for _ in range(trials))
    # Three standard errors of 400 trials are 6 points.
    assert abs(found / trials - POWER) < 0.06


def test_with_one_question_an_image_it_is_students_t_test():
    gains = np.repeat([1.0, 0.0, -1.0], [30, 50, 12])
    p, error = cluster_test(gains, [str(i) for i in range(len(gains))])
    assert p == pytest.approx(ttest_1samp(gains, 0).pvalue)
    assert error == pytest.approx(gains.std(ddof=1) / len(gains) ** 0.5)


def test_clusters_of_different_sizes_by_hand():
    # Sums 2, 1, 0, 1 of 2, 1, 3, 4 questions; mean 0.4; what is left of the sums: 1.2, 0.6, -1.2, -0.6.
    gains, images = [1, 1, 1, 0, 0, 0, 1, 1, 0, -1], list("aabccc") + ["d"] * 4
    p, error = cluster_test(gains, images)
    assert error == pytest.approx((4 / 3 * (1.2**2 + 0.6**2 + 1.2**2 + 0.6**2)) ** 0.5 / 10)
    # Three images differ: flipping their signs gives all pluses or all minuses in 2 of 8 cases.
    assert p == 2 / 8


def test_copies_of_a_question_do_not_lower_p():
    gains, images = np.repeat([1.0, 0.0, -1.0], [20, 60, 8]), [str(i) for i in range(88)]
    once, copied = cluster_test(gains, images), cluster_test(np.tile(gains, 5), images * 5)
    assert copied == pytest.approx(once)


def test_where_few_images_differ_p_is_no_smaller_than_the_sign_test_could_give():
    gains, images = [1.0] * 3 + [0.0] * 97, [str(i) for i in range(100)]
    assert cluster_test(gains, images)[0] == 0.25
    assert cluster_test([1.0] * 6, list("aabbcc"))[0] == 0.25
    assert cluster_test([0.0] * 6, list("aabbcc")) == (1, 0)


def test_a_paired_difference_by_hand():
    first = answers([True] * 10 + [False] * 2 + [True] * 20 + [False] * 8)
    second = answers([False] * 10 + [True] * 2 + [True] * 20 + [False] * 8)
    found = paired_difference(first, second, 0.95, 1000, 0)
    assert (found.only_first, found.only_second, found.n) == (10, 2, 40)
    assert found.estimate == pytest.approx(8 / 40)
    assert 0 < found.low < found.estimate < found.high
    # Two-sided binomial test of 2 in 12: 2 (1 + 12 + 66) / 2^12.
    assert found.mcnemar_p == pytest.approx(2 * 79 / 4096)
    gains = np.repeat([1.0, -1.0, 0.0], [10, 2, 28])
    assert found.robust_p == pytest.approx(ttest_1samp(gains, 0).pvalue)
    # 1.96 standard errors to be significant, 0.84 more to be so in 80 % of cases.
    assert found.detectable == pytest.approx(2.8016 * gains.std(ddof=1) / 40**0.5, rel=1e-4)


def test_a_model_against_itself():
    table = answers([True, False, True])
    found = paired_difference(table, table, 0.95, 100, 0)
    assert (found.estimate, found.low, found.high, found.mcnemar_p, found.robust_p) == (0, 0, 0, 1, 1)


def test_rows_are_matched_by_question_not_by_order():
    first, second = answers([True, True, False, False]), answers([True, False, False, False])
    found = paired_difference(first, second.iloc[::-1].reset_index(drop=True), 0.95, 100, 0)
    assert (found.only_first, found.only_second) == (1, 0)


def test_different_questions_are_refused_by_name():
    with pytest.raises(InputError, match=r"different questions: 1 .* q3"):
        paired_difference(answers([True] * 4), answers([True] * 3), 0.95, 100, 0)


def test_a_question_that_is_there_twice_is_refused_by_name():
    table = answers([True, False])
    with pytest.raises(InputError, match=r"question q0 .* more than once"):
        align(pd.concat([table, table.iloc[:1]]), table)
