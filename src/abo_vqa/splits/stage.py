"""Stage split: divide questions.parquet by product into tables/splits/*.parquet (paper, section 3.1)."""

import abo_vqa.common.processor  # noqa: F401

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from abo_vqa.common.layout import QUESTIONS, SAMPLE, split_table
from abo_vqa.common.params import read_params
from abo_vqa.common.params.data import SplitParams
from abo_vqa.common.runner import run_stage
from abo_vqa.common.schema import SPLITS
from abo_vqa.common.storage import open_image, read_schema, read_table, write_json, write_table
from abo_vqa.questions.expectations import Guarded, refuse_failures, run_suite
from abo_vqa.splits.assign import assign_splits, overlap_columns
from abo_vqa.splits.matching import match_questions
from abo_vqa.splits.names import NAME_COLUMNS, listed_names, split_groups
from abo_vqa.splits.near_duplicates import near_duplicate_groups, perceptual_hash
from abo_vqa.splits.pixels import Thumbnails, thumbnail

SUITE = Path("expectations/splits.json")
REPORT = Path("reports/split.json")
# Columns that the stage adds to the questions. image_phash: 64 bits in hexadecimal. image_group: see
# near_duplicates.py. matched_options, balanced: see matching.py; null and false if a question is not kept.
ADDED_COLUMNS = (
    pa.field("image_sha256", pa.string()),
    pa.field("image_phash", pa.string()),
    pa.field("image_group", pa.string()),
    pa.field("matched_options", pa.list_(pa.string())),
    pa.field("balanced", pa.bool_()),
)


def main() -> None:
    """Write the three splits, and check the written files for shared products, names and near-duplicate images."""
    params = read_params()
    questions = read_table(QUESTIONS, "validate")
    images = _images({row["product_id"] for row in questions}, params.split)
    grouped = split_groups({product: image["image_group"] for product, image in images.items()}, _names())
    splits = assign_splits(grouped, params.split, params.seed)
    parts: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for row in questions:
        parts[splits[row["product_id"]]].append(row | images[row["product_id"]])
    matching = match_questions(parts, params.matching, params.validate_.options, params.seed)
    schema = pa.schema([*read_schema(QUESTIONS, "validate"), *ADDED_COLUMNS])
    for split, rows in parts.items():
        write_table(split_table(split), (row | matching.columns(row) for row in rows), schema)

    written = {split: read_table(split_table(split), "split") for split in SPLITS}
    overlaps = guarded_splits(written, params.split)
    refuse_failures(run_suite(overlaps), overlaps.table.set_index("qa_id").T.to_dict(), "splits")
    report = {
        split: {
            "products": len({row["product_id"] for row in rows}),
            **_count_images(rows),
            **_count_groups({row["product_id"] for row in rows}, grouped),
            "questions": len(rows),
            "by_type": dict(Counter(row["question_type"] for row in rows)),
            "matching": matching.report[split],
        }
        for split, rows in written.items()
    }
    write_json(REPORT, report)
    print("split: " + ", ".join(f"{split} {len(rows)} questions" for split, rows in written.items()))


def _count_images(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    groups = {row["image_sha256"]: row["image_group"] for row in rows}
    together = Counter(groups.values()).values()
    return {
        "images": len(groups),
        "images_with_near_duplicates": sum(count for count in together if count > 1),
        "image_groups": len(together),
        "largest_image_group": max(together, default=0),
    }


def _count_groups(products: set[str], grouped: Mapping[str, str]) -> dict[str, Any]:
    """Count groups that no split divides: near-duplicate images and equal names together; sizes in products."""
    sizes = Counter(Counter(grouped[product] for product in products).values())
    return {
        "groups": sizes.total(),
        "largest_group": max(sizes, default=0),
        "groups_by_size": {str(size): sizes[size] for size in sorted(sizes)},
    }


def guarded_splits(written: Mapping[str, Sequence[Mapping[str, Any]]], params: SplitParams) -> Guarded:
    """Return the table that the splits' suite checks, with the suite's parameters."""
    overlaps = overlap_columns(((split, row) for split, rows in written.items() for row in rows), _names())
    return Guarded(SUITE, overlaps, "qa_id", {"near_duplicate_bits": params.near_duplicate_bits})


def _names() -> dict[str, str]:
    return listed_names(read_table(SAMPLE, "sample", list(NAME_COLUMNS)))


def _images(products: set[str], params: SplitParams) -> dict[str, dict[str, Any]]:
    """Return the digest, the perceptual hash and the group of each product's image; equal bytes are decoded once."""
    digests: dict[str, str] = {}
    hashes: dict[str, int] = {}
    thumbnails: dict[str, Thumbnails] = {}
    sample = read_table(SAMPLE, "sample", ["product_id", "image_path", "image"])
    asked = [row for row in sample if row["product_id"] in products]
    for row in tqdm(asked, desc="hash", unit=" images", mininterval=1):
        data = row["image"]["bytes"]
        digest = hashlib.sha256(data).hexdigest()
        if digest not in hashes:
            image = open_image(f"{SAMPLE}: {row['image_path']}", data)
            hashes[digest], thumbnails[digest] = perceptual_hash(image), thumbnail(image)
        digests[row["product_id"]] = digest
    groups = near_duplicate_groups(hashes, thumbnails, params.near_duplicate_bits, params.near_duplicate_correlation)
    return {
        product: {"image_sha256": digest, "image_phash": f"{hashes[digest]:016x}", "image_group": groups[digest]}
        for product, digest in digests.items()
    }


if __name__ == "__main__":
    run_stage("split", main)
