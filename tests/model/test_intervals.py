"""Intervals that cover what they say, and paired tests checked against textbook values."""

import numpy as np
import pandas as pd
import pytest

from abo_vqa.errors import InputError
from abo_vqa.measure.intervals import cluster_interval, paired_difference


def answers(correct, images=None) -> pd.DataFrame:
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
def test_with_no_difference_the_paired_interval_covers_zero():
    rng = np.random.default_rng(7)
    trials, images, each = 400, 120, 5
    names = [str(i) for i in range(images) for _ in range(each)]
    covered = 0
    for trial in range(trials):
        shared = rng.beta(2, 1, images).repeat(each)
        # Each model has its own luck with each image, so that their difference is correlated within one.
        tables = [
            answers(rng.random(images * each) < shared * rng.beta(4, 1, images).repeat(each), names) for _ in range(2)
        ]
        found = paired_difference(*tables, 0.95, 500, trial)
        covered += found.low <= 0 <= found.high
    assert 0.915 <= covered / trials <= 0.98


def test_a_paired_difference_by_hand():
    first = answers([True] * 10 + [False] * 2 + [True] * 20 + [False] * 8)
    second = answers([False] * 10 + [True] * 2 + [True] * 20 + [False] * 8)
    found = paired_difference(first, second, 0.95, 1000, 0)
    assert (found.only_first, found.only_second, found.n) == (10, 2, 40)
    assert found.estimate == pytest.approx(8 / 40)
    assert 0 < found.low < found.estimate < found.high
    # Two-sided binomial test of 2 in 12: 2 (1 + 12 + 66) / 2^12.
    assert found.mcnemar_p == pytest.approx(2 * 79 / 4096)


def test_a_model_against_itself():
    table = answers([True, False, True])
    found = paired_difference(table, table, 0.95, 100, 0)
    assert (found.estimate, found.low, found.high, found.mcnemar_p) == (0, 0, 0, 1)


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
        paired_difference(pd.concat([table, table.iloc[:1]]), table, 0.95, 100, 0)
