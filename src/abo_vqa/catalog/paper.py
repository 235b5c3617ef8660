"""The paper's sample: its rules, the deviations here, and the counts that its author's notebook prints."""

from collections.abc import Mapping
from typing import Any

from abo_vqa.catalog.capped import MISSING
from abo_vqa.catalog.profile import Distribution

PRODUCTS = 12_000
COUNTS = {
    "product_type": {
        "CELLULAR_PHONE_CASE": 956,
        "SHOES": 803,
        "HOME": 568,
        "CHAIR": 345,
        "GROCERY": 271,
        "ACCESSORY": 252,
        "SANDAL": 249,
        "BOOT": 245,
        "HANDBAG": 242,
        "HOME_FURNITURE_AND_DECOR": 239,
    },
    "brand": {
        "AmazonBasics": 1704,
        "Amazon Brand - Solimo": 1390,
        "Amazon Collection": 578,
        "Stone & Beam": 563,
        "Rivet": 532,
        "UMI": 509,
        "find.": 448,
        "Eono": 406,
        "Movian": 405,
        "Ravenna Home": 387,
    },
    "color": {
        MISSING: 1789,
        "Black": 531,
        "Others": 456,
        "Multicolor": 358,
        "White": 312,
        "Negro": 187,
        "multi-colored": 150,
        "Grey": 138,
        "Blue": 126,
        "Brown": 109,
    },
}
RULES = (
    {
        "rule": "candidates",
        "paper": "one listing per main image",
        "here": "one listing per key and per image, the first by key, so that the order of rows does not matter",
    },
    {
        "rule": "values",
        "paper": "the first of each list, in any language",
        "here": "the first English one, else the first: colors such as Negro count as their English word",
    },
    {
        "rule": "strata",
        "paper": "hash of the first 50 characters each of item_keywords, node and bullet_point, modulo 1,000",
        "here": "the same texts by SHA-256; the number of strata scales with the sample",
    },
    {
        "rule": "stage 1",
        "paper": "square root of each stratum's size, scaled to 7,200 and rounded down; caps in every stratum, "
        "max(1, floor(cap x share / 7,200))",
        "here": "the same; within a stratum in an order by seed and key",
    },
    {
        "rule": "stage 2",
        "paper": "90 of each of the top 40 types less half of what stage 1 took, of capped types what the cap leaves; "
        "scaled to 3,600, rounded down; with a color first",
        "here": "the same, rounded to 3,600 exactly",
    },
    {
        "rule": "stage 3",
        "paper": "1,200 of types outside the top 50, uniformly",
        "here": "the same",
    },
    {
        "rule": "exchange",
        "paper": "100 excess SHOES for products of rare types",
        "here": "as many as sample.exchanged names, at most the excess over the cap",
    },
    {
        "rule": "filling up",
        "paper": "558 products at random",
        "here": "at random, but of a capped type no more than stage 1 allows over all strata",
    },
)


def side_by_side(sample: Mapping[str, Distribution], products: int) -> dict[str, Any]:
    """Return the paper's counts beside this sample's, scaled to the paper's size, and the rules with deviations."""
    counts = {
        fact: {
            value: {"paper": count, "here": round(_count(sample[fact], value) * PRODUCTS / max(products, 1))}
            for value, count in printed.items()
        }
        for fact, printed in COUNTS.items()
    }
    return {"counts": counts, "rules": list(RULES)}


def _count(found: Distribution, value: str) -> int:
    return found.missing if value == MISSING else found.counts[value]
