"""Intervals and paired tests for questions that are correlated within an image (arXiv 2411.00640)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from abo_vqa.common.errors import InputError

# Probability of detecting a true difference of the size `detectable`.
POWER = 0.8
# Resamples drawn at once: 100 x 10,000 images are 8 MB per array.
_BATCH = 100


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; n counts questions."""

    n: int
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class MeanDifference(Interval):
    """A mean difference with its interval and a test of zero mean.

    robust_p: of cluster_test. detectable: the smallest true difference that one such test detects with probability
    POWER at this confidence; at most 1.
    """

    robust_p: float
    detectable: float


@dataclass(frozen=True)
class Difference(MeanDifference):
    """Accuracy of the first model minus the second's on the same questions.

    only_first, only_second: questions that only this model answered right. mcnemar_p: McNemar's exact test of these,
    which, unlike robust_p, assumes independent questions.
    """

    only_first: int
    only_second: int
    mcnemar_p: float


def cluster_interval(
    values: ArrayLike,
    clusters: Sequence[str],
    confidence: float,
    resamples: int,
    seed: int,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """Return the mean of `values` with a percentile interval that resamples whole clusters (scipy.stats.bootstrap).

    values: one number per question within `bounds`; clusters: its image. The mean is the ratio of two sums over
    clusters, so pairs (sum, size) are resampled. With a single cluster the interval is all of `bounds`.
    """
    # Imported here: scipy.stats takes a second, which not every importer of this module needs.
    from scipy.stats import bootstrap

    numbers = np.asarray(values, float)
    if len(numbers) == 0:
        raise InputError("no questions to average; raise split.test or sample.products")
    codes = pd.factorize(np.asarray(clusters, object))[0]
    sums, sizes = np.bincount(codes, numbers), np.bincount(codes).astype(float)
    estimate = float(sums.sum() / sizes.sum())
    if len(sums) == 1:
        return Interval(len(numbers), estimate, *bounds)
    result = bootstrap(
        (sums, sizes),
        _ratio,
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=_BATCH,
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(len(numbers), estimate, float(result.low), float(result.high))


def cluster_test(values: ArrayLike, clusters: Sequence[str]) -> tuple[float, float]:
    """Return the two-sided p of a zero mean, and the mean's standard error; questions of a cluster may be correlated.

    values: per question, the first model's score minus the second's; clusters: its image. This is McNemar's test for
    clustered pairs in Wald form, as in Obuchowski (1998): a regression on a constant with cluster-robust errors
    (statsmodels), and t with one degree of freedom less than clusters (Cameron and Miller 2015). With m clusters whose
    sum is not zero, p is at least 2^(1 - m), the minimum of a test that flips the clusters' signs. A single cluster has
    p 1 and an infinite error.
    """
    from statsmodels.regression.linear_model import OLS

    numbers = np.asarray(values, float)
    codes = pd.factorize(np.asarray(clusters, object))[0]
    sums, sizes = np.bincount(codes, numbers), np.bincount(codes)
    if len(sums) < 2:
        return 1.0, float("inf")
    p, error = 0.0, 0.0
    # If every image has the same mean, the error is zero and the bound below is the test.
    if not np.allclose(sums / sizes, numbers.mean()):
        fit = OLS(numbers, np.ones_like(numbers)).fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
        p, error = float(fit.pvalues[0]), float(fit.bse[0])
    return min(1.0, max(p, 2.0 ** (1 - np.count_nonzero(sums)))), error


def mean_difference(
    values: ArrayLike, clusters: Sequence[str], confidence: float, resamples: int, seed: int, bound: float = 1.0
) -> MeanDifference:
    """Return the mean difference, its interval by cluster_interval, and cluster_test of it.

    values: one number per question between -bound and bound; clusters: its image.
    """
    from scipy.stats import norm

    interval = cluster_interval(values, clusters, confidence, resamples, seed, (-bound, bound))
    p, error = cluster_test(values, clusters)
    reach = float(norm.ppf((1 + confidence) / 2) + norm.ppf(POWER))
    return MeanDifference(**vars(interval), robust_p=p, detectable=min(1.0, reach * error))


def paired_difference(
    first: pd.DataFrame, second: pd.DataFrame, confidence: float, resamples: int, seed: int
) -> Difference:
    """Return how much more accurate `first` is than `second` on the same questions, resampling images.

    first, second: columns qa_id, image_id, correct; one row per question. Raises InputError if the questions differ.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    pair = align(first, second)
    won, lost = pair["correct"].to_numpy(bool), pair["correct_second"].to_numpy(bool)
    found = mean_difference(won.astype(float) - lost, pair["image_id"].to_list(), confidence, resamples, seed)
    only_first, only_second = int((won & ~lost).sum()), int((~won & lost).sum())
    p = float(mcnemar([[0, only_first], [only_second, 0]], exact=True).pvalue)
    return Difference(**vars(found), only_first=only_first, only_second=only_second, mcnemar_p=p)


def align(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Return `first` with the second's `correct` as the column `correct_second`, matched by qa_id.

    Raises InputError naming a question that occurs twice or in one table only.
    """
    for table in (first, second):
        if (twice := table["qa_id"][table["qa_id"].duplicated()]).size:
            raise InputError(f"question {twice.iloc[0]} occurs more than once; run `dvc repro` again")
    if lacking := sorted(set(first["qa_id"]) ^ set(second["qa_id"])):
        raise InputError(
            f"two models cannot be compared on different questions: {len(lacking)} were answered by only one of "
            f"them, {lacking[0]} first; run `dvc repro` so that both answer the same test split"
        )
    other = second[["qa_id", "correct"]].rename(columns={"correct": "correct_second"})
    return first.merge(other, on="qa_id", validate="one_to_one")


def _ratio(sums: NDArray[np.float64], sizes: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
    return sums.sum(axis) / sizes.sum(axis)
