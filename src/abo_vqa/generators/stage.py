"""Stage generate: write one raw output with questions per product image, from the source set in params.yaml."""

import abo_vqa.common.processor  # noqa: F401

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from abo_vqa.common.errors import choose
from abo_vqa.common.layout import RAW, SAMPLE
from abo_vqa.common.params import Params, read_params
from abo_vqa.common.runner import run_stage
from abo_vqa.common.schema import RawOutput
from abo_vqa.common.storage import read_table, write_json, write_json_lines
from abo_vqa.common.tracking.run import tracked_run
from abo_vqa.generators import metadata, recorded, vlm

REPORT = Path("reports/generate.json")
COLUMNS = (
    "product_id item_id domain_name product_type brand color material shape item_name bullets english "
    "height width length image_id image_path"
).split()


def _ask_model(rows: Sequence[dict[str, Any]], params: Params) -> tuple[list[RawOutput], dict[str, Any]]:
    images = [row["image"]["bytes"] for row in read_table(SAMPLE, "sample", ["image"])]
    return vlm.generate(rows, images, params, tracked_run, SAMPLE)


Generator = Callable[[Sequence[dict[str, Any]], Params], tuple[list[RawOutput], dict[str, Any]]]
# Sources of questions by their name in generate.source. Each turns rows of the sample and all parameters into outputs
# and the counts of reports/generate.json. A new one is a module of this package and an entry here.
GENERATORS: dict[str, Generator] = {
    metadata.GENERATOR: metadata.generate,
    recorded.GENERATOR: recorded.generate,
    vlm.GENERATOR: _ask_model,
}


def main() -> None:
    """Write the outputs of the source set in params.yaml, and counts of used and skipped facts or outputs."""
    params = read_params()
    source = params.generate.source
    generator = choose(GENERATORS, source, "generate.source")
    rows = read_table(SAMPLE, "sample", COLUMNS)
    outputs, report = generator(rows, params)
    write_json_lines(RAW, map(asdict, tqdm(outputs, desc="generate", unit=" outputs", mininterval=1)))
    write_json(REPORT, {"source": source, "products": len(rows)} | report)
    print(f"generate: {len(outputs)} outputs for {len(rows)} products")


if __name__ == "__main__":
    run_stage("generate", main)
