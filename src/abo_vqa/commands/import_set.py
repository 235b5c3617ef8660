"""`abo-vqa import-set`: turn a table of questions and their images into the inputs of a run."""

from pathlib import Path
from typing import Annotated

import typer

from abo_vqa.commands.evaluate import read_images
from abo_vqa.commands.project_option import Project, enter_project, user_path
from abo_vqa.commands.question_sets import read_question_set
from abo_vqa.common.errors import InputError

NAMED = 3  # problems that an error lists

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
    """Turn a question set of any origin into the experiment's data.

    An image becomes a product, its questions a recorded output. Writes two archives and the questions to data/, and
    presets/own-set.yaml, which makes a run use them. QUESTIONS has the columns of `abo-vqa evaluate`. Rows without
    options get the answers to other questions as distractors.
    """
    here = enter_project(project)
    rows, problems = read_question_set(user_path(here, questions))

    from abo_vqa.catalog.images import image_problem
    from abo_vqa.commands.imported_set import write_set

    found, lacking = read_images(rows, images and user_path(here, images), image_name)
    unreadable = {name: problem for name, data in found.items() if (problem := image_problem(data))}
    problems += [f"image {name} is not in {images}" for name in lacking.values()]
    problems += [f"image {name} cannot be read: {problem}" for name, problem in unreadable.items()]
    if problems and not skip_bad:
        named = "; ".join(problems[:NAMED])
        raise InputError(f"{questions}: {len(problems)} problems: {named}; --skip-bad leaves such rows out")
    kept = [row for row in rows if row["image_id"] not in lacking and row["image_id"] not in unreadable]
    if not kept:
        raise InputError(f"{questions}: no valid question{f': {problems[0]}' if problems else ''}")
    products = write_set(kept, found)
    left_out = f"; {len(problems)} problems left out" if problems else ""
    print(f"import-set: {len(kept)} questions on {products} images{left_out}")
    print("next: dvc commit -f data.dvc && abo-vqa preset own-set && dvc repro")
