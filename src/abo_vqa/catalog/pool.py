"""The products that may be drawn: one listing per key and per image."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from abo_vqa.catalog.listing import Listing
from abo_vqa.catalog.uncollected import uncollected


class Candidate(NamedTuple):
    """A listing that may be drawn, with the path of its image."""

    listing: Listing
    image_path: str


@uncollected()
def candidates(
    listings: Iterable[Listing], paths: Callable[[str], str | None]
) -> tuple[list[Candidate], dict[str, int]]:
    """Return the pool in the order of the products' keys, and counts of the listings left out.

    Of several listings with one key or one image the first stays. paths: image id to path, None for an unknown one.
    """
    left_out = Counter(dict.fromkeys(("duplicate_key", "without_image", "unknown_image", "duplicate_image"), 0))
    by_key: dict[str, Listing] = {}
    for listing in listings:
        key = listing.product_id
        other = by_key.setdefault(key, listing)
        if other is not listing:
            left_out["duplicate_key"] += 1
            # repr() settles which of two different listings with one key stays.
            by_key[key] = min(other, listing, key=repr)
    pool: list[Candidate] = []
    images: set[str] = set()
    for _, listing in sorted(by_key.items()):
        path = None if listing.image_id is None else paths(listing.image_id)
        if path is None:
            left_out["without_image" if listing.image_id is None else "unknown_image"] += 1
        elif path in images:
            left_out["duplicate_image"] += 1
        else:
            images.add(path)
            pool.append(Candidate(listing, path))
    return pool, dict(left_out)


def is_amazonbasics(candidate: Candidate) -> bool:
    """Say whether the brand is AmazonBasics, however it is spaced and cased."""
    return "".join((candidate.listing.brand or "").lower().split()) == "amazonbasics"


def is_shoes(candidate: Candidate) -> bool:
    """Say whether the product type is SHOES."""
    return candidate.listing.product_type == "SHOES"
