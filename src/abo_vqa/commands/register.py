"""`abo-vqa register`: register the trained adapters in MLflow's model registry."""

import json

from abo_vqa.commands.project_option import Project, enter_project

EXAMPLES = """
abo-vqa register                                         # in the project's MLflow store
MLFLOW_TRACKING_URI=http://server:5000 abo-vqa register  # on a server
"""


def main(project: Project = None) -> None:
    """Register the compared adapters as model versions in MLflow.

    `dvc repro` registers them too; use this command if the store was unreachable then, or after a `dvc pull`. Adapters
    and results that are already registered keep their version. The alias `champion` moves to the best arm whose gain
    over the base the verdict confirms.
    """
    enter_project(project)
    from abo_vqa.common.layout import COMPARISON
    from abo_vqa.common.params import read_params
    from abo_vqa.common.storage import require
    from abo_vqa.serving.registry import register

    params = read_params()
    comparison = json.loads(require(COMPARISON, "compare").read_text(encoding="utf-8"))
    print("\n".join(register(comparison, params)))
