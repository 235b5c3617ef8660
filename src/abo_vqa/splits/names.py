"""Products that a catalog lists under the same name: variants of one product, or the same product again."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from abo_vqa.common.words import fold
from abo_vqa.splits.near_duplicates import connected

NAME_COLUMNS = ("product_id", "brand", "item_name")


def listed_names(listings: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return brand and name of each product that has a name, normalized.

    A name of which some product lacks the brand counts for products of all brands, since the brand may be any.
    """
    names = {row["product_id"]: (fold(row["item_name"]), fold(row["brand"])) for row in listings}
    unbranded = {name for name, brand in names.values() if not brand}
    return {
        product: name if name in unbranded else f"{brand}: {name}" for product, (name, brand) in names.items() if name
    }


def split_groups(images: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    """Return the group of every product: those of one image group or one listed name, directly or by way of others.

    images: product id to image group. A group is named by its smallest image group.
    """
    named: dict[str, list[str]] = defaultdict(list)
    for product, image in sorted(images.items()):
        if product in names:
            named[names[product]].append(image)
    together = ((images[0], other) for images in named.values() for other in images[1:])
    groups = connected(sorted(set(images.values())), together)
    return {product: groups[image] for product, image in images.items()}
