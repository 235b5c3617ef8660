"""Stage score: compute the metrics of every model's answers; no model runs."""

import abo_vqa.common.processor  # noqa: F401

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import (
    RANKED,
    SCORES,
    adapter_folder,
    answers_table,
    predictions_table,
    read_questions,
    split_table,
)
from abo_vqa.common.params import Params, read_params
from abo_vqa.common.params.model import BASE
from abo_vqa.common.runner import run_stage
from abo_vqa.common.storage import read_table, replacing, write_json
from abo_vqa.inference.conditions import Asked, identity, questions_asked

if TYPE_CHECKING:
    import pandas as pd

    from abo_vqa.common.tracking.run import Run
    from abo_vqa.metrics.answers import Summary

# Totals per condition that are logged.
COMPARED = ("accuracy", "ranked", "macro_f1", "token_f1", "bertscore_f1", "unparsable", "ece")

# The table of answers in MLflow's UI, its columns, and the tag by which the UI finds it.
TABLE, TABLES_TAG = "answers.json", "mlflow.loggedArtifacts"
SHOWN = ("condition", "qa_id", "image_id", "question_type", "answer", "generated", "correct", "ranked")

# Columns of tables/answers with one element per order of the options.
_BY_ORDER = ("generated", "log_probabilities", "lengths")


def main() -> None:
    """Score every model's answers; write the predictions and reports/scores.json, and log the metrics."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    params = read_params()
    rows = read_questions("test")
    asked = questions_asked(params, rows, read_questions("train"))
    # Imported here: a wrong parameter is reported before seconds of importing.
    import pandas as pd

    from abo_vqa.metrics.answers import answer_pairs, calibration, check_micro_average, score_answers, summarize
    from abo_vqa.metrics.bertscore import BertScorer

    scorer = BertScorer(params.evaluate.bertscore_model, params.evaluate.bertscore_layers)
    tables = {name: pd.DataFrame(read_table(answers_table(name), _asked_by(name))) for name in params.models()}
    for name, answers in tables.items():
        _check_asked(name, answers, asked, rows)
    # All at once, and kept: bert-score encodes a text once a call, and the models give mostly the same answers.
    scorer.score(*answer_pairs(pd.concat(tables.values(), ignore_index=True)))
    report = {}
    for name, answers in tables.items():
        predictions = score_answers(answers, scorer, name)
        with replacing(predictions_table(name)) as temporary:
            predictions.to_parquet(temporary, index=False)
        summary = summarize(predictions)
        check_micro_average(summary)
        bins = {
            str(condition): calibration(list(part["probabilities"]), list(part[RANKED])).to_dict("records")
            for condition, part in predictions.groupby("condition", sort=False)
        }
        report[name] = {"summary": summary, "calibration": bins}
        _log(name, summary, predictions, params)
        totals = ", ".join(f"{condition} {group['total']['accuracy']:.1%}" for condition, group in summary.items())
        print(f"score {name}: {totals}")
    write_json(SCORES, report)
    print(f"score: {len(tables)} models, {len(rows)} questions, {len(asked)} conditions with and without the image")


def _asked_by(model: str) -> str:
    """Return the stage that asks the model, as dvc.yaml has it."""
    return "evaluate_base" if model == BASE else f"evaluate@{model}"


def _check_asked(
    model: str, answers: "pd.DataFrame", asked: Mapping[str, Sequence[Asked]], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Raise InputError unless every question is answered exactly once under every condition, as it is asked there.

    asked: by condition, from the split's rows. The order of the answers does not matter.
    """
    path, again = answers_table(model), f"run `dvc repro -f {_asked_by(model)}`"
    by_id = {row["qa_id"]: row for row in rows}
    for condition, questions in asked.items():
        part = answers[answers["condition"] == condition]
        answered = part["qa_id"]
        if different := sorted({question.qa_id for question in questions} ^ set(answered)):
            raise InputError(
                f"{path}: under the condition {condition}, its questions are not those of {split_table('test')}: "
                f"{len(different)} differ, {different[0]} first; {again}"
            )
        if answered.duplicated().any():
            repeated = answered[answered.duplicated()].iloc[0]
            raise InputError(f"{path}: question {repeated} occurs twice under the condition {condition}; {again}")
        found = dict(zip(answered, part.to_dict("records"), strict=True))
        for question in questions:
            row = by_id[question.qa_id]
            if wrong := _changed(found[question.qa_id], question, identity(row, question, condition)):
                raise InputError(
                    f"{path}: question {question.qa_id} under the condition {condition} has another {wrong} than "
                    f"{split_table('test')} gives it; {again}"
                )
    if unknown := sorted(set(answers["condition"]) - set(asked)):
        raise InputError(
            f"{path}: the condition {unknown[0]} is not in evaluate.conditions, nor a counterpart of one; {again}"
        )


def _changed(row: Mapping[Any, Any], question: Asked, expected: Mapping[str, Any]) -> str:
    """Return what differs between an answer's row and what is asked: a column or the number of orders; else ""."""
    columns = (column for column, value in expected.items() if row.get(column) != value)
    orders = max(1, len(question.rotations))
    counted = "" if all(len(row[column]) == orders for column in _BY_ORDER) else "number of orders"
    return next(columns, counted)


def _log(name: str, summary: "Summary", predictions: "pd.DataFrame", params: Params) -> None:
    """Log totals and accuracies by type to the evaluation's run, an arm's accuracies to its training run as well."""
    from abo_vqa.common.tracking.describe import by_measure, run_name
    from abo_vqa.common.tracking.run import find_run, model_tags, tracked_run

    tags = model_tags(name, params)
    totals = {
        by_measure(f"{condition}/{key}"): float(group["total"][key])
        for condition, group in summary.items()
        for key in COMPARED
    }
    accuracies = {key: value for key, value in totals.items() if key.startswith("accuracy")}
    # All other metrics by type are in reports/scores.json: each would be a chart and a column in MLflow's UI.
    types = {
        f"types_{condition}/{kind.replace('/', '_')}": float(row["accuracy"])
        for condition, group in summary.items()
        if "/" not in condition
        for kind, row in group["by_type"].items()
    }
    evaluated = find_run(answers_table(name))
    if evaluated:
        evaluated.log_metrics(totals | types)
        evaluated.log_artifact(predictions_table(name))
        _log_model(evaluated, name, accuracies, predictions, tags)
        evaluated.flush()
    else:  # a clone that pulled the answers: their run is in another store
        with tracked_run(run_name(name, params, "scores"), params, tags) as run:
            run.log_metrics(totals | types)
            _log_model(run, name, accuracies, predictions, tags)
    if name != BASE and (trained := find_run(adapter_folder(name))):
        trained.log_metrics(accuracies)
        trained.flush()


def _log_model(
    run: "Run", name: str, accuracies: Mapping[str, float], predictions: "pd.DataFrame", tags: Mapping[str, str]
) -> None:
    """Log the model with its accuracies, and its answers as a table that MLflow's UI shows."""
    run.log_model(name, accuracies, tags)
    # Without counterparts, whose questions are the same.
    asked = predictions[~predictions["condition"].str.contains("/", regex=False)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, TABLE)
        asked[list(SHOWN)].to_json(path, orient="split", index=False)
        run.log_artifact(path)
    run.set_tags({TABLES_TAG: json.dumps([{"path": TABLE, "type": "table"}])})


if __name__ == "__main__":
    run_stage("score", main)
