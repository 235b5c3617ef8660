"""The paper's three-stage sampler (section 2.3): stratified, most frequent types, rare types.

Every stage puts the pool in an order of preference and takes the first usable products of it. The order
depends on the seed and on what is known of each product, never on the order of shards and rows.
"""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from abo_vqa.catalog.listing import Listing
from abo_vqa.catalog.shares import allocate
from abo_vqa.errors import InputError
from abo_vqa.params import SampleParams
from abo_vqa.seeds import derive_seed

STRATIFIED, TOP_TYPES, RARE_TYPES = STAGES = ("stratified", "top_types", "rare_types")


@dataclass(frozen=True)
class Candidate:
    """A listing that may be drawn, with the path of its image."""

    listing: Listing
    image_path: str


@dataclass(frozen=True)
class Draw:
    """A finished sample.

    products: (candidate, stage) by product id. unreadable: (product id, image path) drawn, found unusable and
    replaced. wanted: products each stage was to draw. shortfall: what a stage lacked and the stage-1 rule
    filled.
    """

    products: list[tuple[Candidate, str]]
    unreadable: list[tuple[str, str]]
    wanted: dict[str, int]
    shortfall: dict[str, int]


def candidates(
    listings: Iterable[Listing], paths: Callable[[str], str | None]
) -> tuple[list[Candidate], dict[str, int]]:
    """Return the pool, one listing per key and image (the smallest key stays), and counts of those left out.

    paths: image id to path, None for an unknown one.
    """
    # repr() settles which of two different listings with one key stays.
    ordered = sorted(listings, key=lambda listing: (listing.product_id, repr(listing)))
    left_out = Counter(dict.fromkeys(("duplicate_key", "without_image", "unknown_image", "duplicate_image"), 0))
    pool: list[Candidate] = []
    keys: set[str] = set()
    images: set[str] = set()
    for listing in ordered:
        path = None if listing.image_id is None else paths(listing.image_id)
        if listing.product_id in keys:
            left_out["duplicate_key"] += 1
        elif listing.image_id is None:
            left_out["without_image"] += 1
        elif path is None:
            left_out["unknown_image"] += 1
        elif path in images:
            left_out["duplicate_image"] += 1
        else:
            images.add(path)
            pool.append(Candidate(listing, path))
        keys.add(listing.product_id)
    return pool, dict(left_out)


def draw_sample(
    pool: Sequence[Candidate], params: SampleParams, seed: int, usable: Callable[[Candidate], bool]
) -> Draw:
    """Draw exactly `params.products` products from the pool; `usable` is asked once about each product drawn.

    What stages 2 and 3 lack in a small catalogue is filled by the rule of stage 1 and reported. InputError if
    the pool, or what the AmazonBasics cap leaves of it, is smaller than the sample.
    """
    if len(pool) < params.products:
        raise InputError(_too_small(params.products, len(pool)))
    taker = _Taker(usable)
    shares = params.shares
    counts = allocate(params.products, (shares.stratified, shares.top_types, shares.rare_types))
    wanted = dict(zip(STAGES, counts, strict=True))
    by_frequency = _by_frequency(pool)
    basics = _Cap(is_amazonbasics, _scaled(params.amazonbasics_cap, params))
    shoes = _Cap(is_shoes, _scaled(params.shoes_cap, params))

    stratified = stratified_order(pool, params.strata, seed)
    taker.take(stratified, wanted[STRATIFIED], STRATIFIED, basics)
    top = set(by_frequency[: params.top_types])
    taker.take(_top_types_order(pool, top, taker.stages, seed), wanted[TOP_TYPES], TOP_TYPES, shoes)
    common = set(by_frequency[: params.rare_outside])
    rare = [candidate for candidate in pool if candidate.listing.product_type not in common]
    taker.take(_shuffled(rare, seed, RARE_TYPES), wanted[RARE_TYPES], RARE_TYPES, None)

    drawn = Counter(taker.stages.values())
    shortfall = {stage: wanted[stage] - drawn[stage] for stage in STAGES}
    taker.take(stratified, params.products - len(taker.stages), STRATIFIED, basics)
    if len(taker.stages) < params.products:
        readable = len(pool) - len(taker.refused)
        if readable < params.products:
            raise InputError(_too_small(params.products, readable))
        raise InputError(
            f"sample.products is {params.products}, but sample.amazonbasics_cap (here {basics.limit}) leaves only "
            f"{len(taker.stages)} of {readable} products; lower sample.products or raise the cap"
        )
    products = [(c, taker.stages[c.listing.product_id]) for c in pool if c.listing.product_id in taker.stages]
    products.sort(key=lambda drawn: drawn[0].listing.product_id)
    return Draw(products, sorted(taker.refused.items()), wanted, shortfall)


def stratified_order(pool: Sequence[Candidate], strata: int, seed: int) -> list[Candidate]:
    """Order the pool for stage 1: those with a colour first, then by square-root allocation over strata.

    The stratum is a hash of type, brand, colour and material. The name is left out: with it almost every text
    would be unique and the strata alike, and the square root could not hold back the crowds of look-alikes.
    """
    groups: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in pool:
        groups[_stratum(candidate.listing, strata)].append(candidate)
    ranked = []
    for group in groups.values():
        for rank, candidate in enumerate(_colored_first(group, seed, STRATIFIED)):
            # Webster's divisor method: whoever is taken first, the strata's shares stay as sqrt(size) :
            # sqrt(size).
            turn = (rank + 0.5) / math.sqrt(len(group))
            ranked.append((candidate.listing.color is None, turn, *_chance(candidate, seed, STRATIFIED), candidate))
    return [entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:-1])]


def is_amazonbasics(candidate: Candidate) -> bool:
    """Say whether the brand is AmazonBasics, however it is spaced and cased."""
    return "".join((candidate.listing.brand or "").lower().split()) == "amazonbasics"


def is_shoes(candidate: Candidate) -> bool:
    """Say whether the product type is SHOES."""
    return candidate.listing.product_type == "SHOES"


@dataclass
class _Cap:
    """At most `limit` products of a kind; counts those taken so far."""

    concerns: Callable[[Candidate], bool]
    limit: int
    taken: int = 0


class _Taker:
    """Takes products from orders of preference, each at most once, asking once whether one is usable."""

    def __init__(self, usable: Callable[[Candidate], bool]):
        self._usable = usable
        self.stages: dict[str, str] = {}
        self.refused: dict[str, str] = {}

    def take(self, order: Iterable[Candidate], count: int, stage: str, cap: _Cap | None) -> None:
        """Take the first `count` that are free, usable and within the cap; fewer if there are no more."""
        for candidate in order:
            if count <= 0:
                return
            key = candidate.listing.product_id
            if key in self.stages or key in self.refused:
                continue
            capped = cap is not None and cap.concerns(candidate)
            if cap is not None and capped and cap.taken >= cap.limit:
                continue
            if not self._usable(candidate):
                self.refused[key] = candidate.image_path
                continue
            self.stages[key] = stage
            if cap is not None:
                cap.taken += capped
            count -= 1


def _top_types_order(pool: Sequence[Candidate], top: set[str], taken: dict[str, str], seed: int) -> list[Candidate]:
    """Order the products of the top types: each type's share over stages 1 and 2 follows its frequency.

    Within a type the listings with a colour come first, those without fill up.
    """
    groups: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in pool:
        if candidate.listing.product_type in top:
            groups[candidate.listing.product_type].append(candidate)
    ranked = []
    for group in groups.values():
        free = [candidate for candidate in group if candidate.listing.product_id not in taken]
        for rank, candidate in enumerate(_colored_first(free, seed, TOP_TYPES), len(group) - len(free)):
            ranked.append(((rank + 0.5) / len(group), *_chance(candidate, seed, TOP_TYPES), candidate))
    return [entry[-1] for entry in sorted(ranked, key=lambda entry: entry[:-1])]


def _by_frequency(pool: Iterable[Candidate]) -> list[str]:
    counts = Counter(candidate.listing.product_type for candidate in pool)
    return sorted(counts, key=lambda name: (-counts[name], name))


def _stratum(listing: Listing, strata: int) -> int:
    facts = (listing.product_type, listing.brand, listing.color, listing.material)
    text = "\n".join(fact or "" for fact in facts).lower()
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") % strata


def _chance(candidate: Candidate, seed: int, stage: str) -> tuple[int, str]:
    """Return the product's own random number, with its key to settle ties."""
    key = candidate.listing.product_id
    return derive_seed(seed, "sample", stage, key), key


def _shuffled(group: Iterable[Candidate], seed: int, stage: str) -> list[Candidate]:
    return sorted(group, key=lambda candidate: _chance(candidate, seed, stage))


def _colored_first(group: Iterable[Candidate], seed: int, stage: str) -> list[Candidate]:
    return sorted(_shuffled(group, seed, stage), key=lambda candidate: candidate.listing.color is None)


def _scaled(cap: int, params: SampleParams) -> int:
    return math.ceil(cap * params.products / params.reference_size)


def _too_small(size: int, available: int) -> str:
    return f"sample.products is {size}, but only {available} products have a readable image; lower it"
