"""Get one raw output per image: tables/sample.parquet to tables/raw.jsonl (paper, section 3.1)."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from abo_vqa.catalog.listing import Listing
from abo_vqa.common.layout import RAW, SAMPLE
from abo_vqa.common.params import read_params
from abo_vqa.common.runner import run_stage
from abo_vqa.common.schema import RawOutput
from abo_vqa.common.storage import read_table, write_json, write_json_lines
from abo_vqa.generators.metadata import generate_from_metadata
from abo_vqa.generators.recorded import NAMED, select_recorded
from abo_vqa.generators.vlm import generate_with_model

REPORT = Path("reports/generate.json")
COLUMNS = (
    "product_id item_id domain_name product_type brand color material shape item_name bullets english "
    "height width length image_id image_path"
).split()


def main() -> None:
    """Write the outputs of the source that params.yaml names, with counts of what was used and skipped."""
    params = read_params()
    rows = read_table(SAMPLE, "sample", COLUMNS)
    if params.generate.source == "recorded":
        assert params.generate.recorded is not None
        outputs, report = _recorded(rows, Path(params.generate.recorded))
    elif params.generate.source == "vlm":
        outputs, report = generate_with_model(rows, params)
    else:
        outputs, report = _metadata(rows, params.seed)
    write_json_lines(RAW, map(asdict, tqdm(outputs, desc="generate", unit=" outputs", mininterval=1)))
    write_json(REPORT, {"source": params.generate.source, "products": len(rows)} | report)
    print(f"generate: {len(outputs)} outputs for {len(rows)} products")


def _metadata(rows: list[dict[str, Any]], seed: int) -> tuple[list[RawOutput], dict[str, Any]]:
    products = [(Listing.from_row(row), row["image_path"]) for row in rows]
    generated = generate_from_metadata(products, seed)
    counts = {
        "outputs": len(generated.outputs),
        "products_without_output": len(rows) - len(generated.outputs),
        "asked": generated.asked,
        "skipped_without_fact": generated.skipped,
    }
    return generated.outputs, counts


def _recorded(rows: list[dict[str, Any]], path: Path) -> tuple[list[RawOutput], dict[str, Any]]:
    recorded = select_recorded(path, {row["image_path"]: row["product_id"] for row in rows})
    counts = {
        "outputs_read": recorded.read,
        "outputs": len(recorded.outputs),
        "outputs_repeated": recorded.repeated,
        "outputs_for_unknown_images": len(recorded.unknown),
        "unknown_images": recorded.unknown[:NAMED],
        "products_without_output": recorded.products_without,
    }
    return recorded.outputs, counts


if __name__ == "__main__":
    run_stage("generate", main)
