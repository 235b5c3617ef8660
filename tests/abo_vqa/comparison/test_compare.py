"""The comparison's tables add up, and its stage writes and logs them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import check_params, read_params
from abo_vqa.common.params.group import ParamsError
from abo_vqa.common.params.measure import ConditionParams
from abo_vqa.common.tracking.run import find_run, tracked_run
from abo_vqa.common.tracking.store import open_store
from abo_vqa.comparison.compare import audited_as, flat_metrics
from abo_vqa.comparison.stage import main
from abo_vqa.comparison.words import in_words
from abo_vqa.report.tables import main_table, render
from abo_vqa.statistics.display import markdown_table
from paths import ROOT
from pretended import (
    CONDITIONS,
    MODELS,
    PAIRS,
    PLANNED,
    audited,
    compared,
    knowing,
    options_help,
    predictions,
    replicated,
    settings,
    three,
    without,
    write_project,
)


def entering(row: Mapping[str, Any]) -> float:
    """The p of a row as Holm's adjustment takes it."""
    return 1.0 if row["unsaid"] else row["p"]


def test_p_values_are_adjusted_for_all_comparisons():
    found = compared(three(base=0.5, standard=0.57, options=0.6))
    families = {"differences": 12, "ranked_differences": 12, "lenient_differences": 12, "image_gains": 24}
    for family, size in (families | {"gains_beyond": 24}).items():
        rows = found[family]
        assert len(rows) == size
        # Holm (1979): the smallest of twelve times 12, the next times 11, and so on; never falling, at most 1.
        # A row of which nothing can be said is in the family with p = 1.
        ordered = sorted(rows, key=entering)
        steps = [entering(row) * (len(rows) - place) for place, row in enumerate(ordered)]
        expected = np.minimum(np.maximum.accumulate(steps), 1)
        assert [row["holm_p"] for row in ordered] == pytest.approx(expected, rel=1e-4)
        assert {bool(row["unsaid"]) for row in rows} == ({False} if family == "image_gains" else {False, True})


def test_a_difference_the_family_does_not_carry_is_not_claimed():
    # Six questions on six of 12 images are only the arm's: p is 0.02 alone, four times that among four.
    everything = dict.fromkeys(PLANNED, 1.0) | without(0.0)
    first, second = (predictions(knowing(everything, 0), count=60) for _ in range(2))
    lost = second["qa_id"].isin([f"q{number:04}" for number in range(1, 30, 5)]) & second["condition"].isin(PLANNED)
    second.loc[lost, ["correct", "ranked"]] = False
    tables = {"base": second, "options": first}
    found = [compared(tables, settings=settings(PAIRS[1:2], names)) for names in (["open"], PLANNED)]
    alone, among = (next(row for row in each["differences"] if row["condition"] == "open") for each in found)
    assert 0.0125 < alone["p"] == among["p"] < 0.05
    assert (alone["significant"], among["significant"]) == ("better", "")


def test_models_on_different_questions_are_refused():
    tables = three(base=0.5, standard=0.5, options=0.5)
    fewer = tables["options"][tables["options"]["qa_id"] != "q0007"]
    with pytest.raises(InputError, match="q0007"):
        compared(tables | {"options": fewer})
    for column in ("image_group", "question_type"):
        with pytest.raises(InputError, match=f"q0000 has another {column}"):
            compared(tables | {"options": tables["options"].assign(**{column: "mine"})})
    shown = {name: table.assign(shown_image=table["image_id"]) for name, table in tables.items()}
    with pytest.raises(InputError, match=r"q0000 was asked of options under .* with another image"):
        compared(shown | {"options": shown["options"].assign(shown_image="blank")})
    alone = tables["options"][tables["options"]["condition"] == "open"]
    with pytest.raises(InputError, match="base and options were asked under different conditions"):
        compared(tables | {"options": alone})


def test_the_markdown_holds_what_the_json_holds():
    found = options_help()
    text = render(found)
    assert "400 test questions on 80 images" in text
    assert "over groups of look-alike images" in text and "Seed 0." in text
    assert text.index("## Verdict") < text.index("## Models and conditions")
    assert "one training run" in text
    for row in in_words(found)["questions"]:
        assert f"- **{row['question']}** {row['answer'][0].upper()}{row['answer'][1:]}." in text
        for part in row["parts"]:
            assert f"  - {part['about']} under `{part['condition']}`: {part['answer']}." in text
    rows = main_table(found).splitlines()[2:]
    shown = [tuple(cell.strip() for cell in row.split("|")[1:9]) for row in rows]
    assert [row[:2] for row in shown] == [(model, condition) for model in MODELS for condition in CONDITIONS]
    for model, condition, n, accuracy, _, deviation, above, baseline in shown:
        total = found["results"][model][condition]["total"]
        assert (n, accuracy) == (
            "320" if condition.startswith("matched") else "400",
            f"{100 * total['accuracy']:.1f} %",
        )
        assert deviation == "", "there is one run"
        assert above == ("" if condition.startswith("open") else f"{100 * (total['accuracy'] - 0.25):+.1f}")
        assert baseline == "30.0 %"
    types = text.split("## By question type")[1].split("##")[0]
    assert re.findall(r"^\| `matched` +\| +n \|", types, re.MULTILINE)
    assert re.findall(r"^\| (\S+) ", types, re.MULTILINE)[1:5] == ["color", "material", "shape", "all"]


def test_a_markdown_table_is_aligned_and_shows_its_cells_as_given():
    lines = markdown_table(["model", "n"], [["base", "0.50"], ["options arm", "1200"]]).splitlines()
    assert lines == [
        "| model       |    n |",
        "|:------------|-----:|",
        "| base        | 0.50 |",
        "| options arm | 1200 |",
    ]


def test_metrics_for_dvc_are_means_deviations_and_validation_accuracies():
    found = compared(replicated(0.05, base=0.5, standard=0.5, options=0.8))
    metrics = flat_metrics(found, {"standard": 0.25, "options": None})
    assert list(metrics) == MODELS
    assert metrics["standard"]["validation/accuracy"] == 0.25 and "validation/accuracy" not in metrics["options"]
    assert "open/deviation" not in metrics["base"]
    for condition in PLANNED:
        runs = [found["by_run"][f"options-{seed}"][condition] for seed in (1, 2, 3)]
        assert metrics["options"][f"{condition}/accuracy"] == pytest.approx(np.mean(runs), abs=1e-5)
        assert metrics["options"][f"{condition}/deviation"] == pytest.approx(np.std(runs, ddof=1), abs=1e-5)
    assert not any("blank" in name for row in metrics.values() for name in row)


def test_rows_by_type_and_the_two_by_two_tables_add_up():
    found = compared(replicated(0.05, base=0.5, standard=0.5, options=0.8))
    for row in found["with_and_without"]:
        cells = ("both", "only_with", "only_without", "neither")
        for shares in (row["total"], *row["by_type"].values()):
            assert sum(shares[name] for name in cells) == pytest.approx(1, abs=1e-4)
        groups = found["results"][row["model"]]
        shown, other = (groups[row[name]]["total"]["accuracy"] for name in ("condition", "against"))
        assert row["total"]["both"] + row["total"]["only_with"] == pytest.approx(shown, abs=1e-4)
        assert row["total"]["both"] + row["total"]["only_without"] == pytest.approx(other, abs=1e-4)
        [gain] = [r for r in found["image_gains"] if (r["first"], r["against"]) == (row["model"], row["against"])]
        assert gain["estimate"] == pytest.approx(shown - other, abs=1e-4)
    for groups in found["results"].values():
        for group in groups.values():
            pooled = sum(row["n"] * row["accuracy"] for row in group["by_type"].values()) / group["total"]["n"]
            assert pooled == pytest.approx(group["total"]["accuracy"], abs=1e-5)


def test_a_question_without_another_product_is_left_out_of_that_counterpart_alone():
    tables = three(base=0.5, standard=0.5, options=0.8)
    dropped = {
        name: table[(table["condition"] != "open/other") | (table["qa_id"] > "q0009")] for name, table in tables.items()
    }
    found = compared(dropped)
    counts = {row["against"]: row["n"] for row in found["image_gains"] if row["condition"] == "open"}
    assert counts == {"open/blank": 400, "open/other": 390}
    assert {row["n"] for row in found["gains_beyond"] if row["against"] == "open/other"} == {390}


def test_a_counterpart_with_other_options_is_refused():
    tables = three(base=0.5, standard=0.5, options=0.8)
    for table in tables.values():
        place = table.index[table["condition"] == "options/blank"][7]
        table.at[place, "options"] = list(reversed(table.at[place, "options"]))
    with pytest.raises(InputError, match=r"q0007"):
        compared(tables)


@pytest.mark.parametrize("condition", list(CONDITIONS))
def test_what_the_audit_scores_of_a_condition(condition: str) -> None:
    known = {"open": "open", "options": "options", "circular": "options", "matched": "matched"}
    assert audited_as(CONDITIONS[condition]) == known[condition.partition("/")[0]]
    assert audited_as(ConditionParams(count=2)) is None
    assert audited_as(ConditionParams(question="none")) is None
    assert audited_as(ConditionParams(question="reworded")) == "options"


@pytest.mark.parametrize(
    ("planned", "says"),
    [
        ({"first": "oracle"}, "compare.planned.0.first: unknown model oracle; known: base, standard, options"),
        ({"second": "oracle"}, "compare.planned.0.second: unknown model oracle"),
        (
            {"conditions": ["telepathy"]},
            "compare.planned.0.conditions: telepathy is not in evaluate.conditions (open, ",
        ),
        ({"conditions": []}, "compare.planned.0.conditions: List should have at least 1 item"),
        ({"conditions": ["open", "open"]}, "compare.planned.0: conditions: open is listed twice"),
        ({"first": "base"}, "compare.planned.0: second: base is compared with itself"),
        ({"condition": "open"}, "compare.planned.0.condition: unknown parameter"),
        ({"first": "options"}, "compare.planned: options and base are compared twice"),
    ],
)
def test_a_comparison_that_cannot_be_made_is_refused_by_name(root: Path, planned: dict[str, Any], says: str) -> None:
    values = YAML(typ="safe", pure=True).load(root / "params.yaml")
    values["compare"]["planned"][0] |= planned
    with pytest.raises(ParamsError) as error:
        check_params(values)
    assert says in str(error.value)


@pytest.fixture
def project(tmp_path, monkeypatch, empty_store) -> Path:
    """A project with scored predictions of three models, a test split and an audit."""
    write_project(tmp_path, ROOT, replicated(base=0.5, standard=0.5, options=0.8), empty_store)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stage_writes_its_files_with_the_same_bytes_twice(project, capsys):
    main()
    names = ("comparison.json", "metrics.json", "accuracy.csv")
    paths = [project / "reports" / name for name in names]
    written = [path.read_bytes() for path in paths]
    comparison, metrics = json.loads(written[0]), json.loads(written[1])
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1].startswith("compare: 9 planned differences, ")
    assert printed[:-1] == [f"{row['question']} {row['answer']}" for row in in_words(comparison)["questions"]]
    main()
    assert [path.read_bytes() for path in paths] == written
    assert not any(str(project).encode() in content for content in written)
    assert comparison["models"] == MODELS
    # params.yaml asks `circular` without counterparts, and plans nothing under it.
    assert comparison["conditions"] == [name for name in CONDITIONS if not name.startswith("circular/")]
    assert comparison["audit"] == audited(0.3)
    planned = {(row["first"], row["second"], row["condition"]) for row in comparison["differences"]}
    assert planned == {(*pair, condition) for pair in PAIRS for condition in PLANNED if condition != "circular"}
    assert metrics == flat_metrics(comparison, dict.fromkeys(MODELS[1:], 0.5))
    bars = pd.read_csv(paths[2]).set_index("asked")["accuracy"]
    assert bars["circular: options"] == round(100 * metrics["options"]["circular/accuracy"], 2)
    assert len(bars) == len(MODELS) * len(PLANNED)


def test_the_comparison_is_logged_with_the_runs_that_made_it(project, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    adapter = Path("models/adapters/options-2")
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    with tracked_run("train options-2", read_params(), {"arm": "options"}) as trained:
        trained.tag_output(adapter)
    main()
    client, experiment = open_store()
    [run] = client.search_runs([experiment], "attributes.run_name = 'compare'")
    metrics = json.loads((project / "reports/metrics.json").read_text())
    assert run.data.metrics["accuracy_options/open"] == metrics["options"]["open/accuracy"]
    made_by = {name: value for name, value in run.data.tags.items() if name.startswith("run.")}
    assert made_by == {"run.train-options-2": trained.id}, "what another store's run made has no tag"
    found = find_run(Path("reports/comparison.json"))
    assert found and found.id == run.info.run_id
    attached = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert attached == {"comparison.json", "metrics.json"}


@pytest.mark.parametrize(
    ("missing", "stage"),
    [
        ("tables/predictions/standard-1.parquet", "score"),
        ("reports/scores.json", "score"),
        ("reports/audit.json", "audit"),
        ("reports/training/options-3.json", "train"),
    ],
)
def test_a_missing_input_is_named_with_the_stage_that_makes_it(project, missing, stage):
    (project / missing).unlink()
    with pytest.raises(InputError, match=rf"{re.escape(missing)}: not found; .*{stage}"):
        main()


def test_predictions_for_other_questions_are_named(project):
    path = project / "tables/predictions/base.parquet"
    table = pd.read_parquet(path)
    table[table["qa_id"] != "q0003"].to_parquet(path)
    with pytest.raises(InputError, match=r"different questions: .*q0003"):
        main()
