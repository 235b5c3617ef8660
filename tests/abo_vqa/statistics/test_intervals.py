"""Intervals that cover what they say, and paired tests checked against textbook values."""

import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, norm, t, ttest_1samp

from abo_vqa.common.errors import InputError
from abo_vqa.statistics.intervals import POWER, align, cluster_interval, mean_difference, paired_difference
from paths import ROOT

sys.path.append(str(ROOT / "benchmarks"))
from experiments import Small, Training, family_rates, small_rates


def answers(correct: Sequence[bool], images: Sequence[str] | None = None) -> pd.DataFrame:
    names = [f"q{i}" for i in range(len(correct))]
    return pd.DataFrame({"qa_id": names, "image_group": images or names, "correct": correct})


def test_the_estimate_is_the_mean_over_questions_not_over_images():
    found = cluster_interval([1, 1, 1, 0], ["a", "a", "a", "b"], 0.95)
    assert (found.n, found.estimate) == (4, 0.75)
    assert 0 <= found.low < 0.1
    assert 0.9 < found.high <= 1


def test_without_clusters_it_is_wilsons_interval():
    values = np.arange(1000) < 700
    found = cluster_interval(values, [str(i) for i in range(1000)], 0.95)
    wilson = binomtest(700, 1000).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high), abs=2e-4)


def test_copies_of_a_question_add_no_certainty():
    values, images = np.tile(np.arange(200) < 120, 5), [str(i) for i in range(200)] * 5
    once, copied = cluster_interval(values[:200], images[:200], 0.95), cluster_interval(values, images, 0.95)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high), abs=1e-3)
    assert copied.n == 1000


def test_a_higher_confidence_is_wider():
    values, images = [i % 3 == 0 for i in range(90)], [str(i // 5) for i in range(90)]
    narrow, wide = (cluster_interval(values, images, level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_one_image_says_nothing_and_none_is_refused():
    found = cluster_interval([1, 1, 0], ["a"] * 3, 0.95)
    assert (found.low, found.high) == (0, 1)
    alone = mean_difference([1.0, 1.0, 0.0], ["a"] * 3, 0.95)
    assert (alone.low, alone.high, alone.p, alone.detectable) == (-1, 1, 1, 1)
    with pytest.raises(InputError, match="no questions"):
        cluster_interval([], [], 0.95)
    with pytest.raises(InputError, match="outside 0 and 1"):
        cluster_interval([1, -1], ["a", "b"], 0.95)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_perfect_model_is_known_as_well_as_its_images_are_many(value):
    images = [str(i // 5) for i in range(100)]
    found = cluster_interval([value] * 100, images, 0.95)
    quantile = t.ppf(0.975, 19) ** 2
    assert found.high - found.low == pytest.approx(quantile / (20 + quantile))
    assert found.low == 0 or found.high == 1


def test_scores_that_are_all_alike_but_not_certain_have_an_interval():
    found = cluster_interval([0.25] * 100, [str(i // 5) for i in range(100)], 0.95)
    assert 0.15 < found.low < 0.25 < found.high < 0.37


@pytest.mark.parametrize("accuracy", [0.6, 0.9, 0.96])
@pytest.mark.parametrize("images", [2, 3, 5, 10, 20, 40, 150])
def test_accuracies_on_few_images_are_covered(images, accuracy):
    found = small_rates(Small(images, correlation=0.4, accuracy=accuracy), 500, images, resamples=99)
    # Three standard errors of 500 experiments below 95 %.
    assert found.covered["t"] > 0.92, found
    if images <= 20 and accuracy > 0.9:
        assert found.covered["bootstrap"] < 0.85, found


@pytest.mark.parametrize(("differing", "effect"), [(0.3, 0.0), (0.3, 0.1), (0.05, 0.02)])
@pytest.mark.parametrize("images", [2, 3, 5, 10, 20, 40, 150])
def test_differences_on_few_images_are_covered(images, differing, effect):
    design = Small(images, correlation=0.4, differing=differing, effect=effect)
    assert small_rates(design, 500, images, resamples=9).covered["t"] > 0.92


def test_look_alike_images_count_once_if_clusters_are_groups():
    design = Training(replicates=1, seed_deviation=0.0, images=200, family=60, image_effect=0.6)
    found = family_rates(design, 600, 0).covered
    assert 1 - found["group"] <= 0.075, found
    assert 1 - found["image"] > 0.3, found


@pytest.mark.slow
def test_between_two_equal_models_the_interval_covers_and_naive_ones_do_not():
    rng = np.random.default_rng(20261122)
    trials, images, each = 300, 150, 5
    names = [str(i) for i in range(images) for _ in range(each)]
    count = {"covered": 0, "naive covered": 0, "McNemar rejected": 0}
    for _ in range(trials):
        # Each model has its own luck with each image: two of its answers there correlate 1 / (0.6 + 0.4 + 1) = 0.5.
        tables = [answers(rng.random(images * each) < rng.beta(0.6, 0.4, images).repeat(each), names) for _ in range(2)]
        found = paired_difference(*tables, 0.95)
        gains = tables[0]["correct"].astype(float) - tables[1]["correct"]
        naive = norm.interval(0.95, gains.mean(), gains.std() / len(gains) ** 0.5)
        assert (found.p < 0.05) == (not found.low <= 0 <= found.high)
        count["covered"] += found.low <= 0 <= found.high
        count["naive covered"] += naive[0] <= 0 <= naive[1]
        count["McNemar rejected"] += found.mcnemar_p < 0.05
    shares = {name: value / trials for name, value in count.items()}
    # Three standard errors of 300 trials.
    assert 0.912 <= shares["covered"] <= 0.988, shares
    assert shares["naive covered"] < 0.85, shares
    assert shares["McNemar rejected"] > 0.15, shares


def test_a_difference_of_the_detectable_size_is_found_four_times_in_five():
    rng = np.random.default_rng(3)
    images, each, trials = 150, 4, 400
    names = [str(i) for i in range(images) for _ in range(each)]

    def gains(lead: float) -> np.ndarray:
        return rng.normal(0, 0.3, images).repeat(each) + rng.normal(lead, 0.4, images * each)

    detectable = np.mean([mean_difference(gains(0), names, 0.95).detectable for _ in range(20)])
    found = sum(mean_difference(gains(detectable), names, 0.95).p < 0.05 for _ in range(trials))
    # Three standard errors of 400 trials are 6 points.
    assert abs(found / trials - POWER) < 0.06


def test_with_one_question_an_image_it_is_students_t_test_with_two_images_added():
    gains = np.repeat([1.0, 0.0, -1.0], [300, 500, 250])
    found = mean_difference(gains, [str(i) for i in range(len(gains))], 0.95)
    error = (gains.var(ddof=1) / 1050 + 2 / 1050**2) ** 0.5
    assert found.p == pytest.approx(2 * t.sf(gains.mean() / error, 1049))
    assert found.p == pytest.approx(ttest_1samp(gains, 0).pvalue, rel=0.02)
    assert found.high - found.estimate == pytest.approx(t.ppf(0.975, 1049) * error)
    # 1.96 standard errors to be significant, 0.84 more to be so in 80 % of cases.
    assert found.detectable == pytest.approx(2.80 * error, rel=2e-3)


def test_copies_of_a_question_do_not_lower_p():
    gains, images = np.repeat([1.0, 0.0, -1.0], [20, 60, 8]), [str(i) for i in range(88)]
    once, copied = mean_difference(gains, images, 0.95), mean_difference(np.tile(gains, 5), images * 5, 0.95)
    assert (copied.p, copied.low, copied.detectable) == pytest.approx((once.p, once.low, once.detectable))


@pytest.mark.parametrize("images", [2, 3, 4])
def test_four_images_or_fewer_show_nothing_however_alike_they_are(images):
    found = mean_difference([1.0] * images * 5, [str(i // 5) for i in range(images * 5)], 0.95)
    assert found.p > 0.05
    assert found.low <= 0
    assert found.detectable == 1


def test_a_perfect_model_against_one_that_is_never_right():
    found = mean_difference([1.0] * 100, [str(i // 5) for i in range(100)], 0.95)
    assert (found.estimate, found.high) == (1, 1)
    assert 0.8 < found.low < 0.95
    assert 0 < found.p < 1e-6


@pytest.mark.parametrize("images", [5, 20, 50])
def test_p_is_small_exactly_if_the_interval_excludes_zero(images):
    rng = np.random.default_rng(images)
    names = [str(i) for i in range(images) for _ in range(3)]
    seen = set()
    for _ in range(60):
        gains = rng.choice([-1.0, 0.0, 1.0], images * 3, p=[0.1, 0.6, 0.3])
        for confidence in (0.8, 0.95):
            found = mean_difference(gains, names, confidence)
            assert (found.p < 1 - confidence) == (not found.low <= 0 <= found.high)
            assert found.detectable > 0
            seen.add(found.p < 1 - confidence)
    assert seen == {True, False}


def test_a_paired_difference_by_hand():
    first = answers([True] * 10 + [False] * 2 + [True] * 20 + [False] * 8)
    second = answers([False] * 10 + [True] * 2 + [True] * 20 + [False] * 8)
    found = paired_difference(first, second, 0.95)
    assert (found.only_first, found.only_second, found.n) == (10, 2, 40)
    assert found.estimate == pytest.approx(8 / 40)
    assert 0 < found.low < found.estimate < found.high
    # Two-sided binomial test of 2 in 12: 2 (1 + 12 + 66) / 2^12.
    assert found.mcnemar_p == pytest.approx(2 * 79 / 4096)
    gains = np.repeat([1.0, -1.0, 0.0], [10, 2, 28])
    error = (gains.var(ddof=1) / 40 + 2 / 40**2) ** 0.5
    assert found.p == pytest.approx(2 * t.sf(0.2 / error, 39))


def test_a_model_against_itself_is_known_as_well_as_its_images_are_many():
    table = answers([True, False, True] * 50)
    found = paired_difference(table, table, 0.95)
    assert (found.estimate, found.mcnemar_p, found.p) == (0, 1, 1)
    # Two added images that differ by all that is possible.
    assert found.high == -found.low == pytest.approx(t.ppf(0.975, 149) * 2**0.5 / 150)
    assert found.detectable > found.high


def test_a_tie_has_p_one():
    found = mean_difference([1.0, -1.0] * 10, [str(i) for i in range(20)], 0.95)
    assert (found.estimate, found.p) == (0, 1)
    assert found.low == -found.high < 0


def test_rows_are_matched_by_question_not_by_order():
    first, second = answers([True, True, False, False]), answers([True, False, False, False])
    found = paired_difference(first, second.iloc[::-1].reset_index(drop=True), 0.95)
    assert (found.only_first, found.only_second) == (1, 0)


def test_different_questions_are_refused_by_name():
    with pytest.raises(InputError, match=r"different questions: 1 .* q3"):
        paired_difference(answers([True] * 4), answers([True] * 3), 0.95)


def test_a_question_that_is_there_twice_is_refused_by_name():
    table = answers([True, False])
    with pytest.raises(InputError, match=r"question q0 .* more than once"):
        align(pd.concat([table, table.iloc[:1]]), table)


@pytest.mark.parametrize("column", ["answer", "options", "image_id"])
def test_fraud_tables_that_answer_other_questions_under_one_id_are_refused_by_name(column: str):
    known = {"answer": ["red"] * 3, "options": [["red", "blue"]] * 3, "image_id": ["i1"] * 3}
    first = answers([True, False, True]).assign(**known)
    second = first.assign(correct=False)
    assert align(first, second)["correct_second"].tolist() == [False] * 3
    spoiled = {"answer": "blue", "options": ["blue", "red"], "image_id": "i2"}[column]
    second[column] = [*known[column][:2], spoiled]
    with pytest.raises(InputError, match=f"q2 has another {column}"):
        paired_difference(first, second, 0.95)
    assert len(align(first, second.drop(columns=column))) == 3, "what a table does not have cannot differ"
