"""The comparison says better where a model is better, nothing where it is not, and adds up."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from abo_vqa.errors import InputError
from abo_vqa.measure.audit import PREDICTORS
from abo_vqa.measure.tables import compare, main_table, markdown_table, planned_pairs, render
from abo_vqa.params import ArmParams
from abo_vqa.stages.compare import main

WORDS = ["red", "blue", "green", "black"]
ARMS = {
    "standard": ArmParams(options_first=0.0, options_last=0.0),
    "options": ArmParams(options_first=1.0, options_last=1.0),
}
PAIRS = [("standard", "base"), ("options", "base"), ("options", "standard")]


def predictions(accuracy: dict[str, float], seed: int, count: int = 600) -> pd.DataFrame:
    """Answers that are right with the given chance per condition; five questions an image."""
    rng = np.random.default_rng(seed)
    rows = []
    for condition, chance in accuracy.items():
        right = rng.random(count) < chance
        for number in range(count):
            answer = WORDS[number % 4]
            said = answer if right[number] else WORDS[(number + 1) % 4]
            rows.append(
                {
                    "qa_id": f"q{number:04}",
                    "image_id": f"i{number // 5:04}",
                    "question_type": ("color", "material", "yes/no")[number % 3],
                    "condition": condition,
                    "answer": answer,
                    "options": WORDS,
                    "generated": said,
                    "prediction": said,
                    "correct": said == answer,
                    **dict.fromkeys(("bertscore_precision", "bertscore_recall", "bertscore_f1"), float(right[number])),
                }
            )
    return pd.DataFrame(rows)


def audited(best: float) -> dict:
    """An audit whose text classifiers score `best`, give or take two points, and the others a tenth."""

    def row(name: str) -> dict:
        accuracy = best if name == "text classifier" else 1.0 if name == "ceiling" else 0.1
        return {"total": {"n": 600, "accuracy": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02}}

    rows = {condition: {name: row(name) for name in names} for condition, names in PREDICTORS.items()}
    return {"test": rows, "cross_fitted": rows}


def three(**options: float) -> dict[str, pd.DataFrame]:
    return {
        name: predictions({"open": 0.4, "options": options[name]}, seed)
        for seed, name in enumerate(("base", "standard", "options"))
    }


def compared(tables: dict, best: float = 0.3, pairs=PAIRS) -> dict:
    return compare(tables, pairs, audited(best), 0.95, 500, 0)


def test_planned_pairs():
    models = ["base", "standard", "options", "curriculum"]
    arms = ARMS | {"curriculum": ArmParams(options_first=1.0, options_last=0.0)}
    assert planned_pairs(models[:3], ARMS) == PAIRS
    assert planned_pairs(models, arms) == [
        ("standard", "base"),
        ("options", "base"),
        ("curriculum", "base"),
        ("options", "standard"),
        ("curriculum", "standard"),
    ]
    assert planned_pairs(["standard", "options"], ARMS) == [("options", "standard")]


def test_a_better_arm_is_called_better_and_an_equal_one_is_not():
    found = compared(three(base=0.5, standard=0.5, options=0.8))
    verdicts = {(row["first"], row["second"], row["condition"]): row["verdict"] for row in found["differences"]}
    assert verdicts[("options", "base", "options")] == "significantly better"
    assert verdicts[("options", "standard", "options")] == "significantly better"
    assert verdicts[("standard", "base", "options")] == "no difference shown"
    assert {verdicts[(*pair, "open")] for pair in PAIRS} == {"no difference shown"}


def test_a_worse_arm_is_called_worse():
    found = compared(three(base=0.7, standard=0.4, options=0.7))
    row = next(row for row in found["differences"] if row["first"] == "standard" and row["condition"] == "options")
    assert row["verdict"] == "significantly worse"
    assert row["high"] < 0


def test_a_gain_that_a_blind_guesser_has_too_is_not_called_a_gain_alone():
    found = compared(three(base=0.5, standard=0.5, options=0.8), best=0.8)
    statements = [row["statement"] for row in found["differences"] if row["first"] == "options"]
    gains = [text for text in statements if "better" in text]
    assert len(gains) == 2
    assert all(text.endswith("but not shown to be above the best blind predictor") for text in gains)
    above = found["above_blind"]
    assert above["options"]["options"]["statement"].startswith("not shown to be above")
    assert above["base"]["options"]["statement"] == "below the best blind predictor (text classifier, 80.0 %)"
    assert compared(three(base=0.5, standard=0.5, options=0.8))["above_blind"]["options"]["options"]["above"]


def test_where_the_blind_score_exceeds_its_limit_nothing_is_called_a_gain():
    tables, limits = three(base=0.5, standard=0.5, options=0.8), {"options": 0.3, "open": 0.4}
    found = compare(tables, PAIRS, audited(0.35), 0.95, 500, 0, limits)
    by_condition = {(row["first"], row["second"], row["condition"]): row["verdict"] for row in found["differences"]}
    for second in ("base", "standard"):
        assert by_condition[("options", second, "options")] == (
            "no gain, for the best blind predictor (text classifier, 35.0 %) exceeds compare.max_blind (30.0 %)"
        )
    # What is no difference stays none, and a limit that is not reached changes nothing.
    assert by_condition[("standard", "base", "options")] == "no difference shown"
    wider = compare(tables, PAIRS, audited(0.35), 0.95, 500, 0, {"options": 0.35})
    assert wider["differences"] == compared(tables, 0.35)["differences"]
    assert "nothing is called a gain" in render(found)


def test_the_statement_is_computed_from_the_numbers():
    found = compared(three(base=0.5, standard=0.5, options=0.8))
    row = next(row for row in found["differences"] if (row["first"], row["condition"]) == ("options", "options"))
    base, arm = (found["results"][name]["options"]["total"]["accuracy"] for name in ("base", "options"))
    assert row["estimate"] == pytest.approx(arm - base, abs=1e-5)
    points, low, high = (f"{100 * row[key]:.1f}" for key in ("estimate", "low", "high"))
    assert row["statement"] == (
        f"options arm − base under options: +{points} points (95 % interval {low} to {high}): significantly better"
    )


def test_p_values_are_adjusted_for_all_comparisons():
    rows = compared(three(base=0.5, standard=0.57, options=0.6))["differences"]
    # Holm (1979): the smallest of six times 6, the next times 5, and so on; never falling, at most 1.
    ordered = sorted(rows, key=lambda row: row["mcnemar_p"])
    steps = [row["mcnemar_p"] * (len(rows) - place) for place, row in enumerate(ordered)]
    expected = np.minimum(np.maximum.accumulate(steps), 1)
    assert [row["holm_p"] for row in ordered] == pytest.approx(expected, rel=1e-4)
    assert len(rows) == 6


def test_a_difference_the_family_does_not_carry_is_not_claimed():
    # Seven questions on seven images are only the arm's: p is 2 / 2^7 = 0.016 alone, five times that among five.
    first, second = predictions({"options": 1.0}, 0, 60), predictions({"options": 1.0}, 0, 60)
    second.loc[range(0, 35, 5), "correct"] = False
    tables = {"base": second, "standard": second, "options": first}
    alone = compared(tables, pairs=[("options", "base")])["differences"]
    among = compared(tables, pairs=[("options", "base")] + [("standard", "base")] * 4)["differences"]
    assert (alone[0]["verdict"], among[0]["verdict"]) == ("significantly better", "no difference shown")


def test_models_on_different_questions_are_refused():
    tables = three(base=0.5, standard=0.5, options=0.5)
    tables["options"] = tables["options"][tables["options"]["qa_id"] != "q0007"]
    with pytest.raises(InputError, match="q0007"):
        compared(tables)
    tables["options"] = predictions({"open": 0.5}, 2)
    with pytest.raises(InputError, match="base and options were asked under different conditions"):
        compared(tables)


def test_the_markdown_holds_what_the_json_holds():
    found = compared(three(base=0.5, standard=0.5, options=0.8))
    text = render(found)
    assert "600 test questions on 120 images" in text
    assert "seed 0" in text and "500 resamples" in text
    for row in found["differences"]:
        assert f"- {row['statement']}." in text
    rows = main_table(found).splitlines()[2:]
    shown = [tuple(cell.strip() for cell in row.split("|")[1:5]) for row in rows]
    assert [row[:2] for row in shown] == [
        (model, condition) for model in ("base", "standard", "options") for condition in ("open", "options")
    ]
    for model, condition, n, accuracy in shown:
        total = found["results"][model][condition]["total"]
        assert (n, accuracy) == ("600", f"{100 * total['accuracy']:.1f} %")
    types = text.split("## By question type")[1].split("##")[0]
    assert re.findall(r"^\| (\S+) ", types, re.MULTILINE)[2:] == ["color", "material", "yes/no", "all"]


def test_a_markdown_table_is_aligned():
    lines = markdown_table(["model", "n"], [["base", "5"], ["options arm", "1200"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].endswith("---: |")


@pytest.fixture
def project(tmp_path, monkeypatch, request) -> Path:
    """A project with predictions of three models, a test split and an audit."""
    (tmp_path / "params.yaml").write_bytes((request.config.rootpath / "params.yaml").read_bytes())
    for folder in ("tables/predictions", "tables/splits", "reports"):
        (tmp_path / folder).mkdir(parents=True)
    tables = three(base=0.5, standard=0.5, options=0.8)
    for name, table in tables.items():
        table.to_parquet(tmp_path / f"tables/predictions/{name}.parquet", index=False)
    tables["base"][["qa_id"]].drop_duplicates().to_parquet(tmp_path / "tables/splits/test.parquet")
    (tmp_path / "reports/audit.json").write_text(json.dumps(audited(0.3), sort_keys=True))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stage_writes_three_files_with_the_same_bytes_twice(project, capsys):
    main()
    paths = [project / "reports" / name for name in ("comparison.json", "comparison.md", "metrics.json")]
    written = [path.read_bytes() for path in paths]
    assert capsys.readouterr().out.strip() in written[1].decode()
    main()
    assert [path.read_bytes() for path in paths] == written
    assert not any(str(project).encode() in content for content in written)
    comparison, metrics = json.loads(written[0]), json.loads(written[2])
    assert comparison["models"] == ["base", "standard", "options"]
    assert comparison["audit"] == audited(0.3)
    assert set(metrics) == {"base", "standard", "options"}
    total = comparison["results"]["options"]["options"]["total"]
    assert metrics["options"]["options"]["accuracy"] == total["accuracy"]


def test_missing_predictions_are_named(project):
    (project / "tables/predictions/standard.parquet").unlink()
    with pytest.raises(InputError, match=r"standard\.parquet: not found; .* evaluate@standard"):
        main()


@pytest.mark.parametrize("condition", ["open", "options"])
def test_predictions_for_other_questions_are_named(project, condition):
    path = project / "tables/predictions/base.parquet"
    table = pd.read_parquet(path)
    table[(table["qa_id"] != "q0003") | (table["condition"] != condition)].to_parquet(path)
    with pytest.raises(InputError, match=rf"base\.parquet: under the condition {condition} .*1 differ, q0003"):
        main()
