"""The verdict says yes where a model is better with the image, exposes models that are not, and the tables add up."""

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
from abo_vqa.comparison.compare import audited_as, blank_counterpart, flat_metrics
from abo_vqa.comparison.stage import main
from abo_vqa.comparison.verdict import ABOVE, BEYOND, EVERY_ORDER, HOLDS, LOOKS, OPTIONS_SHOWN, OTHER, RANKED, TRAINING
from abo_vqa.report.tables import main_table, render
from abo_vqa.statistics.display import markdown_table
from paths import ROOT
from pretended import (
    CONDITIONS,
    MODELS,
    PAIRS,
    PLANNED,
    always_first,
    audited,
    compared,
    knowing,
    options_help,
    predictions,
    settings,
    three,
    write_project,
)


def question(comparison: Mapping[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in comparison["verdict"]["questions"] if row["question"] == name)


def said(comparison: Mapping[str, Any], name: str, about: str, condition: str) -> str:
    """The answer to a question about a model or a pair under a condition."""
    parts = question(comparison, name)["parts"]
    return next(part["answer"] for part in parts if (part["about"], part["condition"]) == (about, condition))


def difference(comparison: Mapping[str, Any], first: str, second: str, condition: str) -> dict[str, Any]:
    rows = comparison["differences"]
    return next(row for row in rows if (row["first"], row["second"], row["condition"]) == (first, second, condition))


def test_a_better_arm_is_called_better_and_an_equal_one_is_not():
    found = options_help()
    for condition in ("open", "options"):
        assert said(found, TRAINING, "options arm − base", condition) == "yes"
        assert said(found, TRAINING, "standard arm − base", condition) == "not shown"
    assert question(found, OPTIONS_SHOWN)["answer"] == "yes"
    assert question(found, TRAINING)["answer"] == (
        "standard arm − base under `open` and `options`: not shown; options arm − base under `open` and `options`: yes"
    )
    assert said(found, HOLDS, "options arm − base", "circular") == "yes"
    assert said(found, HOLDS, "options arm − standard arm", "matched") == "yes"
    # There is nothing that could hold.
    assert said(found, HOLDS, "standard arm − base", "matched").startswith("cannot be said, because no gain is shown")
    assert {question(found, name)["answer"] for name in (ABOVE, LOOKS, EVERY_ORDER)} == {"yes"}
    assert said(found, RANKED, "options arm − base", "options") == "yes"
    assert said(found, BEYOND, "options arm − base", "options") == "yes"


def test_a_worse_arm_is_called_worse():
    found = compared(three(base=0.7, standard=0.4, options=0.7))
    assert said(found, TRAINING, "standard arm − base", "options") == "no"
    assert said(found, HOLDS, "standard arm − base", "circular") == "no"
    assert difference(found, "standard", "base", "options")["high"] < 0


def test_a_gain_that_a_blind_guesser_has_too_is_not_called_a_gain():
    found = compared(three(base=0.5, standard=0.5, options=0.8), best=0.8)
    assert question(found, OPTIONS_SHOWN)["answer"] == (
        "cannot be said, because the options arm is not shown to be above the best text-only baseline "
        "(text classifier, 80.0 %)"
    )
    assert said(found, ABOVE, "options arm", "options") == "not shown"
    assert said(found, ABOVE, "base", "circular") == "no"


def test_where_the_blind_score_exceeds_its_limit_nothing_is_called_a_gain():
    tables = three(base=0.5, standard=0.5, options=0.8)
    found = compared(tables, best=0.35, settings=settings(options=0.3, open=0.4))
    refused = "cannot be said, because the best text-only baseline (text classifier, 35.0 %) exceeds compare.max_blind"
    for second in ("base", "standard arm"):
        name = TRAINING if second == "base" else OPTIONS_SHOWN
        assert said(found, name, f"options arm − {second}", "options") == f"{refused} (30.0 %)"
        assert said(found, name, f"options arm − {second}", "open") == "yes"
        # The bound of rotated options is that of options.
        assert said(found, HOLDS, f"options arm − {second}", "circular") == f"{refused} (30.0 %)"
    # What is no difference stays none, and a limit that is not reached changes nothing.
    assert said(found, TRAINING, "standard arm − base", "options") == "not shown"
    wider = compared(tables, best=0.35, settings=settings(options=0.35))
    assert wider["verdict"] == compared(tables, best=0.35)["verdict"]


@pytest.mark.parametrize(
    ("best", "shown", "because"),
    [
        (0.6, CONDITIONS, "the standard arm is not shown to be above the best text-only baseline"),
        # An audit that overlooked the place of the answers: the model's own score with a blank image tells.
        (0.3, CONDITIONS, "the standard arm is not shown to look at the image (under `options` 60.0 %, with a blank"),
        # And without such a condition, every order of the options.
        (
            0.3,
            {n: c for n, c in CONDITIONS.items() if n != "blind"},
            "the standard arm answers by position (0.0 % in every",
        ),
    ],
)
def test_a_model_that_always_picks_the_first_option_is_exposed(best, shown, because):
    # As in the paper, whose test set has the right answer in the first place in 60 % of questions.
    chance = {"open": 0.4, "options": 0.4, "circular": 0.4, "matched": 0.4, "blind": 0.25}
    tables = {
        "base": predictions(knowing(chance, 0), first=0.6),
        "standard": predictions(always_first, first=0.6),
    }
    tables = {name: table[table["condition"].isin(shown)] for name, table in tables.items()}
    found = compared(tables, best, shown=shown, settings=settings(PAIRS[:1]))
    row = difference(found, "standard", "base", "options")
    assert row["significant"] == "better" and row["estimate"] > 0.15, "by the plain figures it is a gain"
    assert said(found, TRAINING, "standard arm − base", "options").startswith(f"cannot be said, because {because}")
    assert said(found, HOLDS, "standard arm − base", "circular") == "no"
    places = found["results"]["standard"]["options"]["by_position"]
    assert [places[str(place)]["accuracy"] for place in range(4)] == [1, 0, 0, 0]
    assert [places[str(place)]["picked"] for place in range(4)] == [1, 0, 0, 0]
    assert said(found, EVERY_ORDER, "standard arm", "circular") == "no"
    statement = next(part["statement"] for part in question(found, EVERY_ORDER)["parts"] if "standard" in part["about"])
    assert "right in 100, 0, 0, 0 % and picked in 100, 0, 0, 0 %" in statement
    assert re.search(r"\| standard \| options +\| right +\| +100\.0 % \| +0\.0 %", render(found))


@pytest.mark.parametrize(
    ("best", "because"),
    [
        (0.5, "the standard arm is not shown to be above the best text-only baseline (text classifier, 50.0 %)"),
        (0.3, "the standard arm is not shown to look at the image"),
    ],
)
def test_a_model_that_answers_from_the_text_alone_is_exposed(best, because):
    tables = {
        "base": predictions(knowing(0.3, 0)),
        "standard": predictions(knowing(dict.fromkeys(CONDITIONS, 0.5), 1)),
    }
    found = compared(tables, best, settings=settings(PAIRS[:1]))
    results = found["results"]["standard"]
    assert results["options"]["total"]["accuracy"] == results["blind"]["total"]["accuracy"]
    assert difference(found, "standard", "base", "options")["significant"] == "better"
    answers = {part["answer"] for name in (TRAINING, HOLDS) for part in question(found, name)["parts"]}
    assert "yes" not in answers
    assert said(found, TRAINING, "standard arm − base", "options").startswith(f"cannot be said, because {because}")
    assert said(found, LOOKS, "standard arm", "options") == "not shown"
    assert said(found, LOOKS, "base", "options") == "yes"


def test_a_gain_that_is_as_large_with_a_blank_image_is_not_called_one():
    tables = {
        "base": predictions(knowing(dict.fromkeys(PLANNED, 0.5) | {"blind": 0.2}, 0)),
        "standard": predictions(knowing(dict.fromkeys(PLANNED, 0.8) | {"blind": 0.5}, 0)),
    }
    found = compared(tables, settings=settings(PAIRS[:1]))
    assert said(found, TRAINING, "standard arm − base", "options").startswith(
        "cannot be said, because it is not shown to exceed the difference with a blank image ("
    )
    assert said(found, LOOKS, "standard arm", "options") == "yes", "the model looks; its gain is not from there"
    assert said(found, BEYOND, "standard arm − base", "options") == "not shown"
    row = next(row for row in found["beyond_blank"] if row["condition"] == "options")
    totals = {name: found["results"][name] for name in ("standard", "base")}
    leads = [
        totals["standard"][condition]["total"]["accuracy"] - totals["base"][condition]["total"]["accuracy"]
        for condition in ("options", "blind")
    ]
    assert row["estimate"] == pytest.approx(leads[0] - leads[1], abs=1e-5)


def test_a_gain_that_is_gone_in_other_orders_does_not_hold():
    chance = dict.fromkeys(PLANNED, 0.8) | {"circular": 0.5, "blind": 0.2}
    found = compared(three(base=0.5, standard=0.5, options=chance))
    assert said(found, OPTIONS_SHOWN, "options arm − standard arm", "options") == "yes"
    assert said(found, HOLDS, "options arm − standard arm", "circular") == "not shown"
    assert said(found, HOLDS, "options arm − standard arm", "matched") == "yes"


def test_what_was_not_asked_is_said():
    tables = three(base=0.5, standard=0.5, options=0.8)
    without = {name: table[~table["condition"].isin(["matched", "blind"])] for name, table in tables.items()}
    found = compared(without)
    assert found["conditions"] == ["open", "options", "circular"]
    assert said(found, HOLDS, "options arm − base", "matched") == (
        "cannot be said, because no test question is kept under it"
    )
    assert question(found, LOOKS)["answer"] == "cannot be said, because no condition shows a blank image"
    assert said(found, TRAINING, "options arm − base", "options") == "yes"
    assert len(found["differences"]) == 9
    single = {name: table[table["condition"].isin(["open", "options"])] for name, table in tables.items()}
    assert question(compared(single), EVERY_ORDER)["answer"] == (
        "cannot be said, because no condition shows the options in every order"
    )


def test_the_question_fits_the_pair():
    tables = three(base=0.5, standard=0.8, options=0.5)
    found = compared(tables, settings=settings([("standard", "options")], ["open"]))
    names = [row["question"] for row in found["verdict"]["questions"]]
    assert OTHER in names and TRAINING not in names and OPTIONS_SHOWN not in names
    assert said(found, OTHER, "standard arm − options arm", "open") == "yes"


def test_the_blank_counterpart_of_a_condition():
    other = {"few": ConditionParams(count=2), "blank": ConditionParams(options="matched", image="blank")}
    every = CONDITIONS | other
    counterparts = {name: blank_counterpart(name, list(every), every) for name in every}
    assert counterparts == {
        "open": None,
        "options": "blind",
        "circular": "blind",
        "matched": "blank",
        "blind": None,
        "few": None,
        "blank": None,
    }
    assert blank_counterpart("options", ["options"], every) is None
    known = {name: audited_as(shown) for name, shown in every.items()}
    assert known == {
        "open": "open",
        "options": "options",
        "circular": "options",
        "matched": "matched",
        "blind": "options",
        "few": None,
        "blank": "matched",
    }


def test_a_condition_without_any_bound_allows_no_gain():
    shown = {"few": ConditionParams(count=4), "near": ConditionParams(options="near")}
    tables = {
        name: pd.concat([table[table["condition"] == "options"].assign(condition=condition) for condition in shown])
        for name, table in three(base=0.5, standard=0.5, options=0.8).items()
    }
    found = compared(tables, shown=shown, settings=settings(conditions=list(shown)))
    assert said(found, TRAINING, "options arm − base", "near") == (
        "cannot be said, because neither a text-only baseline nor the model with a blank image was scored under it"
    )


def test_no_gain_is_one_with_a_blank_image_or_no_better_than_chance():
    tables = {
        "base": predictions(knowing(dict.fromkeys(PLANNED, 0.1) | {"blind": 0.05}, 0)),
        "standard": predictions(knowing(dict.fromkeys(PLANNED, 0.25) | {"blind": 0.15}, 1)),
    }
    found = compared(tables, best=0.1, settings=settings(PAIRS[:1], ["options", "blind"]))
    assert {row["significant"] for row in found["differences"]} == {"better"}
    assert said(found, TRAINING, "standard arm − base", "blind") == "cannot be said, because the image was blank"
    assert said(found, TRAINING, "standard arm − base", "options") == (
        "cannot be said, because the standard arm is not shown to be above chance (25.0 %)"
    )


def test_a_gain_in_the_form_of_the_answers_alone_does_not_remain_where_options_are_ranked():
    tables = three(base=0.5, standard=0.5, options=0.8)
    tables["options"]["ranked"] = tables["base"]["correct"]
    found = compared(tables, settings=settings(PAIRS[1:2], ["options"]))
    assert said(found, TRAINING, "options arm − base", "options") == "yes"
    assert said(found, RANKED, "options arm − base", "options") == "not shown"
    assert found["ranked_differences"][0]["estimate"] == 0


def test_the_statement_is_computed_from_the_numbers():
    found = options_help()
    row = difference(found, "options", "base", "options")
    base, arm = (found["results"][name]["options"]["total"]["accuracy"] for name in ("base", "options"))
    assert row["estimate"] == pytest.approx(arm - base, abs=1e-5)
    assert row["low"] < row["estimate"] < row["high"]
    points, low, high = (f"{100 * row[key]:+.1f}" for key in ("estimate", "low", "high"))
    parts = question(found, TRAINING)["parts"]
    statement = next(p["statement"] for p in parts if (p["about"], p["condition"]) == ("options arm − base", "options"))
    assert statement == (
        f"{points} points ({low} to {high}; adjusted p {row['holm_p']:.2g}); detectable: {100 * row['detectable']:.1f}"
    )
    assert 0.02 < row["detectable"] < 0.1


def test_p_values_are_adjusted_for_all_comparisons():
    found = compared(three(base=0.5, standard=0.57, options=0.6))
    for family, size in (("differences", 12), ("ranked_differences", 12), ("sight", 6), ("beyond_blank", 6)):
        rows = found[family]
        assert len(rows) == size
        # Holm (1979): the smallest of twelve times 12, the next times 11, and so on; never falling, at most 1.
        ordered = sorted(rows, key=lambda row: row["robust_p"])
        steps = [row["robust_p"] * (len(rows) - place) for place, row in enumerate(ordered)]
        expected = np.minimum(np.maximum.accumulate(steps), 1)
        assert [row["holm_p"] for row in ordered] == pytest.approx(expected, rel=1e-4)


def test_a_difference_the_family_does_not_carry_is_not_claimed():
    # Seven questions on seven images are only the arm's: p is 2 / 2^7 = 0.016 alone, four times that among four.
    everything = dict.fromkeys(CONDITIONS, 1.0) | {"blind": 0.0}
    first, second = (predictions(knowing(everything, 0), count=60) for _ in range(2))
    lost = second["qa_id"].isin([f"q{number:04}" for number in range(1, 35, 5)]) & (second["condition"] != "blind")
    second.loc[lost, ["correct", "ranked"]] = False
    tables = {"base": second, "options": first}
    rows = [compared(tables, settings=settings(PAIRS[1:2], names)) for names in (["open"], PLANNED)]
    alone, among = (difference(found, "options", "base", "open") for found in rows)
    assert alone["robust_p"] == among["robust_p"] == 2 / 2**7
    assert (alone["significant"], among["significant"]) == ("better", "")


def test_models_on_different_questions_are_refused():
    tables = three(base=0.5, standard=0.5, options=0.5)
    fewer = tables["options"][tables["options"]["qa_id"] != "q0007"]
    with pytest.raises(InputError, match="q0007"):
        compared(tables | {"options": fewer})
    alone = tables["options"][tables["options"]["condition"] == "open"]
    with pytest.raises(InputError, match="base and options were asked under different conditions"):
        compared(tables | {"options": alone})


def test_the_markdown_holds_what_the_json_holds():
    found = options_help()
    text = render(found)
    assert "600 test questions on 120 images" in text
    assert "seed 0" in text and "300 resamples" in text
    assert text.index("## Verdict") < text.index("## Models and conditions")
    assert "one training seed" in text
    for row in found["verdict"]["questions"]:
        assert f"- **{row['question']}** {row['answer'][0].upper()}{row['answer'][1:]}." in text
        for part in row["parts"]:
            assert f"  - {part['about']} under `{part['condition']}`: {part['answer']}." in text
    rows = main_table(found).splitlines()[2:]
    shown = [tuple(cell.strip() for cell in row.split("|")[1:8]) for row in rows]
    assert [row[:2] for row in shown] == [(model, condition) for model in MODELS for condition in CONDITIONS]
    for model, condition, n, accuracy, _, above, blind in shown:
        total = found["results"][model][condition]["total"]
        assert (n, accuracy) == ("480" if condition == "matched" else "600", f"{100 * total['accuracy']:.1f} %")
        assert above == ("" if condition == "open" else f"{100 * (total['accuracy'] - 0.25):+.1f}")
        assert blind == "30.0 %"
    types = text.split("## By question type")[1].split("##")[0]
    assert re.findall(r"^\| `matched` +\| +n \|", types, re.MULTILINE)
    assert re.findall(r"^\| (\S+) ", types, re.MULTILINE)[1:5] == ["color", "material", "yes/no", "all"]


def test_a_markdown_table_is_aligned_and_shows_its_cells_as_given():
    lines = markdown_table(["model", "n"], [["base", "0.50"], ["options arm", "1200"]]).splitlines()
    assert lines == [
        "| model       |    n |",
        "|:------------|-----:|",
        "| base        | 0.50 |",
        "| options arm | 1200 |",
    ]


def test_metrics_for_dvc_are_every_accuracy_by_its_name_in_mlflow():
    found = options_help()
    assert flat_metrics(found) == {
        model: {f"{name}/accuracy": found["results"][model][name]["total"]["accuracy"] for name in CONDITIONS}
        for model in MODELS
    }


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
    write_project(tmp_path, ROOT, three(base=0.5, standard=0.5, options=0.8), empty_store)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stage_writes_its_files_with_the_same_bytes_twice(project, capsys):
    main()
    names = ("comparison.json", "metrics.json", "accuracy.csv")
    paths = [project / "reports" / name for name in names]
    written = [path.read_bytes() for path in paths]
    comparison, metrics = json.loads(written[0]), json.loads(written[1])
    printed = capsys.readouterr().out.splitlines()
    assert printed == [f"{row['question']} {row['answer']}" for row in comparison["verdict"]["questions"]]
    main()
    assert [path.read_bytes() for path in paths] == written
    assert not any(str(project).encode() in content for content in written)
    assert comparison["models"] == MODELS
    assert comparison["conditions"] == list(CONDITIONS)
    assert comparison["audit"] == audited(0.3)
    planned = {(row["first"], row["second"], row["condition"]) for row in comparison["differences"]}
    assert planned == {(*pair, condition) for pair in PAIRS for condition in PLANNED}
    assert metrics == flat_metrics(comparison)
    bars = pd.read_csv(paths[2]).set_index("asked")["accuracy"]
    assert bars["circular: options"] == round(100 * metrics["options"]["circular/accuracy"], 2)
    assert len(bars) == len(MODELS) * len(CONDITIONS)


def test_the_comparison_is_logged_with_the_runs_that_made_it(project, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    adapter = Path("models/adapters/options")
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    with tracked_run("train options", read_params(), {"arm": "options"}) as trained:
        trained.tag_output(adapter)
    main()
    client, experiment = open_store()
    [run] = client.search_runs([experiment], "attributes.run_name = 'compare'")
    metrics = json.loads((project / "reports/metrics.json").read_text())
    assert run.data.metrics["options/open/accuracy"] == metrics["options"]["open/accuracy"]
    made_by = {name: value for name, value in run.data.tags.items() if name.startswith("run.")}
    assert made_by == {"run.train-options": trained.id}, "what another store's run made has no tag"
    found = find_run(Path("reports/comparison.json"))
    assert found and found.id == run.info.run_id
    attached = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert attached == {"comparison.json", "metrics.json"}


@pytest.mark.parametrize(
    ("missing", "stage"),
    [
        ("tables/predictions/standard.parquet", "score"),
        ("reports/scores.json", "score"),
        ("reports/audit.json", "audit"),
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
