"""Show the suites and what they find in the current tables as a site: `make docs-data`."""

import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

from abo_vqa.catalog.tables import read_table
from abo_vqa.params import read_params
from abo_vqa.questions.data_docs import build_data_docs
from abo_vqa.questions.schema import SPLITS, Question
from abo_vqa.questions.split import OVERLAP_COLUMNS
from abo_vqa.questions.validate import guarded_questions
from abo_vqa.stages import run_stage
from abo_vqa.stages.files import QUESTIONS, split_table
from abo_vqa.stages.split import guarded_splits

SITE = Path("reports/data_docs")


def main() -> None:
    """Build reports/data_docs/ anew from the clean questions and the splits."""
    params = read_params()
    columns = [field.name for field in fields(Question)]
    questions = [_question(row) for row in read_table(QUESTIONS, "validate", columns)]
    splits = {split: read_table(split_table(split), "split", list(OVERLAP_COLUMNS)) for split in SPLITS}
    tables = [guarded_questions(questions, params.validate_), guarded_splits(splits, params.split)]
    shutil.rmtree(SITE, ignore_errors=True)
    print(f"data docs: open {build_data_docs(tables, SITE)}")


def _question(row: dict[str, Any]) -> Question:
    return Question(**row | {name: tuple(row[name]) for name in ("options", "repairs")})


if __name__ == "__main__":
    run_stage("data_docs", main)
