"""Stage validate: split the questions of tables/raw.jsonl into questions.parquet and quarantine.parquet."""

import abo_vqa.common.processor  # noqa: F401

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import QUARANTINE, QUESTIONS, RAW, SAMPLE
from abo_vqa.common.params import read_params
from abo_vqa.common.runner import run_stage
from abo_vqa.common.schema import RawOutput
from abo_vqa.common.storage import read_json_lines, read_table, write_json, write_table
from abo_vqa.common.words import storable
from abo_vqa.questions.accounting import UNPARSABLE
from abo_vqa.questions.label_truth import COLUMNS
from abo_vqa.questions.plots import plot_validation
from abo_vqa.questions.schema import QUARANTINE_SCHEMA, QUESTION_SCHEMA
from abo_vqa.questions.validate import Curated, check_accounting, curate

REPORT = Path("reports/validation.json")
PLOT = Path("reports/plots/validation.svg")


def main() -> None:
    """Parse, repair, check, quarantine, shuffle the options, check again, and account for every output."""
    params = read_params()
    products = list(read_table(SAMPLE, "sample", [*COLUMNS, "image_id"]))
    image_ids = {row["product_id"]: row["image_id"] for row in products}
    raw = [raw_output(row) for row in read_json_lines(RAW, "generate")]
    for output in raw:
        if output.product_id not in image_ids:
            raise InputError(f"{RAW}: {output.product_id} is not in {SAMPLE}; run the stage generate again")
    curated = curate(raw, params.validate_, params.seed, products)

    # Written before check_accounting may raise, since its message refers to these files.
    write_table(QUARANTINE, quarantine_rows(curated), QUARANTINE_SCHEMA)
    write_json(REPORT, curated.report)
    plot_validation(curated.report, PLOT)
    check_accounting(curated, params.validate_)
    write_table(QUESTIONS, clean_rows(curated, image_ids), QUESTION_SCHEMA)
    repaired = sum(curated.report["repairs"].values())
    for kind, found in curated.report["against_listings"].items():
        print(
            f"validate: {found['contradict']} of {found['compared']} answers about the {kind} contradict the listing: "
            f"{found['share']:.1%} ({found['low']:.1%} to {found['high']:.1%})"
        )
    for kind, found in curated.report.get("second_opinion", {}).items():
        print(
            f"validate: {found['agree']} of {found['asked']} second opinions on {kind} questions agree: "
            f"{found['share']:.1%} ({found['low']:.1%} to {found['high']:.1%})"
        )
    print(
        f"validate: {len(raw)} outputs, {len(curated.as_given)} questions = {len(curated.clean)} clean "
        f"({repaired} repairs) + {len(curated.quarantined)} quarantined; {len(curated.unparsable)} unparsable outputs"
    )


def raw_output(row: Mapping[str, Any]) -> RawOutput:
    """Return a row as an output that Parquet can store: the expectations refuse what replaces a lone surrogate."""
    stored: dict[str, Any] = {name: storable(value) if isinstance(value, str) else value for name, value in row.items()}
    return RawOutput(**stored)


def clean_rows(curated: Curated, image_ids: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of QUESTION_SCHEMA; image_ids: by product id."""
    for question in curated.clean:
        yield asdict(question) | {
            "image_id": image_ids[question.product_id],
            "answer_index": question.options.index(question.answer),
        }


def quarantine_rows(curated: Curated) -> Iterator[dict[str, Any]]:
    """Yield the rows of QUARANTINE_SCHEMA."""
    for question, reasons in curated.quarantined:
        yield asdict(question) | {"reason": reasons[0], "reasons": reasons}
    for output in curated.unparsable:
        yield asdict(output) | {"reason": UNPARSABLE, "reasons": [UNPARSABLE]}


if __name__ == "__main__":
    run_stage("validate", main)
