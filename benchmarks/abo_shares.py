"""The paper's sample of a drawn pool of ABO's size, its counts beside the paper's.

    PYTHONPATH=src python benchmarks/abo_shares.py [--seeds 3]

Drawn by ABO's figures: about 123,500 listings of different images, the counts of its 20 largest types, 573 types in
all, about the share of its largest brand and of listings without color. Invented, since nobody has published it: how
brands and colors are spread over types, and how many listings of a type share an image or a stratum. They follow what
real listings show where there are any (groceries have no color, phone cases are Solimo's), and are otherwise such that
the paper's rules come to about its printed counts. So the table tests the sampler's rules, not ABO's brands.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from ruamel.yaml import YAML

from abo_vqa.catalog.capped import CappedSampler
from abo_vqa.catalog.paper import COUNTS, side_by_side
from abo_vqa.catalog.profile import distributions
from abo_vqa.catalog.sampler import Sampler
from abo_vqa.common.draws import digests
from abo_vqa.common.params.data import CapsParams, SampleParams
from abo_vqa.statistics.display import markdown_table

LISTINGS, TYPES, UNIQUE = 147_127, 573, 123_512
LARGEST = {
    "CELLULAR_PHONE_CASE": 64_825, "SHOES": 12_964, "GROCERY": 6_509, "HOME": 5_247, "HOME_BED_AND_BATH": 3_078,
    "HOME_FURNITURE_AND_DECOR": 2_195, "CHAIR": 2_099, "BOOT": 2_009, "SANDAL": 1_845, "FINERING": 1_540,
    "HEALTH_PERSONAL_CARE": 1_409, "FINENECKLACEBRACELETANKLET": 1_377, "ACCESSORY": 1_317, "SOFA": 1_198,
    "OFFICE_PRODUCTS": 1_152, "FINEEARRING": 1_137, "PET_SUPPLIES": 1_062, "TABLE": 936, "SPORTING_GOODS": 920,
    "HARDWARE_HANDLE": 860,
}  # fmt: skip
# Shares of the brands by type; the rest of a type goes to small brands. Others: of types that are not named.
BRANDS: dict[str, dict[str, float]] = {
    "CELLULAR_PHONE_CASE": {"Amazon Brand - Solimo": 0.985, "AmazonBasics": 0.005},
    "SHOES": {"find.": 0.2},
    "GROCERY": {"Amazon Brand - Solimo": 0.02},
    "HOME": {
        "AmazonBasics": 0.12, "UMI": 0.14, "Stone & Beam": 0.04, "Rivet": 0.05, "Amazon Brand - Solimo": 0.06,
        "Eono": 0.08,
    },
    "ACCESSORY": {"Eono": 0.05},
    "HANDBAG": {"UMI": 0.05},
    "CHAIR": {"Rivet": 0.12, "Stone & Beam": 0.12, "Ravenna Home": 0.1, "Movian": 0.2},
    "SOFA": {"Rivet": 0.3, "Stone & Beam": 0.3, "Ravenna Home": 0.1, "Movian": 0.1},
    "TABLE": {"Rivet": 0.2, "Stone & Beam": 0.2, "Ravenna Home": 0.2, "Movian": 0.2},
    "FINERING": {"Amazon Collection": 0.6},
    "FINEEARRING": {"Amazon Collection": 0.6},
    "FINENECKLACEBRACELETANKLET": {"Amazon Collection": 0.6},
    "HOME_BED_AND_BATH": {"AmazonBasics": 0.8, "Amazon Brand - Solimo": 0.1},
    "OFFICE_PRODUCTS": {"AmazonBasics": 0.9},
    "PET_SUPPLIES": {"AmazonBasics": 0.8, "Amazon Brand - Solimo": 0.1},
    "HARDWARE_HANDLE": {"AmazonBasics": 0.9},
    "SPORTING_GOODS": {"AmazonBasics": 0.9},
    "others": {
        "AmazonBasics": 0.15, "Amazon Brand - Solimo": 0.06, "UMI": 0.05, "Eono": 0.05, "Movian": 0.04,
        "Ravenna Home": 0.04, "Rivet": 0.05, "Stone & Beam": 0.05, "find.": 0.045, "Amazon Collection": 0.03,
    },
}  # fmt: skip
# Share of the listings without color, by type.
COLORLESS = {
    "CELLULAR_PHONE_CASE": 0.15,
    "GROCERY": 0.98,
    "HEALTH_PERSONAL_CARE": 0.9,
    "SHOES": 0.02,
    "BOOT": 0.02,
    "SANDAL": 0.02,
    "CHAIR": 0.05,
    "ACCESSORY": 0.02,
    "HANDBAG": 0.02,
    "HOME_FURNITURE_AND_DECOR": 0.15,
    "HOME": 0.15,
    "FINERING": 0.7,
    "FINEEARRING": 0.7,
    "FINENECKLACEBRACELETANKLET": 0.7,
    "OFFICE_PRODUCTS": 0.5,
    "HOME_BED_AND_BATH": 0.4,
    "HARDWARE_HANDLE": 0.6,
    "SPORTING_GOODS": 0.5,
    "PET_SUPPLIES": 0.5,
    "others": 0.26,
}
COLORS = {
    "phone cases": {"Others": 0.5, "Multicolor": 0.2, "multi-colored": 0.15},
    "others": {
        "Black": 0.055,
        "Multicolor": 0.03,
        "Others": 0.02,
        "White": 0.034,
        "Grey": 0.03,
        "Blue": 0.03,
        "Brown": 0.025,
        "Negro": 0.03,
    },
}
CASE_TEXTS, OTHER_TEXTS = 3_000, 4_000
# Share of the products that share their text with many, by type.
CROWDED = {"CELLULAR_PHONE_CASE": 0.0, "HANDBAG": 0.0, "CHAIR": 0.3, "ACCESSORY": 0.3, "others": 0.7}
# Share of the listings with an image of their own, by type.
OWN_IMAGE = {
    "CELLULAR_PHONE_CASE": 0.92, "SHOES": 0.9, "HOME": 1.0, "CHAIR": 1.0, "ACCESSORY": 1.0, "HANDBAG": 1.0,
    "HOME_FURNITURE_AND_DECOR": 1.0, "GROCERY": 0.4, "HOME_BED_AND_BATH": 0.5, "others": 0.72,
}  # fmt: skip
HANDBAGS = 850  # of the types whose count is unknown, the one with the most in the sample
TAIL, POWER = 12, 1.1  # of the other types


def pool(seed: int = 1) -> pa.Table:
    """Return the facts of a drawn pool, as catalog.pool.candidates returns them."""
    rng = np.random.default_rng(seed)
    types, counts = _types()
    kind = np.repeat(np.arange(len(types)), counts)
    brand = np.empty(len(kind), object)
    color = np.empty(len(kind), object)
    for code, name in enumerate(types):
        here = np.flatnonzero(kind == code)
        shares = BRANDS.get(name, BRANDS["others"])
        rest = 1 - sum(shares.values())
        values = [*shares, *(f"Brand {number}" for number in range(610))]
        small = 1 / (np.arange(610) + 30.0)
        brand[here] = rng.choice(values, len(here), p=[*shares.values(), *(rest * small / small.sum())])
        chosen = COLORS["phone cases" if name == "CELLULAR_PHONE_CASE" else "others"]
        values = [*chosen, *(f"Shade {number}" for number in range(9_000))]
        small = 1 / (np.arange(9_000) + 300.0)
        rest = 1 - sum(chosen.values())
        color[here] = rng.choice(values, len(here), p=[*chosen.values(), *(rest * small / small.sum())])
        color[here[rng.random(len(here)) < COLORLESS.get(name, COLORLESS["others"])]] = None
    # Variants share keywords, node and first bullet point, phone cases by the thousands.
    text = np.arange(len(kind)) + 10**6
    for chosen, texts in (
        (kind == types.index("CELLULAR_PHONE_CASE"), CASE_TEXTS),
        (crowded(kind, types, rng), OTHER_TEXTS),
    ):
        text[chosen] = texts + rng.zipf(1.3, chosen.sum()) % texts
    keys = [f"B{number:09d}@amazon.com" for number in rng.permutation(len(kind))]
    table = {
        "product_id": keys,
        "product_type": np.array(types, object)[kind],
        "brand": brand,
        "color": color,
        "material": [None] * len(kind),
        "stratum": digests(str(number) for number in text),
    }
    coded = pa.dictionary(pa.int32(), pa.string())
    columns = {
        name: pa.array(values, pa.string()).cast(coded)
        if name in ("product_type", "brand", "color", "material")
        else values
        for name, values in table.items()
    }
    return pa.table(columns).sort_by("product_id")


def crowded(kind: Any, types: list[str], rng: np.random.Generator) -> Any:
    """Return which products other than phone cases share their text with many others."""
    shares = np.array([CROWDED.get(name, CROWDED["others"]) for name in types])
    return rng.random(len(kind)) < shares[kind]


def params() -> SampleParams:
    """Return the paper's preset on top of the committed parameters."""
    from abo_vqa.common.params import read_params

    given = YAML(typ="safe").load(Path(__file__).parent.parent / "presets/paper.yaml")["sample"]
    caps = CapsParams(**given.pop("caps"))
    return read_params().sample.model_copy(update=given | {"caps": caps})


def _types() -> tuple[list[str], list[int]]:
    """Return the types and their listings of different images."""
    rest = 1 / (np.arange(TYPES - len(LARGEST)) + TAIL) ** POWER
    rest *= (LISTINGS - sum(LARGEST.values()) - HANDBAGS) / rest[1:].sum()
    rest[0] = HANDBAGS
    names = [*LARGEST, "HANDBAG", *(f"TYPE_{number:03d}" for number in range(TYPES - len(LARGEST) - 1))]
    listed = np.array([*LARGEST.values(), *rest])
    unique = np.array([OWN_IMAGE.get(name, OWN_IMAGE["others"]) for name in names])
    return names, np.maximum(1, np.round(listed * unique)).astype(int).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    facts, wanted = pool(), params()
    print(f"{len(facts):,} products, {wanted.products:,} drawn; counts by seed\n")
    drawn = {
        f"with caps, seed {seed}": _counts(CappedSampler(facts, wanted, seed), facts) for seed in range(args.seeds)
    }
    drawn["without caps"] = _counts(Sampler(facts, wanted, 0), facts)
    rows = [
        [fact, value, str(count), *(str(found[fact][value]["here"]) for found in drawn.values())]
        for fact, printed in COUNTS.items()
        for value, count in printed.items()
    ]
    print(markdown_table(["fact", "value", "paper", *drawn], rows))


def _counts(sampler: Sampler, facts: pa.Table) -> dict[str, Any]:
    draw = sampler.draw(lambda _: True)
    sample = facts.take(list(draw.stages))
    found: dict[str, Any] = side_by_side(distributions(sample), len(sample))["counts"]
    return found


if __name__ == "__main__":
    main()
