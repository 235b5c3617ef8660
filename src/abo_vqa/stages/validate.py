"""Tell clean questions from the others: tables/raw.jsonl to questions.parquet and quarantine.parquet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from abo_vqa.catalog.tables import read_json_lines, read_table, write_json, write_table
from abo_vqa.errors import InputError
from abo_vqa.params import read_params
from abo_vqa.questions.parse import flatten
from abo_vqa.questions.schema import QUARANTINE_SCHEMA, QUESTION_SCHEMA, Question, RawOutput
from abo_vqa.questions.validate import (
    UNPARSABLE,
    accounting,
    check_clean,
    failing_expectations,
    refuse_too_many,
    shuffle_options,
)
from abo_vqa.stages import run_stage
from abo_vqa.stages.files import QUARANTINE, QUESTIONS, RAW, SAMPLE

REPORT = Path("reports/validation.json")


def main() -> None:
    """Parse, check, quarantine, shuffle the options, check again, and account for every output."""
    params = read_params()
    image_ids = {row["product_id"]: row["image_id"] for row in read_table(SAMPLE, "sample", ["product_id", "image_id"])}
    raw = [RawOutput(**row) for row in read_json_lines(RAW, "generate")]
    for output in raw:
        if output.product_id not in image_ids:
            raise InputError(f"{RAW}: {output.product_id} is not in {SAMPLE}; run the stage generate again")
    questions, unparsable = flatten(tqdm(raw, desc="parse", unit=" outputs", mininterval=1))
    failing = failing_expectations(questions, params.validate_)
    report = accounting(raw, questions, unparsable, failing)

    quarantined = list(_quarantine_rows(questions, unparsable, failing))
    # Written before the stage may stop, since the message says to look into it.
    write_table(QUARANTINE, quarantined, QUARANTINE_SCHEMA)
    write_json(REPORT, report)
    reasons = report["quarantined_by_reason"] | {UNPARSABLE: len(unparsable)}
    refuse_too_many(len(quarantined), len(questions) + len(unparsable), params.validate_, reasons)

    clean = shuffle_options([q for q in questions if q.qa_id not in failing], params.seed)
    check_clean(clean, params.validate_)
    write_table(QUESTIONS, _clean_rows(clean, image_ids), QUESTION_SCHEMA)
    print(
        f"validate: {len(raw)} outputs, {len(questions)} questions = {len(clean)} clean + "
        f"{len(failing)} quarantined; {len(unparsable)} unparsable outputs"
    )


def _clean_rows(clean: Sequence[Question], image_ids: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for question in clean:
        yield asdict(question) | {
            "image_id": image_ids[question.product_id],
            "answer_index": question.options.index(question.answer),
        }


def _quarantine_rows(
    questions: Sequence[Question], unparsable: Sequence[RawOutput], failing: Mapping[str, list[str]]
) -> Iterator[dict[str, Any]]:
    for question in questions:
        if reasons := failing.get(question.qa_id):
            yield asdict(question) | {"reason": reasons[0], "reasons": reasons}
    for output in unparsable:
        yield asdict(output) | {"reason": UNPARSABLE, "reasons": [UNPARSABLE]}


if __name__ == "__main__":
    run_stage("validate", main)
