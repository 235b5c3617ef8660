"""Simulated experiments whose truth is known: how often an interval covers it, and how often a null is rejected.

Used by the tests (few experiments) and by simulation.py (many).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from abo_vqa.comparison.training import components, half_width
from abo_vqa.statistics.clusters import Array, degrees_of_freedom
from abo_vqa.statistics.intervals import difference_variance, wilson_limits

P = 0.05
# Experiments simulated at once: 10 replicates of 800 questions are 6 MB an array.
_BATCH = 100


@dataclass(frozen=True)
class Training:
    """Two ways of training, asked the same questions, in pairs of replicates with the same seed.

    Of a question's chances a share is shared difficulty: both ways are right, or both wrong. Of the others a share is
    settled by the way of training, the same in all its replicates, and the rest is open to the training run. Effects on
    the difference: of the image, and of image and seed together, both evenly spread up to the limit given; of the seed,
    normal with `seed_deviation`. effect and seed_deviation: true values, as shares (0.05: 5 points).
    """

    replicates: int
    seed_deviation: float
    effect: float = 0.0
    images: int = 160
    questions: int = 5
    undecided: float = 0.6
    settled: float = 0.4
    image_effect: float = 0.3
    seed_image_effect: float = 0.3
    # How many of the images look alike: one image effect for all of them, and one image group.
    family: int = 1

    def draw(self, experiments: int, rng: np.random.Generator) -> Array:
        """Return sums of the differences: (experiments, images, replicates)."""
        return np.concatenate(list(self._batches(experiments, rng)))

    def _batches(self, experiments: int, rng: np.random.Generator) -> Iterator[Array]:
        for start in range(0, experiments, _BATCH):
            shape = (min(_BATCH, experiments - start), self.images, self.questions, self.replicates)
            every, image, question = shape[0], (*shape[:2], 1, 1), (*shape[:3], 1)
            effect = rng.uniform(-self.image_effect, self.image_effect, image)
            effect[:, : self.family] = effect[:, :1]
            effect += self.effect / self.undecided
            open_share = self.undecided * (1 - self.settled)
            seed = rng.normal(0, self.seed_deviation / open_share, (every, 1, 1, self.replicates))
            with_image = rng.uniform(-1, 1, (*shape[:2], 1, self.replicates)) * self.seed_image_effect
            settled = _lead(rng, effect, question)
            by_run = _lead(rng, effect + seed + with_image, shape)
            decided = np.where(rng.random(question) < self.settled, settled, by_run)
            yield (decided * (rng.random(question) < self.undecided)).sum(2)


def _lead(rng: np.random.Generator, effect: Array, shape: tuple[int, ...]) -> Array:
    """Return first right minus second right, whose chances are (1 + effect) / 2 and (1 - effect) / 2."""
    first, second = (rng.random(shape) < (1 + sign * effect) / 2 for sign in (1, -1))
    return first.astype(float) - second


@dataclass(frozen=True)
class Rates:
    """Shares of experiments whose interval covers the truth, by method, and the mean width of the intervals."""

    covered: dict[str, float]
    width: dict[str, float]


@dataclass
class _Count:
    covered: dict[str, float] = field(default_factory=dict)
    width: dict[str, float] = field(default_factory=dict)

    def add(self, method: str, low: Array, high: Array, truth: float) -> None:
        # A limit equal to the truth covers it, whatever the last bit says.
        self.covered[method] = float(((low <= truth + 1e-12) & (high >= truth - 1e-12)).mean())
        self.width[method] = float((high - low).mean())

    def rates(self) -> Rates:
        return Rates(self.covered, self.width)


def training_rates(design: Training, experiments: int, seed: int) -> Rates:
    """Return the rates of training_difference ("images and seeds"), and of images alone ("images")."""
    sums, sizes = design.draw(experiments, np.random.default_rng(seed)), np.full(design.images, float(design.questions))
    found, degrees, count = components(sums, sizes, 1.0), degrees_of_freedom(sizes), _Count()
    half = half_width(found, degrees, design.replicates, P)
    count.add("images and seeds", found.estimate - half, found.estimate + half, design.effect)
    count.add("images", *_difference_limits(sums.mean(-1), sizes), design.effect)
    return count.rates()


def family_rates(design: Training, experiments: int, seed: int) -> Rates:
    """Return the rates of one replicate's mean_difference with clusters by "group" and by "image"."""
    sums = design.draw(experiments, np.random.default_rng(seed)).mean(-1)
    sizes, count = np.full(design.images, float(design.questions)), _Count()

    def grouped(array: Array) -> Array:
        family, rest = array[..., : design.family], array[..., design.family :]
        return np.concatenate([family.sum(-1, keepdims=True), rest], -1)

    count.add("image", *_difference_limits(sums, sizes), design.effect)
    count.add("group", *_difference_limits(grouped(sums), grouped(sizes)), design.effect)
    return count.rates()


@dataclass(frozen=True)
class Small:
    """Questions on few images: right with chance `accuracy`, or differences 1, 0 and -1 with mean `effect`.

    correlation: of two questions of one image (beta-distributed chances). differing: share of questions whose
    difference is not 0.
    """

    images: int
    correlation: float
    accuracy: float = 0.6
    effect: float = 0.0
    differing: float = 0.0
    questions: int = 5

    @property
    def truth(self) -> float:
        """The mean that an interval has to cover."""
        return self.effect if self.differing else self.accuracy

    def draw(self, experiments: int, rng: np.random.Generator) -> Array:
        """Return sums: (experiments, images)."""
        shape = (experiments, self.images)
        if not self.differing:
            return rng.binomial(self.questions, self._chances(self.accuracy, shape, rng)).astype(float)
        number = rng.binomial(self.questions, self._chances(self.differing, shape, rng))
        better = rng.binomial(number, self._chances((1 + self.effect / self.differing) / 2, shape, rng))
        return (2 * better - number).astype(float)

    def _chances(self, mean: float, shape: tuple[int, int], rng: np.random.Generator) -> Array:
        weight = 1 / self.correlation - 1
        return rng.beta(mean * weight, (1 - mean) * weight, shape)


def small_rates(design: Small, experiments: int, seed: int, resamples: int = 499) -> Rates:
    """Return the rates of cluster_interval or mean_difference ("t"), and of the percentile bootstrap of images."""
    rng = np.random.default_rng(seed)
    sums, sizes, count = design.draw(experiments, rng), np.full(design.images, float(design.questions)), _Count()
    limits: Callable[[Array, Array], tuple[Array, Array]] = _difference_limits if design.differing else _share_limits
    count.add("t", *limits(sums, sizes), design.truth)
    weights = rng.multinomial(design.images, np.full(design.images, 1 / design.images), resamples) / sizes.sum()
    low, high = np.quantile(sums @ weights.T, [P / 2, 1 - P / 2], axis=-1)
    count.add("bootstrap", low, high, design.truth)
    return count.rates()


def _share_limits(sums: Array, sizes: Array) -> tuple[Array, Array]:
    return wilson_limits(sums, sizes, 1 - P)


def _difference_limits(sums: Array, sizes: Array) -> tuple[Array, Array]:
    from scipy.stats import t

    estimate = sums.sum(-1) / sizes.sum()
    half = difference_variance(sums, sizes, 1.0) ** 0.5 * t.isf(P / 2, degrees_of_freedom(sizes))
    return np.maximum(estimate - half, -1), np.minimum(estimate + half, 1)
