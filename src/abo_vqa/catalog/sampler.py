"""The paper's three-stage sampler (section 2.3): stratified, most frequent types, rare types.

Every stage ranks the pool and takes the first usable products. The ranking depends on the seed and on the products'
facts, never on the order of shards and rows.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from abo_vqa.catalog.pool import Indices, is_amazonbasics, is_shoes
from abo_vqa.common.draws import allocate, derive_seeds
from abo_vqa.common.errors import InputError
from abo_vqa.common.params.data import SampleParams

STRATIFIED, TOP_TYPES, RARE_TYPES = STAGES = ("stratified", "top_types", "rare_types")
# Rules that a draw can omit to measure their effect; the share of an omitted stage goes to stage 1.
SQUARE_ROOT, BASICS_CAP, COLOR_FIRST, ADJUSTED, SHOES_CAP = (
    "square_root",
    "amazonbasics_cap",
    "color_first",
    "adjusted_for_stage_1",
    "shoes_cap",
)
RULES = (SQUARE_ROOT, BASICS_CAP, COLOR_FIRST, TOP_TYPES, ADJUSTED, SHOES_CAP, RARE_TYPES)

Flags = NDArray[np.bool_]
# Keys hashed at a time: as Python objects they take several times their bytes.
_TOGETHER = 1 << 16


@dataclass(frozen=True)
class Draw:
    """A finished sample; products are identified by their places in the pool, in its order.

    stages: the stage that drew each product. unreadable: drawn, found unusable and replaced. wanted: target count of
    each stage. shortfall: products that a stage lacked, filled by the rules of other stages.
    """

    stages: dict[int, str]
    unreadable: list[int]
    wanted: dict[str, int]
    shortfall: dict[str, int]


class Sampler:
    """Draws samples from the facts of a pool, with all rules or without some; draws are independent of each other.

    types: product types as numbers. basics, shoes, colorless, rare: flags of the products that the rules target. rules:
    those that `draw` can omit.
    """

    rules: tuple[str, ...] = RULES

    def __init__(self, facts: pa.Table, params: SampleParams, seed: int):
        """Compute the numbers and flags of all products from the facts of a Pool."""
        self._facts, self._params, self._seed = facts, params, seed
        self.types, names = coded(facts["product_type"])
        counts = np.bincount(self.types, minlength=len(names)).tolist()
        by_frequency = sorted(range(len(names)), key=lambda code: (-counts[code], names[code]))
        self._top = np.isin(self.types, by_frequency[: params.top_types])
        self.rare = ~np.isin(self.types, by_frequency[: params.rare_outside])
        self.colorless = facts["color"].is_null().to_numpy()
        self.basics = _where(facts["brand"], is_amazonbasics)
        self.shoes = _where(facts["product_type"], is_shoes)
        self._strata = (facts["stratum"].to_numpy() % np.uint64(params.strata)).astype(np.int32)
        self._chances: dict[str, NDArray[np.uint32]] = {}

    def draw(self, usable: Callable[[int], bool], without: Collection[str] = ()) -> Draw:
        """Draw exactly `params.products` products; `usable` is called once for each product drawn.

        In a small catalog, the rule of stage 1, else 2, else 3 fills a stage's shortfall, which is reported. without:
        the rules (of RULES) to omit. InputError if the pool, or what the two caps leave of it, is smaller than the
        sample.
        """
        params, size = self._params, len(self._facts)
        if size < params.products:
            raise InputError(too_small(params.products, size))
        wanted = self._wanted(without)
        taker = Taker(size, usable)
        basics = Cap(self.basics, _scaled(params.amazonbasics_cap, params), BASICS_CAP in without)
        shoes = Cap(self.shoes, _scaled(params.shoes_cap, params), SHOES_CAP in without)

        stratified = self._stratified_order(without)
        taker.take(stratified, wanted[STRATIFIED], STRATIFIED, [basics])
        top = self._top_types_order(taker.taken, without)
        taker.take(top, wanted[TOP_TYPES], TOP_TYPES, [shoes])
        rare = self._uniform_order(RARE_TYPES, self.rare)
        taker.take(rare, wanted[RARE_TYPES], RARE_TYPES)

        # Counted before the shortfall is filled, so that the report shows it.
        drawn = Counter(taker.stages.values())
        shortfall = {stage: wanted[stage] - drawn[stage] for stage in STAGES}
        for order, stage, caps in (
            (stratified, STRATIFIED, [basics]),
            (top, TOP_TYPES, [shoes]),
            (rare, RARE_TYPES, []),
        ):
            # A stage without a share was omitted, and its rule must not return here. The caps still apply.
            if wanted[stage]:
                taker.take(order, params.products - len(taker.stages), stage, caps)
        if len(taker.stages) < params.products:
            raise InputError(self._too_few(len(taker.stages), len(taker.refused), basics, shoes))
        return Draw(dict(sorted(taker.stages.items())), sorted(taker.refused), wanted, shortfall)

    def _wanted(self, without: Collection[str]) -> dict[str, int]:
        shares = self._params.shares
        parts = {STRATIFIED: shares.stratified, TOP_TYPES: shares.top_types, RARE_TYPES: shares.rare_types}
        for stage in (TOP_TYPES, RARE_TYPES):
            if stage in without:
                parts[STRATIFIED] += parts[stage]
                parts[stage] = 0.0
        return dict(zip(STAGES, allocate(self._params.products, list(parts.values())), strict=True))

    def _stratified_order(self, without: Collection[str]) -> Indices:
        """Order the pool for stage 1: products with a color first, then by square-root allocation over strata."""
        colorless = self.colorless & (COLOR_FIRST not in without)
        chance = self._chance(STRATIFIED, np.arange(len(self._facts)))
        rank, crowd = _ranks(self._strata, colorless, chance)
        # Webster's divisor method: every prefix of the order divides the strata in proportion to sqrt(size). So neither
        # the size of the sample nor replaced images change the proportions.
        turn = (rank + 0.5) / (crowd if SQUARE_ROOT in without else np.sqrt(crowd))
        return np.lexsort((chance, turn, colorless))

    def _top_types_order(self, taken: Flags, without: Collection[str]) -> Indices:
        """Order the free products of the top types: each type's share over stages 1 and 2 follows its frequency.

        Within a type the listings with a color come first.
        """
        free = np.flatnonzero(self._top & ~taken)
        colorless = self.colorless[free] & (COLOR_FIRST not in without)
        # Drawn for all top types, since the numbers are cached and other draws have other free products.
        chance = self._chance(TOP_TYPES, np.flatnonzero(self._top))[free]
        rank, left = _ranks(self.types[free], colorless, chance)
        already = np.bincount(self.types[taken], minlength=self.types.max() + 1)[self.types[free]]
        # What stage 1 took counts as a type's first turns, or types that it favored would get their share twice.
        start = np.zeros_like(already) if ADJUSTED in without else already
        return free[np.lexsort((chance, (rank + start + 0.5) / (left + already)))]

    def _uniform_order(self, stage: str, among: Flags) -> Indices:
        indices = np.flatnonzero(among)
        return indices[np.argsort(self._chance(stage, indices)[indices], kind="stable")]

    def _chance(self, stage: str, indices: Indices) -> NDArray[np.uint32]:
        """Return a random number per product, by its place in the pool; 0 for products outside `indices`."""
        if stage not in self._chances:
            self._chances[stage] = np.zeros(len(self._facts), np.uint32)
            for start in range(0, len(indices), _TOGETHER):
                some = indices[start : start + _TOGETHER]
                keys = self._facts["product_id"].take(pa.array(some)).to_pylist()
                self._chances[stage][some] = derive_seeds(self._seed, "sample", stage, last=keys)
        return self._chances[stage]

    def _too_few(self, taken: int, refused: int, basics: "Cap", shoes: "Cap") -> str:
        readable = len(self._facts) - refused
        if readable < self._params.products:
            return too_small(self._params.products, readable)
        return (
            f"sample.products is {self._params.products}, but sample.amazonbasics_cap (here {basics.limit}) and "
            f"sample.shoes_cap (here {shoes.limit}) leave only {taken} of {readable} products; "
            "lower sample.products or raise the caps"
        )


class Cap:
    """A limit on the number of concerned products, and a count of those taken so far."""

    def __init__(self, concerned: Flags, limit: float, lifted: bool, taken: int = 0):
        """Count from `taken`; no limit if it is lifted."""
        self.concerned = concerned
        self.limit = math.inf if lifted else limit
        self.taken = taken


class Taker:
    """Takes products from rankings, each at most once, and calls `usable` at most once for each.

    stages: the stage by place in the pool. refused: the places of unusable products. taken: a flag per place.
    """

    def __init__(self, size: int, usable: Callable[[int], bool]):
        self._size, self._usable = size, usable
        self.stages: dict[int, str] = {}
        self.refused: set[int] = set()
        self._put_back: set[int] = set()

    @property
    def taken(self) -> Flags:
        """Whether each product of the pool is taken."""
        flags = np.zeros(self._size, bool)
        flags[list(self.stages)] = True
        return flags

    def take(self, order: Indices, count: int, stage: str, caps: Sequence[Cap] = ()) -> None:
        """Take the first `count` that are free, usable and within all caps; fewer if there are no more."""
        for index in map(int, order) if count > 0 else ():
            if index in self.stages or index in self.refused or index in self._put_back:
                continue
            # The caps come before `usable`, which decodes an image.
            concerned = [cap for cap in caps if cap.concerned[index]]
            if any(cap.taken >= cap.limit for cap in concerned):
                continue
            if not self._usable(index):
                self.refused.add(index)
                continue
            self.stages[index] = stage
            for cap in concerned:
                cap.taken += 1
            count -= 1
            if count == 0:
                return

    def put_back(self, index: int) -> None:
        """Give a product back, which is not taken again."""
        del self.stages[index]
        self._put_back.add(index)


def coded(values: pa.ChunkedArray) -> tuple[NDArray[np.int32], list[Any]]:
    """Return each value's index among the known values, -1 if it is missing, and the known values."""
    coded = values.combine_chunks().dictionary_encode()
    return coded.indices.fill_null(-1).to_numpy(), coded.dictionary.to_pylist()


def _where(values: pa.ChunkedArray, condition: Callable[[Any], bool]) -> Flags:
    codes, known = coded(values)
    return np.array([*map(condition, known), condition(None)], bool)[codes]


def _ranks(
    group: NDArray[np.int32], colorless: Flags, chance: NDArray[np.uint32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return each product's rank in its group (from 0; with a color first, then by chance) and the group's size."""
    order = np.lexsort((chance, colorless, group))
    sizes = np.bincount(group, minlength=1).astype(np.int32)
    starts = np.cumsum(sizes) - sizes
    rank = np.empty(len(group), np.int32)
    rank[order] = np.arange(len(group)) - starts[group[order]]
    return rank, sizes[group]


def _scaled(cap: int, params: SampleParams) -> int:
    return math.ceil(cap * params.products / params.reference_size)


def too_small(size: int, available: int) -> str:
    """Return the message about a pool smaller than the sample."""
    return f"sample.products is {size}, but only {available} products have a readable image; lower it"
