"""Divide the questions by product: questions.parquet to tables/splits/*.parquet (paper, section 3.1)."""

import hashlib
from collections import Counter
from pathlib import Path

from abo_vqa.catalog.tables import read_table, write_json, write_table
from abo_vqa.params import read_params
from abo_vqa.questions.expectations import refuse_failures, run_suite
from abo_vqa.questions.schema import SPLIT_SCHEMA
from abo_vqa.questions.split import SPLITS, assign_splits, overlap_columns
from abo_vqa.stages import run_stage
from abo_vqa.stages.files import QUESTIONS, SAMPLE, split_table

SUITE = Path("expectations/splits.json")
REPORT = Path("reports/split.json")


def main() -> None:
    """Write the three splits and check, on what was written, that they share no product and no image."""
    params = read_params()
    questions = read_table(QUESTIONS, "validate")
    asked = {row["product_id"] for row in questions}
    images = {
        row["product_id"]: hashlib.sha256(row["image"]["bytes"]).hexdigest()
        for row in read_table(SAMPLE, "sample", ["product_id", "image"])
        if row["product_id"] in asked
    }
    splits = assign_splits(images, params.split, params.seed)
    for split in SPLITS:
        rows = [row for row in questions if splits[row["product_id"]] == split]
        write_table(
            split_table(split), (row | {"image_sha256": images[row["product_id"]]} for row in rows), SPLIT_SCHEMA
        )

    written = {split: read_table(split_table(split), "split") for split in SPLITS}
    overlaps = overlap_columns((split, row) for split, rows in written.items() for row in rows)
    refuse_failures(run_suite(SUITE, overlaps, "qa_id"), overlaps.set_index("qa_id").T.to_dict(), "splits")
    report = {
        split: {
            "products": len({row["product_id"] for row in rows}),
            "images": len({row["image_sha256"] for row in rows}),
            "questions": len(rows),
            "by_type": dict(Counter(row["question_type"] for row in rows)),
        }
        for split, rows in written.items()
    }
    write_json(REPORT, report)
    print("split: " + ", ".join(f"{split} {len(rows)} questions" for split, rows in written.items()))


if __name__ == "__main__":
    run_stage("split", main)
