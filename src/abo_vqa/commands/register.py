"""`abo-vqa register`: register the trained adapters in MLflow's model registry."""

import json
from typing import Annotated

import typer

from abo_vqa.commands.project_option import Project, enter_project

EXAMPLES = """
abo-vqa register                                         # in the project's MLflow store
abo-vqa register --promote                               # and let the alias `champion` move
MLFLOW_TRACKING_URI=http://server:5000 abo-vqa register  # on a server
"""


def main(
    promote: Annotated[
        bool, typer.Option("--promote", help="Let the alias champion move to the best arm, if it qualifies.")
    ] = False,
    project: Project = None,
) -> None:
    """Register the compared adapters as model versions in MLflow.

    Of every arm, the training run with the best validation accuracy. `dvc repro` registers them too; use this command
    to promote one, if the store was unreachable then, or after a `dvc pull`. Adapters and results that are already
    registered keep their version. With --promote the alias `champion` moves to the qualified arm with the best
    validation accuracy: its gain over the base is confirmed by the verdict, and it beats the present champion in a
    paired test on the same questions.
    """
    enter_project(project)
    from abo_vqa.common.layout import COMPARISON
    from abo_vqa.common.params import read_params
    from abo_vqa.common.storage import require
    from abo_vqa.serving.registry import register

    params = read_params()
    comparison = json.loads(require(COMPARISON, "compare").read_text(encoding="utf-8"))
    print("\n".join(register(comparison, params, promote=promote)))
