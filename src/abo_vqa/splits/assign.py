"""Assign products to splits: no product, name, image or near-duplicate image in two of them (paper, section 3.1)."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from abo_vqa.common.draws import allocate, derive_seed
from abo_vqa.common.errors import InputError
from abo_vqa.common.params.data import SplitParams
from abo_vqa.common.schema import SPLITS, TEST, TRAIN, VALIDATION
from abo_vqa.splits.near_duplicates import least_distances

if TYPE_CHECKING:
    import pandas as pd

OVERLAP_COLUMNS = ("qa_id", "product_id", "image_sha256", "image_phash", "image_group")


def assign_splits(grouped: Mapping[str, str], params: SplitParams, seed: int) -> dict[str, str]:
    """Return the split of every product; products of one group stay together.

    grouped: product id to its group. The shares are exact to one product unless groups prevent it.
    InputError if products are too few, or groups too large, for three splits.
    """
    shares = (1 - params.validation - params.test, params.validation, params.test)
    room = dict(zip(SPLITS, allocate(len(grouped), shares), strict=True))
    groups: dict[str, list[str]] = defaultdict(list)
    for product, group in sorted(grouped.items()):
        groups[group].append(product)
    splits: dict[str, str] = {}
    for group in sorted(groups, key=lambda group: (derive_seed(seed, "split", group), group)):
        products = groups[group]
        fitting = [split for split in (TEST, VALIDATION, TRAIN) if room[split] >= len(products)]
        split = fitting[0] if fitting else max(SPLITS, key=lambda name: room[name])
        room[split] -= len(products)
        splits |= dict.fromkeys(products, split)
    if empty := [split for split in SPLITS if split not in splits.values()]:
        raise InputError(
            f"split: {len(grouped)} products leave {empty[0]} empty; raise sample.products, or lower "
            "split.near_duplicate_bits and raise split.near_duplicate_correlation"
        )
    return splits


def overlap_columns(rows: Iterable[tuple[str, Mapping[str, Any]]], names: Mapping[str, str]) -> "pd.DataFrame":
    """Return the columns that the splits' suite checks, from (split, question) pairs.

    names: listed names of products (names.py). splits_of_product, splits_of_name, splits_of_image, splits_of_group:
    number of splits with the question's product, its name, its image, and its group of near duplicates.
    bits_to_other_split: Hamming distance of its image's hash to the nearest one in another split.
    """
    import pandas as pd

    table = pd.DataFrame([{name: row[name] for name in OVERLAP_COLUMNS} | {"split": split} for split, row in rows])
    # A product without a name is alone under its id.
    table["name"] = [names.get(product, f"product {product}") for product in table["product_id"]]
    for name, column in (
        ("splits_of_product", "product_id"),
        ("splits_of_name", "name"),
        ("splits_of_image", "image_sha256"),
        ("splits_of_group", "image_group"),
    ):
        table[name] = table.groupby(column)["split"].transform("nunique")
    hashes = {split: sorted(set(part["image_phash"])) for split, part in table.groupby("split")}
    table["bits_to_other_split"] = 0
    for split, part in table.groupby("split"):
        others = [int(value, 16) for name, values in hashes.items() if name != split for value in values]
        nearest = least_distances([int(value, 16) for value in hashes[split]], others)
        table.loc[part.index, "bits_to_other_split"] = part["image_phash"].map(
            dict(zip(hashes[split], nearest, strict=True))
        )
    return table
