"""`abo-vqa export`: a trained model as a folder for transformers, vLLM and others, proved to answer alike."""

import logging
import warnings
from pathlib import Path
from typing import Annotated

import typer

from abo_vqa.commands.project_option import Project, enter_project, user_path

EXAMPLES = """
abo-vqa export options-1 --to exported/options-1
abo-vqa export options --to exported/adapter --adapter-only   # the arm's first training, for PEFT and vLLM
"""


def main(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Trained model, or an arm: its first training seed.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="New or empty folder to write.")],
    adapter_only: Annotated[
        bool, typer.Option("--adapter-only", help="Write the PEFT adapter alone, without merging it.")
    ] = False,
    questions: Annotated[int, typer.Option(metavar="N", min=1, help="Test questions to compare the answers on.")] = 200,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export in DIR.")] = False,
    project: Project = None,
) -> None:
    """Write a trained model as a folder that other software opens.

    Merges the adapter into the unquantized base, opens the result with transformers' own classes and compares its
    answers to test questions with those of the evaluated model. Prints the agreement and writes it on the model card.
    """
    here = enter_project(project)
    from abo_vqa.common.params import read_params
    from abo_vqa.export.export import check_target, export_adapter, export_merged, source_of

    params, target = read_params(), user_path(here, to)
    source = source_of(model, params)
    check_target(target, force)
    # Keep the libraries' messages out of the result.
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    done = export_adapter(source, target) if adapter_only else export_merged(source, params, target, questions)
    print(f"{done}\nwritten to {to}")
