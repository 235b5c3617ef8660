"""Predictors without the image find what a question set gives away, and nothing where it gives nothing away."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from abo_vqa.errors import InputError
from abo_vqa.measure import audit as module
from abo_vqa.measure.audit import audit, best_blind
from abo_vqa.params import read_params
from abo_vqa.stages.audit import main

COLORS = ["red", "blue", "green", "black", "white", "brown"]
THINGS = ["chair", "lamp", "rug", "shoe"]


def questions(count: int, seed: int, answer=None, first: float | None = None) -> pd.DataFrame:
    """Colour and shape questions, five an image; `answer(thing)` gives it away, `first` is how often it leads."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        kind, words = [("color", COLORS), ("shape", ["round", "square", "oval", "long", "flat", "tall"])][number % 2]
        thing = THINGS[rng.integers(len(THINGS))]
        gold = words[answer(thing) if answer else rng.integers(len(words))]
        others = [word for word in words if word != gold]
        options = [gold, *rng.permutation(others)[:3].tolist()]
        if first is None or rng.random() > first:
            options = rng.permutation(options).tolist()
        rows.append(
            {
                "qa_id": f"{seed}-{number}",
                "image_id": f"{seed}-{number // 5}",
                "question_type": kind,
                "question": f"What {kind} is the {thing}?",
                "options": options,
                "answer": gold,
                "answer_index": options.index(gold),
            }
        )
    return pd.DataFrame(rows)


def accuracies(report: dict, part: str = "test") -> dict[str, float]:
    return {
        f"{condition}/{name}": row["total"]["accuracy"]
        for condition, rows in report[part].items()
        for name, row in rows.items()
    }


def test_where_nothing_is_given_away_nobody_is_above_chance():
    report = audit(questions(1500, 1), questions(1000, 2), 3, 0.99, 300, 0)
    for part in ("test", "cross_fitted"):
        for name in ("first option", "position prior", "frequent option", "text classifier"):
            total = report[part]["options"][name]["total"]
            assert total["low"] <= 0.25 <= total["high"], (part, name, total)
        # Six answers a type, no options to choose from.
        for name in ("frequent answer", "text classifier"):
            assert report[part]["open"][name]["total"]["accuracy"] == pytest.approx(1 / 6, abs=0.05)
    found = accuracies(report)
    assert found["options/chance"] == 0.25
    assert found["options/ceiling"] == 1


def test_a_gold_answer_that_leads_is_found():
    found = accuracies(audit(questions(600, 1, first=0.6), questions(600, 2, first=0.6), 2, 0.95, 100, 0))
    # 0.6 by design and a quarter of the rest by luck.
    for name in ("first option", "position prior", "text classifier"):
        assert found[f"options/{name}"] == pytest.approx(0.7, abs=0.06)
    assert found["options/frequent option"] < 0.4


def test_the_position_prior_follows_the_train_split_not_the_first_place():
    train, test = questions(300, 1), questions(300, 2)
    for table in (train, test):
        table["options"] = [[*(o for o in row.options if o != row.answer), row.answer] for row in table.itertuples()]
    found = accuracies(audit(train, test, 2, 0.95, 100, 0))
    assert found["options/position prior"] == 1
    assert found["options/first option"] == 0


def test_a_question_that_gives_its_answer_away_is_found_by_text_only():
    def told(thing):
        return THINGS.index(thing)

    report = audit(questions(800, 1, told), questions(400, 2, told), 2, 0.95, 100, 0)
    found = accuracies(report)
    assert found["options/text classifier"] > 0.98
    assert found["open/text classifier"] > 0.98
    assert found["open/frequent answer"] == 1
    assert found["options/first option"] < 0.35
    # Four of six words are ever right, each as often as the others.
    assert found["options/frequent option"] < 0.75
    assert accuracies(report, "cross_fitted")["options/text classifier"] > 0.98
    assert best_blind(report, "options") == "text classifier"


def test_the_frequent_option_is_counted_per_type():
    train = questions(40, 1).assign(answer=["blue", "round"] * 20)
    test = (
        questions(3, 2)
        .iloc[:1]
        .assign(question_type="color", options=[["round", "red", "blue", "green"]], answer="blue")
    )
    assert module.frequent_option(train, test).tolist() == [1.0]


def test_cross_fitting_never_scores_what_was_fitted(monkeypatch):
    seen = []

    def spy(train, test):
        seen.append((set(train["image_id"]), set(test["image_id"]), set(test["qa_id"])))
        return np.zeros(len(test))

    monkeypatch.setattr(module, "PREDICTORS", {"options": {"spy": spy}})
    train = questions(100, 1)
    audit(train, questions(20, 2), 4, 0.95, 50, 0)
    folds = seen[1:]
    assert len(folds) == 4
    assert all(not fitted & held for fitted, held, _ in folds)
    assert sorted(qa_id for *_, ids in folds for qa_id in ids) == sorted(train["qa_id"])


def test_an_answer_that_is_no_option_lowers_the_ceiling():
    test = questions(10, 2)
    test.loc[:1, "answer"] = "teal"
    row = audit(questions(100, 1), test, 2, 0.95, 50, 0)["test"]["options"]["ceiling"]["total"]
    assert (row["n"], row["accuracy"]) == (10, 0.8)


def test_rows_by_type_average_to_the_total():
    report = audit(questions(200, 1), questions(101, 2), 2, 0.95, 50, 0)
    for rows in report["test"].values():
        for row in rows.values():
            parts = row["by_type"].values()
            assert sum(part["n"] for part in parts) == row["total"]["n"] == 101
            pooled = sum(part["n"] * part["accuracy"] for part in parts) / 101
            assert pooled == pytest.approx(row["total"]["accuracy"], abs=1e-5)


def test_a_handful_of_questions_is_enough_to_run():
    report = audit(questions(10, 1), questions(2, 2), 2, 0.95, 50, 0)
    assert report["test"]["options"]["chance"]["total"]["n"] == 2


def test_too_few_images_and_empty_splits_are_refused():
    with pytest.raises(InputError, match=r"audit\.folds: 5 folds .* has 2"):
        audit(questions(10, 1), questions(10, 2), 5, 0.95, 50, 0)
    with pytest.raises(InputError, match="test split holds no question"):
        audit(questions(10, 1), questions(10, 2).iloc[:0], 2, 0.95, 50, 0)


def test_the_stage_writes_the_same_bytes_twice(tmp_path, monkeypatch, capsys, request):
    params = request.config.rootpath / "params.yaml"
    (tmp_path / "params.yaml").write_bytes(params.read_bytes())
    monkeypatch.chdir(tmp_path)
    splits = tmp_path / "tables/splits"
    splits.mkdir(parents=True)
    for split, table in (("train", questions(300, 1)), ("test", questions(150, 2))):
        pq.write_table(pa.Table.from_pylist(table.to_dict("records")), splits / f"{split}.parquet")
    main()
    written = (tmp_path / "reports/audit.json").read_bytes()
    shown = capsys.readouterr().out
    main()
    assert (tmp_path / "reports/audit.json").read_bytes() == written
    assert str(tmp_path).encode() not in written
    report = json.loads(written)
    assert report["test"]["options"]["first option"]["total"]["n"] == 150
    assert set(report["cross_fitted"]) == {"open", "options"}
    assert "text classifier" in shown
    assert read_params().audit.folds == 5


def test_the_stage_names_a_missing_split(tmp_path, monkeypatch, request):
    (tmp_path / "params.yaml").write_bytes((request.config.rootpath / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"tables/splits/train\.parquet: not found"):
        main()
