"""The sampling pool: one listing per key and per image."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from abo_vqa.catalog.archives import Listings
from abo_vqa.catalog.images import ImageArchive
from abo_vqa.catalog.shard import CODED

Indices = NDArray[np.int64]
_TOGETHER = 1 << 16  # keys compared at a time


@dataclass(frozen=True)
class Pool:
    """Products in the order of their keys.

    facts: product_id, the CODED facts and stratum. rows: of the listings. images: the places of their images.
    """

    facts: pa.Table
    rows: Indices
    images: Indices

    def __len__(self) -> int:
        return len(self.rows)


def candidates(listings: Listings, images: ImageArchive) -> tuple[Pool, dict[str, int]]:
    """Return the pool, and counts of the listings left out, by reason.

    Of several listings with one key or one image the first in key order stays. Images cannot be found by id afterwards.
    """
    hashes = listings.column("image")
    without, places = hashes.is_null().to_numpy(), images.find(hashes)
    del hashes
    images.drop_ids()
    rows, duplicate_keys = _by_key(listings)
    places, without_image = places[rows], int(without[rows].sum())
    known = np.flatnonzero(places >= 0)
    unknown = len(places) - len(known)
    _, first = np.unique(places[known], return_index=True)
    pooled = known[np.sort(first)]
    rows, places = rows[pooled], places[pooled]
    # One after another, so that only one is in memory twice.
    facts = {
        name: listings.column(name).take(pa.array(rows)).combine_chunks() for name in ("product_id", *CODED, "stratum")
    }
    return Pool(pa.table(facts), rows, places), {
        "duplicate_key": duplicate_keys,
        "without_image": without_image,
        "unknown_image": unknown - without_image,
        "duplicate_image": len(known) - len(pooled),
    }


def _by_key(listings: Listings) -> tuple[Indices, int]:
    """Return one listing's row per key, in key order, and the number of listings left out."""
    keys = listings.column("product_id").combine_chunks()
    rows = pc.sort_indices(keys).to_numpy().astype(np.int64)
    # Sorting puts equal keys next to each other, so neighbors are compared instead of a set of all keys; a part at a
    # time, since sorted keys are a copy.
    parts = (
        (start, keys.take(pa.array(rows[start : start + _TOGETHER]))) for start in range(0, len(rows), _TOGETHER - 1)
    )
    found = (start + 1 + np.flatnonzero(pc.equal(part[1:], part[:-1])) for start, part in parts)
    again = np.concatenate([np.empty(0, np.int64), *found])
    # Few listings share a key, so only these are read in full.
    alike = np.union1d(rows[again - 1], rows[again])
    texts = dict(zip(alike.tolist(), map(repr, listings.read(alike)), strict=True)) if len(alike) else {}
    for place in again.tolist():
        # The smallest repr() stays, so that the order of shards does not matter. It goes last, since the earlier row of
        # a pair is deleted, and so competes with the next row if the key occurs a third time.
        pair = rows[place - 1 : place + 1]
        pair[:] = sorted(pair.tolist(), key=texts.__getitem__, reverse=True)
    return np.delete(rows, again - 1), len(again)


def is_amazonbasics(brand: str | None) -> bool:
    """Return whether the brand is AmazonBasics, ignoring spaces and case."""
    return "".join((brand or "").lower().split()) == "amazonbasics"


def is_shoes(product_type: str) -> bool:
    """Return whether the product type is SHOES."""
    return product_type == "SHOES"
