"""The stage score refuses incomplete or broken answers by name, and logs its metrics to the runs behind the answers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import SCORES, adapter_folder, answers_table, predictions_table
from abo_vqa.common.params import read_params
from abo_vqa.common.tracking.describe import by_measure, run_name
from abo_vqa.common.tracking.run import find_run, tracked_run
from abo_vqa.common.tracking.store import open_store
from abo_vqa.inference.conditions import Asked, identity, questions_asked
from abo_vqa.metrics.answers import check_micro_average, summarize
from abo_vqa.metrics.stage import COMPARED, main
from adapted import NoScorer
from paths import ROOT
from pretended import MODELS as COMPARED_MODELS
from pretended import SEEDS, write_params

WORDS = ["red", "blue", "green", "black"]
MODELS = ["base", *(f"{arm}-{seed}" for arm in COMPARED_MODELS[1:] for seed in SEEDS)]
# By qa_id, whether the question is kept with matched options.
QUESTIONS = {"q0": True, "q1": True, "q2": False, "q3": True}


def split_row(qa_id: str, kept: bool) -> dict[str, Any]:
    """A row of the test split; the right answer is red, but to q3 it is blue."""
    answer = "blue" if qa_id == "q3" else "red"
    return {
        "qa_id": qa_id,
        "image_id": f"image of {qa_id}",
        "image_group": "twins" if qa_id < "q2" else qa_id,
        "question_type": "color" if qa_id < "q2" else "material",
        "question": "What is it like?",
        "answer": answer,
        "answer_index": WORDS.index(answer),
        "options": WORDS,
        "matched_options": WORDS if kept else None,
    }


TEST = [split_row(qa_id, kept) for qa_id, kept in QUESTIONS.items()]


def answered(row: dict[str, Any], asked: Asked, condition: str, right: bool) -> dict[str, Any]:
    """An answer as inference.ask returns it."""
    orders, said = max(1, len(asked.rotations)), row["answer"] if right else "green"
    return identity(row, asked, condition) | {
        "prior": [0.0] * 4,
        "generated": [said] * orders,
        "log_probabilities": [[-1.0 - (option != said) for option in asked.options]] * orders,
        "lengths": [[2] * 4] * orders,
    }


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_store: bytes) -> Path:
    """A project whose models were asked: base is right once, the options arm always."""
    (tmp_path / "mlflow.db").write_bytes(empty_store)
    write_params(tmp_path, ROOT)
    for folder in ("tables/answers", "tables/splits"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["score"])
    monkeypatch.setattr("abo_vqa.metrics.bertscore.BertScorer", lambda *_: NoScorer())
    for name in ("DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    for split in ("train", "test"):
        pd.DataFrame(TEST).to_parquet(f"tables/splits/{split}.parquet")
    by_id = {row["qa_id"]: row for row in TEST}
    for name in MODELS:
        rows = [
            answered(by_id[one.qa_id], one, condition, name.startswith("options") or one.qa_id == "q0")
            for condition, questions in questions_asked(read_params(), TEST, TEST).items()
            for one in questions
        ]
        pd.DataFrame(rows).to_parquet(answers_table(name))
    return tmp_path


def change(model: str, changed: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = answers_table(model)
    changed(pd.read_parquet(path)).to_parquet(path)


def of(table: pd.DataFrame, qa_id: str, condition: str) -> "pd.Series[bool]":
    return (table["qa_id"] == qa_id) & (table["condition"] == condition)


def test_every_answer_is_scored(project: Path) -> None:
    main()
    report = json.loads(SCORES.read_text())
    assert list(report) == sorted(MODELS)
    for name, accuracy in (("base", 0.25), ("options-3", 1.0)):
        predictions = pd.read_parquet(predictions_table(name))
        answers = pd.read_parquet(answers_table(name))
        keys = ["qa_id", "condition"]
        assert predictions[keys].to_numpy().tolist() == answers[keys].to_numpy().tolist()
        summary = report[name]["summary"]
        check_micro_average(summary)
        assert summary == json.loads(json.dumps(summarize(predictions)))
        assert summary["circular"]["total"]["accuracy"] == accuracy and summary["matched"]["total"]["n"] == 3
        assert set(report[name]["calibration"]) == set(read_params().conditions())
        assert [row["share"] for row in report[name]["calibration"]["open"]] == [1.0]
    before = {path: path.read_bytes() for path in (SCORES, *map(predictions_table, MODELS))}
    main()
    assert {path: path.read_bytes() for path in before} == before


def test_metrics_are_logged_to_the_runs_that_asked_and_trained(project: Path) -> None:
    adapter = adapter_folder("options-1")
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    made = {"train": adapter, "evaluate": answers_table("options-1")}
    runs = {}
    for stage, path in made.items():
        with tracked_run(f"{stage} options-1", read_params(), {"arm": "options"}) as run:
            run.tag_output(path)
        runs[stage] = run.id
    main()
    client, experiment = open_store()
    evaluated, trained = (client.get_run(runs[stage]).data.metrics for stage in ("evaluate", "train"))
    assert evaluated["accuracy/options"] == 1.0 and "types_circular/material" in evaluated
    asked = read_params().conditions()
    assert {by_measure(f"{condition}/{name}") for condition in asked for name in COMPARED} <= set(evaluated)
    assert set(trained) == {by_measure(f"{condition}/accuracy") for condition in asked}
    assert "accuracy_blank/open" in trained and all(name.count("/") == 1 for name in evaluated)
    assert [file.path for file in client.list_artifacts(runs["evaluate"])] == ["answers.json", "options-1.parquet"]
    # What was asked elsewhere has no run in this store: it gets one.
    assert find_run(answers_table("base")) is None
    [alone] = client.search_runs([experiment], "attributes.run_name = 'base · scores'")
    assert alone.data.metrics["accuracy/open"] == 0.25


def test_every_model_is_in_the_tab_of_models_with_its_metrics_and_its_answers(project: Path) -> None:
    main()
    client, experiment = open_store()
    found = {model.name: model for model in client.search_logged_models([experiment])}
    assert found.keys() == set(MODELS)
    for name, model in found.items():
        metrics = {metric.key: metric.value for metric in model.metrics}
        summary = json.loads(SCORES.read_text())[name]["summary"]
        assert metrics["accuracy/options"] == summary["options"]["total"]["accuracy"]
        assert (model.status.value, model.tags["model"]) == ("READY", name)
        run = client.get_run(model.source_run_id)
        assert run.info.run_name == run_name(name, read_params(), "scores")
        assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "answers.json", "type": "table"}]
    table = client.load_table(experiment, "answers.json", run_ids=[found["base"].source_run_id])
    asked = [name for name in read_params().conditions() if "/" not in name]
    assert sorted(set(table["condition"])) == sorted(asked)
    assert table.loc[table["condition"] == "open", "correct"].mean() == 0.25


@pytest.mark.parametrize(
    ("model", "stage"),
    [("base", "evaluate_base"), ("standard-1", "evaluate@standard-1"), ("options-1", "evaluate@options-1")],
)
def test_missing_answers_are_named_with_the_stage_that_makes_them(project: Path, model: str, stage: str) -> None:
    answers_table(model).unlink()
    with pytest.raises(InputError, match=rf"{model}\.parquet: not found; .*dvc repro {stage}$"):
        main()


@pytest.mark.parametrize("condition", ["open", "options", "matched"])
def test_a_question_that_is_not_answered_is_named(project: Path, condition: str) -> None:
    change("base", lambda table: table[~of(table, "q1", condition)])
    says = rf"base\.parquet: under the condition {condition}\b.*1 differ, q1 .*dvc repro -f evaluate_base"
    with pytest.raises(InputError, match=says):
        main()


@pytest.mark.parametrize(("condition", "qa_id"), [("open", "q9"), ("matched", "q2")])
def test_an_answer_to_another_question_is_named(project: Path, condition: str, qa_id: str) -> None:
    """q2 is a test question, but not one that is asked with matched options."""
    change("base", lambda table: pd.concat([table, table[:1].assign(qa_id=qa_id, condition=condition)]))
    with pytest.raises(InputError, match=rf"base\.parquet: under the condition {condition}\b.*1 differ, {qa_id}"):
        main()


def test_fraud_a_question_that_is_answered_twice_is_named(project: Path) -> None:
    change("base", lambda table: pd.concat([table, table[of(table, "q3", "circular")]]))
    with pytest.raises(InputError, match=r"base\.parquet: question q3 .* twice under the condition circular"):
        main()


def test_a_condition_that_is_none_of_the_parameters_is_named(project: Path) -> None:
    change("base", lambda table: pd.concat([table, table[table["condition"] == "open"].assign(condition="telepathy")]))
    with pytest.raises(InputError, match=r"base\.parquet: .*telepathy.* not in evaluate\.conditions"):
        main()


def test_the_order_of_the_answers_does_not_matter(project: Path) -> None:
    main()
    before = json.loads(SCORES.read_text())
    change("base", lambda table: table.sample(frac=1, random_state=1))
    main()
    assert {name: rows["summary"] for name, rows in json.loads(SCORES.read_text()).items()} == {
        name: rows["summary"] for name, rows in before.items()
    }


@pytest.mark.parametrize("condition", ["circular", "matched/other"])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("answer", "green"),
        ("options", ["blue", "red", "green", "black"]),
        ("options", ["red", "pink", "green", "black"]),
        ("image_id", "image of q0"),
        ("image_group", "alone"),
        ("shown_image", "blank"),
        ("question_type", "shape"),
        ("shown", False),
    ],
)
def test_fraud_an_answer_to_what_was_not_asked_is_named(
    project: Path, condition: str, column: str, value: object
) -> None:
    def planted(table: pd.DataFrame) -> pd.DataFrame:
        rows = table.to_dict("records")
        return pd.DataFrame(
            [row | {column: value} if (row["qa_id"], row["condition"]) == ("q1", condition) else row for row in rows]
        )

    change("standard-1", planted)
    says = rf"standard-1\.parquet: question q1 under the condition {condition} has another {column} .*evaluate@standard"
    with pytest.raises(InputError, match=says):
        main()


def test_fraud_an_answer_in_one_order_for_all_is_named(project: Path) -> None:
    def once(table: pd.DataFrame) -> pd.DataFrame:
        spoiled = table.loc[of(table, "q1", "circular")].iloc[0].name
        table.at[spoiled, "generated"] = ["red"]
        return table

    change("base", once)
    with pytest.raises(InputError, match="question q1 under the condition circular has another number of orders"):
        main()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_fraud_a_log_probability_that_is_no_number_is_named(project: Path, number: float) -> None:
    def spoil(table: pd.DataFrame) -> pd.DataFrame:
        spoiled = table.loc[of(table, "q2", "options/blank")].iloc[0].name
        table.at[spoiled, "log_probabilities"] = [[-1.0, number, -3.0, -4.0]]
        return table

    change("base", spoil)
    with pytest.raises(InputError, match=r"base: question q2 under options/blank: .* of 'blue' .*compute_dtype"):
        main()
