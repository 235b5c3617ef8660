"""`abo-vqa import-set`: turn a table of questions and their images into the inputs of a run."""

from pathlib import Path
from typing import Annotated

import typer

from abo_vqa.commands.project_option import Project, enter_project, user_path

EXAMPLES = """
abo-vqa import-set questions.csv --images photographs/
dvc commit -f data.dvc && abo-vqa preset own-set && dvc repro
"""


def main(
    questions: Annotated[Path, typer.Argument(metavar="QUESTIONS", help="Parquet, CSV, JSON or JSON lines (or .gz).")],
    images: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Folder or uncompressed tar archive of the image paths.", show_default=False),
    ] = None,
    image_name: Annotated[
        str, typer.Option(metavar="PATTERN", help="File name from the image column, in str.format syntax.")
    ] = "{}",
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out and count rows without a question, an answer or an image.")
    ] = False,
    project: Project = None,
) -> None:
    """Turn any question set into the experiment's data.

    An image becomes a product, its questions a recorded output. Writes two archives and the questions to data/, and
    presets/own-set.yaml, which makes a run use them. QUESTIONS has the columns of `abo-vqa evaluate`. Rows without
    options get the answers to other questions as distractors.
    """
    from abo_vqa.commands.imported_set import write_set
    from abo_vqa.commands.question_sets import valid_questions

    here = enter_project(project)
    source = images and user_path(here, images)
    rows, found, problems = valid_questions(user_path(here, questions), source, image_name, skip_bad)
    products = write_set(rows, found)
    left_out = f"; {len(problems)} problems left out" if problems else ""
    print(f"import-set: {len(rows)} questions on {products} images{left_out}")
    print("next: dvc commit -f data.dvc && abo-vqa preset own-set && dvc repro")
