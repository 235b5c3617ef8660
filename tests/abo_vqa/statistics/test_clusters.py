"""Cluster sums, their variance and its degrees of freedom."""

import numpy as np
import pytest

from abo_vqa.common.errors import InputError
from abo_vqa.statistics.clusters import (
    added_variance,
    cluster_sums,
    degrees_of_freedom,
    effective_clusters,
    residual_variance,
)


def test_sums_and_sizes_of_one_and_of_several_replicates():
    sums, sizes = cluster_sums([1, 0, 1, 1], list("abaa"))
    assert (sums.tolist(), sizes.tolist()) == ([3, 0], [3, 1])
    sums, _ = cluster_sums([[1, 0], [0, 1], [1, 1]], list("aba"))
    assert sums.tolist() == [[2, 1], [0, 1]]


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        ([], [], "no questions"),
        ([1.0], ["a", "b"], "1 values of 2 questions"),
        ([1.0, float("nan")], ["a", "b"], "question 1: .* NaN"),
        ([float("inf"), 1.0], ["a", "b"], "question 0: .* infinite"),
    ],
)
def test_what_has_no_mean_is_refused(values, clusters, message):
    with pytest.raises(InputError, match=message):
        cluster_sums(values, clusters)


def test_equal_sizes_give_the_textbook_variance_and_one_degree_less_than_clusters():
    sizes, sums = np.full(12, 5.0), np.arange(12.0)
    assert degrees_of_freedom(sizes) == pytest.approx(11)
    assert effective_clusters(sizes) == pytest.approx(12)
    assert residual_variance(sums - sums.mean(), sizes) == pytest.approx((sums / 5).var(ddof=1) / 12)


def test_degrees_of_freedom_equal_the_traces_of_the_whole_matrix():
    sizes = np.random.default_rng(0).integers(1, 40, 30).astype(float)
    share = sizes / sizes.sum()
    residual = np.eye(30) - np.outer(share, np.ones(30))
    form = residual.T @ np.diag(1 / (1 - share)) @ residual @ np.diag(sizes)
    assert degrees_of_freedom(sizes) == pytest.approx(np.trace(form) ** 2 / np.trace(form @ form))
    # CR2 has no bias where questions are independent: the variance is that of N questions, N / N^2.
    assert np.trace(form) == pytest.approx(sizes.sum())


def test_a_large_cluster_costs_degrees_of_freedom():
    sizes = np.array([300.0] + [5.0] * 140)
    assert 5 < degrees_of_freedom(sizes) < 15
    assert effective_clusters(sizes) == pytest.approx(1000**2 / (300**2 + 140 * 25))


def test_added_clusters_are_as_large_as_those_that_differ_and_as_large_as_possible_where_none_does():
    sizes = np.full(10, 5.0)
    assert added_variance(np.array([2.0, -4.0] + [0.0] * 8), sizes, 1.0) == pytest.approx(2 * 10 / 50**2)
    assert added_variance(np.zeros(10), sizes, 2.0) == pytest.approx(2 * 4 * 25 / 50**2)
