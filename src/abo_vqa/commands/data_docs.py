"""`abo-vqa data-docs`: the expectations and their results on the current tables, as web pages."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.commands.project_option import Project, enter_project

if TYPE_CHECKING:
    from abo_vqa.questions.schema import Question

SITE = Path("reports/data_docs")

EXAMPLES = """
abo-vqa data-docs                    # then open reports/data_docs/index.html
"""


def main(project: Project = None) -> None:
    """Build pages of the expectations and their results.

    Great Expectations validates the clean questions and the splits again and writes its Data Docs to reports/data_docs.
    Needs the tables of `dvc repro`.
    """
    enter_project(project)
    from dataclasses import fields

    from abo_vqa.commands.data_docs_site import build_data_docs
    from abo_vqa.common.layout import QUESTIONS, split_table
    from abo_vqa.common.params import read_params
    from abo_vqa.common.schema import SPLITS
    from abo_vqa.common.storage import read_table
    from abo_vqa.questions.schema import QUESTION_SCHEMA, Question
    from abo_vqa.questions.validate import guarded_questions
    from abo_vqa.splits.assign import OVERLAP_COLUMNS
    from abo_vqa.splits.stage import guarded_splits

    params = read_params()
    columns = [field.name for field in fields(Question) if field.name in QUESTION_SCHEMA.names]
    questions = [_question(row) for row in read_table(QUESTIONS, "validate", columns)]
    splits = {split: read_table(split_table(split), "split", list(OVERLAP_COLUMNS)) for split in SPLITS}
    tables = [guarded_questions(questions, params.validate_), guarded_splits(splits, params.split)]
    shutil.rmtree(SITE, ignore_errors=True)
    print(f"data docs: open {build_data_docs(tables, SITE)}")


def _question(row: dict[str, Any]) -> "Question":
    from abo_vqa.questions.schema import Question

    return Question(**row | {name: tuple(row[name]) for name in ("options", "repairs")})
