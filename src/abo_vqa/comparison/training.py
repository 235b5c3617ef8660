"""The difference between two ways of training: a statement about other images and other training seeds.

Questions and training seeds are two crossed random factors, as cases and readers in diagnostic imaging (Obuchowski and
Rockette 1995; Gallas 2006). The variance of the mean difference over R replicates is a sum of three:

    images + seeds / R + interaction / R.

The spread of the question means estimates images + interaction / R, with many degrees of freedom; the spread of the
replicate means estimates seeds + interaction, with R - 1; and what remains of the single answers, less both means,
estimates interaction, with many.

The replicates of two ways are pairs of one seed, or independent: then the variances of both ways' replicate means, and
both interactions, are added.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from abo_vqa.common.errors import InputError
from abo_vqa.statistics.clusters import Array, cluster_sums, degrees_of_freedom, residual_variance
from abo_vqa.statistics.intervals import POWER, Interval, MeanDifference, align, difference_variance

# Below this number of training runs nothing is claimed: two cover as little as 91 %, with 12.7 standard errors either
# side.
FEWEST_REPLICATES = 3
# Below it the quantiles of few degrees of freedom overflow.
SMALLEST_P = 1e-100


@dataclass(frozen=True)
class TrainingDifference(MeanDifference):
    """A mean difference between two ways of training; its interval and p allow for other images and other seeds.

    unsaid: why it is inconclusive, empty otherwise; then the interval is [-bound, bound], p is 1 and the
    components are None. image_error: standard error through the images, with image_degrees of freedom. seed_deviation:
    standard deviation of the difference from one training to the next on the same questions, without the luck of the
    single answers; seed_error: what it adds to the standard error, with replicates - 1 degrees of freedom.
    """

    replicates: int
    unsaid: str
    image_error: float | None = None
    image_degrees: float | None = None
    seed_error: float | None = None
    seed_deviation: float | None = None


@dataclass(frozen=True)
class Components:
    """Variance components of a mean difference over replicates; arrays of one shape.

    images: of the drawn images alone. interaction: of single answers that change from one training to the next, over
    the number of replicates. replicates: squared standard error of the replicates' means, which is seeds and
    interaction.
    """

    estimate: Array
    images: Array
    interaction: Array
    replicates: Array


def training_difference(
    values: ArrayLike, clusters: Sequence[str], confidence: float, bound: float = 1.0
) -> TrainingDifference:
    """Return the mean difference with an interval over images and training seeds.

    values: (questions, replicates), each between -bound and bound; clusters: every question's image group. See
    half_width for the method.
    """
    matrix = np.asarray(values, float)
    if matrix.ndim != 2:
        raise InputError(f"differences have shape {matrix.shape}; expected (questions, replicates)")
    sums, sizes = cluster_sums(matrix, clusters)
    count, replicates = matrix.shape
    estimate = float(matrix.mean())
    if unsaid := _too_few(len(sizes), replicates):
        return TrainingDifference(
            count, estimate, -bound, bound, p=1.0, detectable=bound, replicates=replicates, unsaid=unsaid
        )
    return _difference(estimate, components(sums, sizes, bound), sizes, replicates, confidence, bound)


def _difference(
    estimate: float, found: Components, sizes: Array, replicates: int, confidence: float, bound: float
) -> TrainingDifference:
    degrees = degrees_of_freedom(sizes)
    half = float(half_width(found, degrees, replicates, 1 - confidence))
    seeds = max(float(found.replicates - found.interaction), 0.0)
    return TrainingDifference(
        int(sizes.sum()),
        estimate,
        max(-bound, estimate - half),
        min(bound, estimate + half),
        p=_p(found, degrees, replicates),
        detectable=min(bound, detectable_difference(found, degrees, replicates, confidence)),
        replicates=replicates,
        unsaid="",
        image_error=float(found.images + found.interaction) ** 0.5,
        image_degrees=degrees,
        seed_error=seeds**0.5,
        seed_deviation=(seeds * replicates) ** 0.5,
    )


def training_interval(values: ArrayLike, clusters: Sequence[str], confidence: float) -> Interval:
    """Return the mean of values from 0 to 1, (questions, replicates), with its interval over images and seeds."""
    matrix = np.asarray(values, float)
    sums, sizes = cluster_sums(matrix, clusters)
    count, replicates = matrix.shape
    estimate = float(matrix.mean())
    if _too_few(len(sizes), replicates):
        return Interval(count, estimate, 0.0, 1.0)
    found = components(sums, sizes, 1.0)
    half = float(half_width(found, degrees_of_freedom(sizes), replicates, 1 - confidence))
    return Interval(count, estimate, max(0.0, estimate - half), min(1.0, estimate + half))


def components(sums: Array, sizes: Array, bound: float) -> Components:
    """Return the variance components of the mean of sums (..., clusters, replicates), at least two of each."""
    number = sums.shape[-1]
    means = sums.sum(-2) / sizes.sum()
    residuals = sums - sizes[:, None] * means[..., None, :]
    single = residuals - residuals.mean(-1, keepdims=True)
    interaction = residual_variance(single.swapaxes(-1, -2), sizes).sum(-1) / (number - 1) / number
    images = np.maximum(difference_variance(sums.mean(-1), sizes, bound) - interaction, 0)
    return Components(means.mean(-1), images, interaction, means.var(-1, ddof=1) / number)


def half_width(found: Components, image_degrees: float, replicates: int, p: Array | float) -> Array:
    """Return half the width of the interval that misses with chance p.

    Both sources' half widths, each with its own t, are added in squares (Howe 1974; Graybill and Wang 1980; MOVER, Zou
    and Donner 2008): pooled degrees of freedom (Satterthwaite, Hillis 2007) are too many too often for three
    replicates. The interaction is in both sources: it counts as known from the many images as far as images outweigh
    it, and as known from the few replicates otherwise (always from images, three replicates would cover 91 % where
    images do not matter). Replicates that agree by luck take at most half of it away. With images alone this is their
    t interval, with seeds alone Student's t over replicates. Coverage: benchmarks/simulation.py.
    """
    from scipy.stats import t

    by_images, by_replicates = (t.isf(p / 2, degrees) ** 2 for degrees in (image_degrees, replicates - 1))
    known = found.interaction * found.images / (found.images + found.interaction)
    least = by_images * found.interaction / 2
    rest = by_images * known + by_replicates * (found.replicates - known)
    return np.sqrt(by_images * found.images + np.maximum(least, rest))


def detectable_difference(found: Components, image_degrees: float, replicates: int, confidence: float) -> float:
    """Return the difference found with a chance of POWER if the components are those estimated.

    With few replicates the interval's width is itself a matter of luck: the chance is a mean over it.
    """
    from scipy.optimize import brentq
    from scipy.stats import chi2, t

    spread = np.maximum(found.replicates, found.interaction)
    quantiles = (np.arange(200) + 0.5) / 200
    drawn = spread * chi2.ppf(quantiles, replicates - 1) / (replicates - 1)
    widths = half_width(replace(found, replicates=drawn), image_degrees, replicates, 1 - confidence)
    error = np.sqrt(found.images + spread)

    def lacking(difference: float) -> float:
        return float(t.cdf((difference - widths) / error, image_degrees).mean() - POWER)

    return float(brentq(lacking, 0.0, float(widths.max() + 10 * error)))


def independent_training_difference(
    first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame], confidence: float, cluster: str = "image_group"
) -> TrainingDifference:
    """Return the difference of two ways of training whose replicates are not pairs of one seed, in any order.

    first, second: per replicate the columns qa_id, correct and the cluster's. The replicates' variance is the sum of
    both ways', with replicates - 1 degrees of freedom, at most Welch's. A way with a single table, such as base, has no
    training seed. Raises InputError if the numbers of replicates differ otherwise, or the questions are not the same.
    """
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise InputError(f"{len(first)} replicates against {len(second)}; give each as many, or one")
    ones, others = (_matrix(tables, first[0]) for tables in (first, second))
    groups = first[0][cluster].to_list()
    single = ones - others
    if 1 in (len(first), len(second)) or _too_few(len(set(groups)), len(first)):
        return training_difference(single, groups, confidence)
    sums, sizes = cluster_sums(single, groups)
    ways = [components(cluster_sums(matrix, groups)[0], sizes, 1.0) for matrix in (ones, others)]
    interaction, replicates = (sum(getattr(way, name) for way in ways) for name in ("interaction", "replicates"))
    images = np.maximum(difference_variance(sums.mean(-1), sizes, 1.0) - interaction, 0)
    estimate = single.mean()
    found = Components(estimate, images, interaction, replicates)
    return _difference(float(estimate), found, sizes, len(first), confidence, 1.0)


def _matrix(tables: Sequence[pd.DataFrame], known: pd.DataFrame) -> Array:
    """Return whether each answer is correct, as (questions, replicates) in the order of the known table."""
    pairs = [align(known, table).set_index("qa_id").reindex(known["qa_id"]) for table in tables]
    return np.stack([pair["correct_second"].to_numpy(float) for pair in pairs], 1)


def _too_few(clusters: int, replicates: int) -> str:
    if replicates == 1:
        return "one training run"
    if replicates < FEWEST_REPLICATES:
        return f"{replicates} training runs, fewer than {FEWEST_REPLICATES}"
    return "one image" if clusters == 1 else ""


def _p(found: Components, image_degrees: float, replicates: int) -> float:
    """Return the p whose interval ends at zero, or SMALLEST_P."""
    from scipy.optimize import brentq

    def beyond(log_p: float) -> float:
        return float(half_width(found, image_degrees, replicates, float(np.exp(log_p))) - abs(found.estimate))

    if beyond(0.0) >= 0:
        return 1.0
    smallest = float(np.log(SMALLEST_P))
    return float(np.exp(brentq(beyond, smallest, 0.0, xtol=1e-12))) if beyond(smallest) > 0 else SMALLEST_P
