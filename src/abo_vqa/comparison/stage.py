"""Stage compare: compute the planned differences and the verdict from scored answers and the audit."""

import abo_vqa.common.processor  # noqa: F401

import json
from collections.abc import Sequence
from pathlib import Path

from abo_vqa.common.layout import (
    AUDIT,
    COMPARISON,
    SCORES,
    TRAINING,
    adapter_folder,
    answers_table,
    predictions_table,
    split_table,
)
from abo_vqa.common.params import read_params
from abo_vqa.common.params.model import BASE
from abo_vqa.common.runner import run_stage
from abo_vqa.common.storage import read_table, replacing, require, write_json

METRICS = Path("reports/metrics.json")
ACCURACY = Path("reports/accuracy.csv")


def main() -> None:
    """Compare the models; write comparison.json, metrics.json and accuracy.csv, and log them to the execution's run."""
    params = read_params()
    # Imported here: a wrong parameter is reported before seconds of importing.
    import pandas as pd

    from abo_vqa.common.tracking.describe import by_measure
    from abo_vqa.common.tracking.run import arm_run, find_run, pipeline_run
    from abo_vqa.comparison.compare import accuracies, compare, flat_metrics
    from abo_vqa.comparison.words import in_words

    runs = {name: params.runs_of(name) for name in params.compared()}
    models = params.models()
    audit = json.loads(require(AUDIT, "audit").read_text(encoding="utf-8"))
    scores = json.loads(require(SCORES, "score").read_text(encoding="utf-8"))
    predictions = {name: pd.DataFrame(read_table(predictions_table(name), "score")) for name in models}
    summaries = {name: scores[name]["summary"] for name in models}
    conditions = params.conditions()
    comparison = compare(predictions, summaries, runs, conditions, params.arms, audit, params.compare, params.seed)
    write_json(COMPARISON, comparison)
    accuracy = flat_metrics(comparison, {arm: validation_accuracy(runs[arm]) for arm in params.arms})
    write_json(METRICS, accuracy)
    with replacing(ACCURACY) as temporary:
        pd.DataFrame(accuracies(comparison)).to_csv(temporary, index=False)
    with pipeline_run("compare", params) as run:
        run.log_dataset(split_table("test"), "evaluation", comparison["questions"])
        for model, found in accuracy.items():
            measured = {by_measure(name): value for name, value in found.items()}
            run.log_metrics({name.replace("/", f"_{model}/"): value for name, value in measured.items()})
            if model != BASE and (above := arm_run(params, model)):
                above.log_metrics(measured)
                above.flush()
        # A stage that DVC restored from its cache logs nothing: these tags name the runs that made the inputs.
        made = {f"run.evaluate-{name}": answers_table(name) for name in models}
        made |= {f"run.train-{name}": adapter_folder(name) for name in models if name != BASE} | {"run.audit": AUDIT}
        found_runs = {tag: earlier.id for tag, path in made.items() if (earlier := find_run(path))}
        run.set_tags(found_runs)
        for path in (COMPARISON, METRICS):
            run.log_artifact(path)
        run.tag_output(COMPARISON)
    for question in in_words(comparison)["questions"]:
        print(f"{question['question']} {question['answer']}")
    gains = sum(row["significant"] == "better" for row in comparison["differences"])
    print(f"compare: {len(comparison['differences'])} planned differences, {gains} of them significantly positive")


def validation_accuracy(models: Sequence[str]) -> float | None:
    """Return the mean validation accuracy of an arm's trained models; None if they were not validated."""
    outcomes = [json.loads(require(TRAINING / f"{model}.json", "train").read_text()) for model in models]
    found = [outcome["validation_accuracy"] for outcome in outcomes]
    return None if None in found else sum(found) / len(found)


if __name__ == "__main__":
    run_stage("compare", main)
