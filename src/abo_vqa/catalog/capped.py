"""The paper's sampler as its author ran it: caps on types, brands and colors in every stratum, and replacements.

The paper prints three stages (sampler.py); its published notebook caps many values, in every stratum of stage 1 at
least 1 product each, gives all top types the same number in stage 2, exchanges some products for rare ones and fills up
at random. Here products are drawn by seed and key, so a sample depends neither on the order of rows nor on what else is
drawn. paper.py has the paper's counts, and in what else this sampler deviates.
"""

from collections.abc import Callable, Collection

import numpy as np
import pyarrow as pa

from abo_vqa.catalog.pool import Indices
from abo_vqa.catalog.sampler import (
    ADJUSTED,
    COLOR_FIRST,
    RARE_TYPES,
    SQUARE_ROOT,
    STAGES,
    STRATIFIED,
    TOP_TYPES,
    Cap,
    Draw,
    Flags,
    Sampler,
    Taker,
    coded,
    too_small,
)
from abo_vqa.common.draws import allocate
from abo_vqa.common.errors import InputError
from abo_vqa.common.params.data import SampleParams

FILLED = "filled"
CAPS, EXCHANGED = "caps", "exchanged"
CAPPED_FACTS = ("product_type", "brand", "color")
MISSING = "missing"


class CappedSampler(Sampler):
    """Draws samples by the rules of the paper's author; `sample.caps` must be given."""

    rules = (SQUARE_ROOT, CAPS, COLOR_FIRST, TOP_TYPES, ADJUSTED, EXCHANGED, RARE_TYPES)

    def __init__(self, facts: pa.Table, params: SampleParams, seed: int):
        """Compute the numbers and flags of all products from the facts of a Pool."""
        scale = params.products / params.reference_size
        # Strata scale as the sample does, so that each of them has as many products, and a cap the same effect.
        strata = max(1, round(params.strata * scale))
        super().__init__(facts, params.model_copy(update={"strata": strata}), seed)
        self._limits: dict[str, list[tuple[Flags, float]]] = {fact: [] for fact in CAPPED_FACTS}
        self._type_caps: dict[int, float] = {}
        for fact, given in (params.caps.model_dump() if params.caps else {}).items():
            codes, names = coded(facts[fact])
            for value, cap in given.items():
                chosen = codes_of(value, names)
                self._limits[fact].append((np.isin(codes, chosen), cap * scale))
                if fact == "product_type":
                    self._type_caps |= dict.fromkeys(chosen, cap * scale)
        codes, names = coded(facts["product_type"])
        self._exchanged = [
            (code, round(count * scale)) for value, count in params.exchanged.items() for code in codes_of(value, names)
        ]

    def draw(self, usable: Callable[[int], bool], without: Collection[str] = ()) -> Draw:
        """Draw exactly `params.products` products; `usable` is called once for each product drawn.

        What stages 1 to 3 leave open is filled at random, within the caps on types over all strata together. without:
        the rules (of `rules`) to omit. InputError if the pool, or what the caps leave, is smaller than the sample.
        """
        params, size = self._params, len(self._facts)
        if size < params.products:
            raise InputError(too_small(params.products, size))
        wanted = self._wanted(without)
        taker = Taker(size, usable)
        allowed = self._stratified(taker, wanted[STRATIFIED], without)
        self._top_types(taker, wanted[TOP_TYPES], without)
        rare = self._uniform_order(RARE_TYPES, self.rare)
        taker.take(rare, wanted[RARE_TYPES], RARE_TYPES)
        if EXCHANGED not in without:
            self._exchange(taker, rare)
        drawn = {stage: sum(each == stage for each in taker.stages.values()) for stage in STAGES}

        types = [
            Cap(flags, limit, False, int(flags[list(taker.stages)].sum()))
            for (flags, _), limit in zip(self._limits["product_type"], allowed, strict=True)
        ]
        everything = self._uniform_order(FILLED, np.ones(size, bool))
        taker.take(everything, params.products - len(taker.stages), FILLED, () if CAPS in without else types)
        if len(taker.stages) < params.products:
            readable = size - len(taker.refused)
            if readable < params.products:
                raise InputError(too_small(params.products, readable))
            raise InputError(
                f"sample.products is {params.products}, but sample.caps leaves only {len(taker.stages)} of {readable} "
                "products; lower sample.products or raise the caps on product types"
            )
        shortfall = {stage: wanted[stage] - drawn[stage] for stage in STAGES}
        return Draw(
            dict(sorted(taker.stages.items())), sorted(taker.refused), wanted | {FILLED: 0}, shortfall | {FILLED: 0}
        )

    def _stratified(self, taker: Taker, count: int, without: Collection[str]) -> list[float]:
        """Draw from every stratum by the square root of its size; return what it allows of each capped type in all."""
        chance = self._chance(STRATIFIED, np.arange(len(self._facts)))
        order = np.lexsort((chance, self._strata))
        strata, starts, sizes = np.unique(self._strata[order], return_index=True, return_counts=True)
        weights = sizes.astype(float) if SQUARE_ROOT in without else np.sqrt(sizes)
        shares = np.floor(count * weights / weights.sum() + 1e-9).astype(int)
        limits = [(fact, flags, cap) for fact, capped in self._limits.items() for flags, cap in capped]
        allowed = [0.0] * len(self._limits["product_type"])
        for place in range(len(strata)):
            part = {id(flags): max(1, int(cap * shares[place] / max(count, 1))) for _, flags, cap in limits}
            caps = [Cap(flags, part[id(flags)], CAPS in without) for _, flags, _ in limits]
            taker.take(order[starts[place] : starts[place] + sizes[place]], int(shares[place]), STRATIFIED, caps)
            for number, (flags, _) in enumerate(self._limits["product_type"]):
                allowed[number] += part[id(flags)]
        return allowed

    def _top_types(self, taker: Taker, count: int, without: Collection[str]) -> None:
        """Draw as many of each top type less half of what stage 1 took, of a capped one what its cap leaves."""
        taken = np.bincount(self.types[taker.taken], minlength=self.types.max() + 1)
        top = np.unique(self.types[self._top])
        goals = {}
        for code in top.tolist():
            already = 0 if ADJUSTED in without else taken[code]
            cap = None if CAPS in without else self._type_caps.get(code)
            goals[code] = max(0.0, count / len(top) - already / 2 if cap is None else cap - taken[code])
        if not (total := sum(goals.values())):
            return
        colorless = self.colorless & (COLOR_FIRST not in without)
        chance = self._chance(TOP_TYPES, np.flatnonzero(self._top))
        for code, goal in zip(goals, allocate(count, [goal / total for goal in goals.values()]), strict=True):
            indices = np.flatnonzero((self.types == code) & ~taker.taken)
            taker.take(indices[np.lexsort((chance[indices], colorless[indices]))], goal, TOP_TYPES)

    def _exchange(self, taker: Taker, rare: Indices) -> None:
        """Exchange products of a type in excess of its cap, at most the given number, for products of rare types."""
        chance = self._chance(EXCHANGED, np.arange(len(self._facts)))
        for code, most in self._exchanged:
            drawn = np.flatnonzero(taker.taken & (self.types == code))
            excess = min(most, len(drawn) - int(self._type_caps.get(code, len(drawn))))
            before = len(taker.stages)
            taker.take(rare, max(0, excess), RARE_TYPES)
            for index in drawn[np.argsort(chance[drawn], kind="stable")][: len(taker.stages) - before].tolist():
                taker.put_back(index)


def codes_of(value: str, names: list[str]) -> list[int]:
    """Return the places of the names that are the value but for case and spaces; -1 for MISSING."""
    if value == MISSING:
        return [-1]
    return [place for place, name in enumerate(names) if _plain(name) == _plain(value)]


def _plain(text: str) -> str:
    return "".join(text.lower().split())
