"""Intervals and paired tests that know that questions about one image are not independent (arXiv 2411.00640).

Clusters are groups of near-duplicate images (`image_group`). Everything is in closed form: no resampling, no seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from abo_vqa.common.errors import InputError
from abo_vqa.statistics.clusters import (
    ADDED,
    Array,
    added_variance,
    cluster_sums,
    degrees_of_freedom,
    effective_clusters,
    residual_variance,
)

# What two tables must agree in for each question.
SAME = ("answer", "options", "image_id", "image_group", "question_type")
# Chance with which a difference of the size `detectable` is found.
POWER = 0.8


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; n counts questions."""

    n: int
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class MeanDifference(Interval):
    """A mean difference with its interval and a test of zero.

    p: two-sided, below 1 - confidence exactly if the interval excludes zero. detectable: the smallest true difference
    that such a test finds with a chance of POWER, alone and at this confidence; never zero, at most the bound.
    """

    p: float
    detectable: float


@dataclass(frozen=True)
class Difference(MeanDifference):
    """Accuracy of the first model minus the second's on the same questions.

    only_first, only_second: questions that only that model got right. mcnemar_p: McNemar's exact test of these, which
    takes questions as independent, as p does not.
    """

    only_first: int
    only_second: int
    mcnemar_p: float


def cluster_interval(values: ArrayLike, clusters: Sequence[str], confidence: float) -> Interval:
    """Return the mean of `values`, numbers from 0 to 1 such as accuracies, with an interval within 0 and 1.

    values: one per question; clusters: its image group. It is Wilson's interval with the effective number of questions
    and Student's t (Korn and Graubard 1998; Franco et al. 2019): effective is p (1 - p) over the clustered variance,
    never above the number of questions nor below that of clusters, which is what it is where all values are equal. A
    single cluster: 0 to 1.
    """
    sums, sizes = cluster_sums(values, clusters)
    if sums.min() < 0 or (sums > sizes * (1 + 1e-9)).any():
        raise InputError("a share lies outside 0 and 1; use mean_difference for differences")
    estimate = float(sums.sum() / sizes.sum())
    if len(sizes) == 1:
        return Interval(int(sizes.sum()), estimate, 0.0, 1.0)
    low, high = wilson_limits(sums, sizes, confidence)
    return Interval(int(sizes.sum()), estimate, float(low), float(high))


def wilson_limits(sums: Array, sizes: Array, confidence: float) -> tuple[Array, Array]:
    """Return the limits of cluster_interval for sums (..., clusters) of at least two clusters."""
    # Imported here: scipy.stats takes a second, and the stage that only trains does not need it.
    from scipy.stats import t

    total = sizes.sum()
    share = np.clip(sums.sum(-1) / total, 0, 1)
    spread = share * (1 - share)
    # The added clusters are all right or all wrong, each with the mean's spread: the worst that correlation can do.
    added = ADDED * spread * (sizes**2).mean() / total**2
    variance = residual_variance(sums - share[..., None] * sizes, sizes) + added
    fewest = effective_clusters(sizes)
    known = spread > 1e-12
    effective = np.where(known, spread / np.where(known, variance, 1), fewest).clip(fewest, total)
    quantile = t.ppf((1 + confidence) / 2, degrees_of_freedom(sizes))
    shift = quantile**2 / effective
    center = (share + shift / 2) / (1 + shift)
    half = np.sqrt(quantile**2 * spread / effective + shift**2 / 4) / (1 + shift)
    return np.clip(center - half, 0, share), np.clip(center + half, share, 1)


def mean_difference(
    values: ArrayLike, clusters: Sequence[str], confidence: float, bound: float = 1.0
) -> MeanDifference:
    """Return the mean difference with its interval and test: Student's t on cluster sums (module clusters).

    values: one number per question between -bound and bound; clusters: its image group. A single cluster says nothing
    about others: its interval is all of -bound to bound and its p is 1.
    """
    from scipy.stats import t

    sums, sizes = cluster_sums(values, clusters)
    count, estimate = int(sizes.sum()), float(sums.sum() / sizes.sum())
    if len(sizes) == 1:
        return MeanDifference(count, estimate, -bound, bound, p=1.0, detectable=bound)
    error, degrees = float(np.sqrt(difference_variance(sums, sizes, bound))), degrees_of_freedom(sizes)
    half = error * float(t.ppf((1 + confidence) / 2, degrees))
    return MeanDifference(
        count,
        estimate,
        max(-bound, estimate - half),
        min(bound, estimate + half),
        p=float(2 * t.sf(abs(estimate) / error, degrees)),
        detectable=min(bound, half + error * float(t.ppf(POWER, degrees))),
    )


def difference_variance(sums: Array, sizes: Array, bound: float) -> Array:
    """Return the variance of a mean difference over images; sums: (..., clusters), at least two clusters."""
    means = sums.sum(-1, keepdims=True) / sizes.sum()
    return residual_variance(sums - means * sizes, sizes) + added_variance(sums, sizes, bound)


def paired_difference(
    first: pd.DataFrame, second: pd.DataFrame, confidence: float, cluster: str = "image_group"
) -> Difference:
    """Return how much more accurate `first` is than `second`, question by question.

    first, second: columns qa_id, correct and the cluster's; one row per question. Raises InputError if the questions
    are not the same.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    pair = align(first, second)
    won, lost = pair["correct"].to_numpy(bool), pair["correct_second"].to_numpy(bool)
    found = mean_difference(won.astype(float) - lost, pair[cluster].to_list(), confidence)
    only_first, only_second = int((won & ~lost).sum()), int((~won & lost).sum())
    p = float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)
    return Difference(**vars(found), only_first=only_first, only_second=only_second, mcnemar_p=p)


def align(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return `first` with the second's `correct` beside it as `correct_second`, matched by qa_id.

    Raises InputError if a question is there twice or in one table only, or if both tables have a column of SAME and
    differ in it, naming the question.
    """
    for table in (first, second):
        if (twice := table["qa_id"][table["qa_id"].duplicated()]).size:
            raise InputError(f"question {twice.iloc[0]} is there more than once; run `dvc repro` again")
    if lacking := sorted(set(first["qa_id"]) ^ set(second["qa_id"])):
        raise InputError(
            f"two models cannot be compared on different questions: {len(lacking)} were answered by only one of "
            f"them, {lacking[0]} first; run `dvc repro` so that both answer the same test split"
        )
    compared = [column for column in SAME if column in first and column in second]
    other = second[["qa_id", "correct", *compared]].rename(
        columns={name: f"{name}_second" for name in ["correct", *compared]}
    )
    pair = first.merge(other, on="qa_id", validate="one_to_one")
    for column in compared:
        one, two = (pair[name].map(tuple if column == "options" else str) for name in (column, f"{column}_second"))
        if (differs := (one != two).to_numpy()).any():
            raise InputError(
                f"two models cannot be compared on different questions: {pair['qa_id'][differs].iloc[0]} has another "
                f"{column} in one table than in the other; run `dvc repro` so that both answer the same test split"
            )
    return pair.drop(columns=[f"{column}_second" for column in compared])
