"""Stage compare: every model's predictions and the audit in, the verdict and the table out; adapters registered."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import AUDIT, COMPARISON, PREDICTIONS, RUNS, read_questions, split_table
from abo_vqa.common.params import read_params
from abo_vqa.common.params.model import BASE
from abo_vqa.common.runner import run_stage

if TYPE_CHECKING:
    import pandas as pd

TABLE = Path("reports/comparison.md")
TEST = split_table("test")
METRICS = Path("reports/metrics.json")
ACCURACY = Path("reports/accuracy.csv")
RUN = RUNS / "compare.json"


def main() -> None:
    """Compare the tested models; write comparison.json, comparison.md, metrics.json, accuracy.csv; register arms."""
    params = read_params()
    # Imported here: a wrong parameter is reported before seconds of importing.
    import pandas as pd

    from abo_vqa.common.storage import replacing, require, write_json
    from abo_vqa.common.tracking.run import pipeline_run
    from abo_vqa.comparison.compare import accuracies, compare, flat_metrics
    from abo_vqa.report.tables import main_table, render, verdict_list
    from abo_vqa.serving.registry import register_or_warn

    models = sorted(params.tested, key=lambda name: [BASE, *params.arms].index(name))
    rows = read_questions("test")
    given = {row["qa_id"] for row in rows}
    matched = {row["qa_id"] for row in rows if row.get("matched_options") is not None}
    asked = {name: matched if c.options == "matched" else given for name, c in params.evaluate.conditions.items()}
    audit = json.loads(require(AUDIT, "audit").read_text(encoding="utf-8"))
    predictions = {name: _read_predictions(name, asked) for name in models}
    comparison = compare(predictions, params.evaluate.conditions, params.arms, audit, params.compare, params.seed)
    write_json(COMPARISON, comparison)
    accuracy = flat_metrics(comparison)
    write_json(METRICS, accuracy)
    with replacing(ACCURACY) as temporary:
        pd.DataFrame(accuracies(comparison)).to_csv(temporary, index=False)
    with replacing(TABLE) as temporary:
        temporary.write_text(render(comparison), encoding="utf-8")
    summary = f"{main_table(comparison)}\n\n{verdict_list(comparison['verdict'], parts=False)}"
    with pipeline_run("compare", params) as run:
        run.log_dataset(TEST, "evaluation", len(rows))
        for model, found in accuracy.items():
            run.log_metrics({f"{model}/{name}": value for name, value in found.items()})
        # A stage that DVC restored from its cache logs nothing: these tags say which runs made what is compared.
        earlier = sorted(set(RUNS.glob("*.json")) - {RUN})
        made_by = {f"run.{path.stem}": json.loads(path.read_text())["run_id"] for path in earlier}
        run.set_tags({"mlflow.note.content": summary, **made_by})  # the description that MLflow's UI shows
        for path in (COMPARISON, TABLE, METRICS):
            run.log_artifact(path)
        write_json(RUN, {"run_id": run.id})
    print(f"{summary}\n")
    register_or_warn(comparison, params, run.id)


def _read_predictions(model: str, asked: dict[str, set[str]]) -> "pd.DataFrame":
    """Return a model's predictions under the conditions; InputError unless they cover what is asked exactly.

    asked: by condition, the qa_id of its questions.
    """
    import pandas as pd

    from abo_vqa.common.storage import read_table

    path = PREDICTIONS / f"{model}.parquet"
    table = pd.DataFrame(read_table(path, f"evaluate@{model}"))
    parts = [table[table["condition"] == condition] for condition in asked]
    for (condition, wanted), part in zip(asked.items(), parts, strict=True):
        if different := sorted(wanted ^ set(part["qa_id"])):
            raise InputError(
                f"{path}: under the condition {condition} it answers other questions than {TEST} holds: "
                f"{len(different)} differ, {different[0]} first; run `dvc repro evaluate@{model}`"
            )
    return pd.concat(parts)


if __name__ == "__main__":
    run_stage("compare", main)
