"""What MLflow's UI shows of an experiment: its kind and description, and the names of runs and metrics."""

from abo_vqa.common.params import Params
from abo_vqa.common.params.model import BASE

# The kind marks the experiment as model training: it opens on its runs, in UIs without a switch of their own between
# GenAI and model training. With that switch (MLflow 3.17) the address decides: `make ui` prints it.
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": (
        "**Does showing the options during training help a vision-language model?**\n\n"
        "Unfold an execution of the pipeline (+): it has a run of every arm (a way of training), under it each of the "
        "arm's trainings and evaluations by training seed. The execution's description has the answer, its artifacts "
        "the report. `accuracy/open` is the share of right answers to questions without options, `accuracy/options` "
        "with them; `accuracy_blank/...` and `accuracy_other/...` the same with a blank image and with another "
        "product's. `abo-vqa` in *Models* is one adapter of every arm, ready to be served."
    ),
}


def run_name(model: str, params: Params, what: str = "") -> str:
    """Return the name of a model's run, such as "options · seed 2"; what: what is done with it, if not trained."""
    parts = [model]
    if model != BASE:
        arm, seed = params.training_of(model)
        parts = [arm, f"seed {seed}"]
    return " · ".join([*parts, what] if what else parts)


def by_measure(name: str) -> str:
    """Return a metric's name with the measure first: accuracy/open for open/accuracy, accuracy_blank/open.

    MLflow's charts are grouped by what stands before the slash, and its tables sorted by name.
    """
    condition, *image, measure = name.split("/")
    return f"{'_'.join([measure, *image])}/{condition}"
