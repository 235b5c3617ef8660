"""Train, validation and test by product: no product and no image in two of them (paper, section 3.1)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from abo_vqa.catalog.shares import allocate
from abo_vqa.errors import InputError
from abo_vqa.params import SplitParams
from abo_vqa.seeds import derive_seed

if TYPE_CHECKING:
    import pandas as pd

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")


def assign_splits(images: Mapping[str, str], params: SplitParams, seed: int) -> dict[str, str]:
    """Return the split of every product; products with the same image bytes go together.

    images: product id to the SHA-256 of its image. The shares are exact to the product unless products that
    share an image stand in the way. InputError if there are too few products for three splits.
    """
    shares = (1 - params.validation - params.test, params.validation, params.test)
    room = dict(zip(SPLITS, allocate(len(images), shares), strict=True))
    groups: dict[str, list[str]] = defaultdict(list)
    for product, image in sorted(images.items()):
        groups[image].append(product)
    splits: dict[str, str] = {}
    for image in sorted(groups, key=lambda image: (derive_seed(seed, "split", image), image)):
        products = groups[image]
        fitting = [split for split in (TEST, VALIDATION, TRAIN) if room[split] >= len(products)]
        split = fitting[0] if fitting else max(SPLITS, key=lambda name: room[name])
        room[split] -= len(products)
        splits |= dict.fromkeys(products, split)
    if empty := [split for split in SPLITS if split not in splits.values()]:
        raise InputError(f"split: {len(images)} products leave {empty[0]} empty; raise sample.products")
    return splits


def overlap_columns(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> "pd.DataFrame":
    """Return the columns that the splits' suite is about, from (split, question) pairs.

    splits_of_product, splits_of_image: in how many splits the question's product, and its image, occur.
    """
    import pandas as pd

    columns = ("qa_id", "product_id", "image_sha256")
    table = pd.DataFrame([{name: row[name] for name in columns} | {"split": split} for split, row in rows])
    for name, column in (("splits_of_product", "product_id"), ("splits_of_image", "image_sha256")):
        table[name] = table.groupby(column)["split"].transform("nunique")
    return table
