"""Stage generate: write one raw output with questions per product image, from the source set in params.yaml."""

import abo_vqa.common.processor  # noqa: F401

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
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
from abo_vqa.generators.endpoint import source as endpoint
from abo_vqa.generators.endpoint.opinions import add_opinions

REPORT = Path("reports/generate.json")
COLUMNS = (
    "product_id item_id domain_name product_type brand color material shape item_name bullets english "
    "height width length image_id image_path"
).split()


def _images() -> list[bytes]:
    return [row["image"]["bytes"] for row in read_table(SAMPLE, "sample", ["image"])]


def _row(output: RawOutput) -> dict[str, Any]:
    row = asdict(output)
    return row if output.opinions is not None else {name: row[name] for name in row if name != "opinions"}


def _with_images(generate: Callable[..., Any]) -> "Generator":
    def ask(rows: Sequence[dict[str, Any]], params: Params) -> tuple[list[RawOutput], dict[str, Any]]:
        outputs, report = generate(rows, _images(), params, tracked_run)
        return outputs, report

    return ask


Generator = Callable[[Sequence[dict[str, Any]], Params], tuple[list[RawOutput], dict[str, Any]]]
# Sources of questions by their name in generate.source. Each turns rows of the sample and all parameters into outputs
# and the counts of reports/generate.json. A new one is a module of this package and an entry here.
GENERATORS: dict[str, Generator] = {
    metadata.GENERATOR: metadata.generate,
    recorded.GENERATOR: recorded.generate,
    vlm.GENERATOR: _with_images(partial(vlm.generate, sample=SAMPLE)),
    endpoint.GENERATOR: _with_images(endpoint.generate),
}


def main() -> None:
    """Write the outputs of the source set in params.yaml, and counts of used and skipped facts or outputs."""
    params = read_params()
    source = params.generate.source
    generator = choose(GENERATORS, source, "generate.source")
    rows = read_table(SAMPLE, "sample", COLUMNS)
    outputs, report = generator(rows, params)
    if params.generate.verify.source:
        images = dict(zip((row["image_path"] for row in rows), _images(), strict=True))
        outputs, report["verify"] = add_opinions(outputs, images, params, tracked_run)
    write_json_lines(RAW, map(_row, tqdm(outputs, desc="generate", unit=" outputs", mininterval=1)))
    write_json(REPORT, {"source": source, "products": len(rows)} | report)
    print(f"generate: {len(outputs)} outputs for {len(rows)} products")


if __name__ == "__main__":
    run_stage("generate", main)
