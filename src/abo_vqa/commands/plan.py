"""`abo-vqa plan`: what the run takes on a machine, before anything is downloaded."""

from typing import Annotated

import typer

from abo_vqa.commands.project_option import Project, enter_project
from abo_vqa.common.errors import InputError

EXAMPLES = """
abo-vqa plan                    # on this machine's first GPU, or its processor
abo-vqa plan --card T4          # on another
abo-vqa preset paper && abo-vqa plan --card A100
abo-vqa plan --try              # also load the models and run one step of each stage
"""


def main(
    card: Annotated[
        str | None, typer.Option(metavar="NAME", help="Plan for this card; cpu: for the processor.")
    ] = None,
    tried: Annotated[bool, typer.Option("--try", help="Also run one step of each stage with a model, here.")] = False,
    project: Project = None,
) -> None:
    """Print the memory, time and disk of each stage on a card.

    Says whether the stages of the current parameters fit the card. Of the models only the configurations are read.
    Memory is computed from their geometry on tensors without data, time from operations at 30 % of the card's peak.
    Questions are counted where the tables of such a run are there.

    --try then loads each model on this machine, and trains one step on the largest batch, asks all prompts about an
    image and, if a model writes the questions, writes one batch: measured. Missing models are downloaded.
    """
    if tried and card:
        raise InputError("--try runs on this machine; leave --card out")
    enter_project(project)
    from abo_vqa.planning.cards import card as known_card

    chosen = known_card(card)
    import pyarrow.parquet as pq

    from abo_vqa.common.layout import read_image_bytes, read_questions, split_table
    from abo_vqa.common.params import read_params
    from abo_vqa.planning.markdown import plan_markdown, trials_markdown
    from abo_vqa.planning.plan import plan
    from abo_vqa.planning.work import work_of

    params = read_params()
    files = {split: split_table(split) for split in ("train", "validation", "test")}
    ids = {split: pq.read_table(file, columns=["image_id"])[0] for split, file in files.items() if file.is_file()}
    work = work_of(params, {split: (len(column.unique()), len(column)) for split, column in ids.items()})
    print(plan_markdown(plan(params, work, chosen), chosen, work))
    if tried:
        from abo_vqa.planning.trial import try_stages

        rows = {split: read_questions(split) for split in ("train", "test")} if work.measured else None
        print(f"\n{trials_markdown(list(try_stages(params, work, (rows, read_image_bytes) if rows else None)))}")
