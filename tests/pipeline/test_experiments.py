"""The main job as a user runs it: real DVC commands in fresh clones, on a tenth of the demo's questions."""

import json
import re
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from paths import SUPPORT
from project import FADING, commit, copy_project, experiment, kill, run, stages_run, start

pytestmark = pytest.mark.slow

SMALL = SUPPORT / "small.yaml"
MODELS = ["base", "standard", "options"]
SHOWN = ["open", "options", "circular", "matched"]
WITHOUT = [f"{name}/{image}" for name in ("open", "options", "matched") for image in ("blank", "other")]
CONDITIONS = [*SHOWN, "no_question", "reworded", *WITHOUT]


@pytest.fixture(scope="module")
def finished(repro_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which `dvc repro` has run once, its results committed."""
    out = repro_once.with_name("printed.log").read_text()
    assert len(stages_run(out)) == 15, (
        "check, five data stages, two arms, three models, score, compare, register, report"
    )
    return copy_project(repro_once, tmp_path_factory.mktemp("first") / "abo-vqa")


@pytest.fixture(scope="module")
def queued(queued_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a clone in which DVC's queue has run the experiment `fading` too."""
    return copy_project(queued_once, tmp_path_factory.mktemp("queued") / "abo-vqa")


def hashes(folder: Path) -> dict[str, str]:
    """Return the hash of every output in dvc.lock."""
    outs = [out for stage in locked(folder).values() for out in stage["outs"]]
    return {out["path"]: out["md5"] for out in outs}


def locked(folder: Path) -> dict[str, Any]:
    """Return what dvc.lock has of the stages that there are; DVC keeps those of training seeds that are gone."""
    names = set(run("dvc stage list --name-only", folder).split())
    lock = YAML(typ="safe", pure=True).load(folder / "dvc.lock")["stages"]
    return {name: stage for name, stage in lock.items() if name in names}


def runs(folder: Path) -> list[dict[str, str]]:
    """Return every MLflow run of the project's store as its tags, with its status and id."""
    with sqlite3.connect(folder / "mlflow.db") as store:
        ids = store.execute("select run_uuid, status from runs").fetchall()
        tags = store.execute("select run_uuid, key, value from tags").fetchall()
    return [
        {"status": status, "run_id": run_id} | {key: value for run, key, value in tags if run == run_id}
        for run_id, status in ids
    ]


def test_the_table_compares_three_models_under_all_conditions(finished: Path) -> None:
    comparison = json.loads((finished / "reports/comparison.json").read_text())
    assert comparison["models"] == MODELS
    assert comparison["conditions"] == CONDITIONS
    for model in MODELS:
        for condition in CONDITIONS:
            row = comparison["results"][model][condition]
            asked = row["total"]["n"]
            most = comparison["questions"]
            if condition.startswith("matched"):
                assert 0 < asked < most
            else:
                assert most - 5 < asked <= most if condition.endswith("other") else asked == most
            assert row["total"]["low"] <= row["total"]["accuracy"] <= row["total"]["high"]
            kinds = row["by_type"].values()
            pooled = sum(kind["n"] * kind["accuracy"] for kind in kinds) / sum(kind["n"] for kind in kinds)
            assert pooled == pytest.approx(row["total"]["accuracy"], abs=1e-5)
    table = (finished / "reports/comparison.md").read_text()
    main = table.split("## ")[2]
    assert re.findall(r"^\| (base|standard|options) +\| ([\w/]+) +\| +\d+ \|", main, re.MULTILINE) == [
        (model, condition) for model in MODELS for condition in CONDITIONS
    ]


def test_every_model_has_its_runs_in_mlflow(finished: Path) -> None:
    found = {(tags.get("dvc.stage", "the execution"), tags["status"]) for tags in runs(finished)}
    stages = ["audit", *(f"{stage}@{arm}-1" for stage in ("train", "evaluate") for arm in MODELS[1:]), "evaluate_base"]
    expected = ["the execution", *stages]
    assert found == {(stage, "FINISHED") for stage in expected}
    assert {tags["runs_of_arm"] for tags in runs(finished) if "runs_of_arm" in tags} == set(MODELS[1:])
    with sqlite3.connect(finished / "mlflow.db") as store:
        names = {name for (name,) in store.execute("select distinct key from metrics")}
        steps = store.execute("select count(distinct step) from metrics where key = 'grad_norm/post_clip'").fetchone()
    assert {"loss", "grad_norm/pre_clip", "grad_norm/post_clip", "accuracy/options", "accuracy/open"} <= names
    assert steps[0] > 5


def test_nothing_runs_twice(finished: Path) -> None:
    assert list(finished.glob("src/abo_vqa/**/*.pyc")), "compiled files must not count as a change"
    assert stages_run(run("dvc repro", finished)) == []


def test_every_stage_runs_in_a_clone_without_the_cache(finished: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    run(f"git clone -q {finished} {clone}", tmp_path)
    status = json.loads(run("dvc status --json", clone))
    missing = {stage for stage, said in status.items() if any("changed outs" in each for each in said)}
    assert missing == set(locked(clone)), "a stage whose outputs are all in Git would log and register nothing"


def test_earlier_runs_of_a_stage_are_found_again(finished: Path) -> None:
    entries = [
        YAML(typ="safe", pure=True).load(file) for file in finished.glob(".dvc/cache/runs/*/*/*") if file.is_file()
    ]
    commands = {" ".join(entry["cmd"].split()) for entry in entries}
    lost = {name for name, stage in locked(finished).items() if " ".join(stage["cmd"].split()) not in commands}
    assert not lost, "DVC caches no run that has an output in Git other than metrics and plots"


def test_stages_find_the_environment_that_is_not_activated(finished: Path) -> None:
    (finished / ".venv").symlink_to(sys.prefix)
    try:
        out = run(f"PATH=/usr/bin:/bin {sys.prefix}/bin/dvc repro --force --single-item split", finished)
    finally:
        (finished / ".venv").unlink()
    assert stages_run(out) == ["split"]


def test_a_fresh_clone_makes_what_is_committed_and_can_go_back_to_it(finished: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    run(f"git clone -q {finished} {clone}", tmp_path)
    assert len(stages_run(run("dvc repro", clone))) == 15
    assert run("git status --porcelain", clone) == ""
    assert (clone / "dvc.lock").read_bytes() == (finished / "dvc.lock").read_bytes()
    assert "models/adapters/options-1" in hashes(clone)
    run("git checkout . && dvc checkout", clone)
    assert stages_run(run("dvc repro", clone)) == []


def test_the_run_that_made_a_restored_output_is_found(finished: Path) -> None:
    made = hashes(finished)
    makers = {"models/adapters/options-1": "train@options-1", "tables/answers/base.parquet": "evaluate_base"}
    for output, stage in makers.items():
        found = [tags for tags in runs(finished) if tags.get(f"output.{output}") == made[output]]
        assert [tags["dvc.stage"] for tags in found] == [stage]
    executions = [tags for tags in runs(finished) if "output.reports/comparison.json" in tags]
    assert executions
    assert all({"run.train-options-1", "run.evaluate-base", "run.audit"} <= tags.keys() for tags in executions)


def test_a_queued_experiment_reruns_what_depends_on_its_parameters(
    finished: Path, queued_once: Path, queued: Path
) -> None:
    ran = stages_run(queued_once.with_name("printed.log").read_text())
    assert set(ran) == {
        "parameters",
        "validate",
        "train@options-1",
        "evaluate@options-1",
        "score",
        "compare",
        "register",
        "report",
    }
    # Its runs are in the parent repository's store, not in the folder that was deleted after it.
    own = [tags for tags in runs(queued) if tags.get("dvc.experiment") == "fading"]
    assert len(runs(queued)) - len(runs(finished)) == len(own) == 5, (
        "the experiment's, both arms' under it, those of a training and an evaluation under one of these"
    )
    shown = json.loads(run("dvc exp show --json", queued))
    assert "fading" in json.dumps(shown)


def test_a_float_given_on_the_command_line_arrives_as_one(queued: Path) -> None:
    params = run(f"git show {experiment(queued, 'fading')}:params.yaml", queued)
    assert "options_last: 1e-05" in params
    with sqlite3.connect(queued / "mlflow.db") as store:
        found = store.execute("select value from params where key = 'arms.options.options_last'")
        values = {value for (value,) in found}
    assert "1e-05" in values


def test_a_value_used_before_trains_nothing(queued: Path) -> None:
    assert stages_run(run(f"dvc exp run --temp --name fading-again {FADING}", queued)) == []


def test_going_back_and_forth_between_two_values_runs_nothing_again(queued: Path) -> None:
    params = queued / "params.yaml"
    original = params.read_text()
    faded = run(f"git show {experiment(queued, 'fading')}:params.yaml", queued)
    other = original.replace("max_quarantined: 0.9", "max_quarantined: 0.7")
    try:
        params.write_text(other)
        # Its outputs are the same; the report prints all parameters.
        assert set(stages_run(run("dvc repro", queued))) == {"parameters", "validate", "report"}
        for text in (faded, other, original):
            params.write_text(text)
            assert stages_run(run("dvc repro", queued)) == []
    finally:
        params.write_text(original)
    assert run("git status --porcelain", queued) == ""


def test_a_killed_training_goes_on_and_ends_with_the_same_bytes(finished: Path) -> None:
    before = hashes(finished)["models/adapters/standard-1"], (finished / "reports/curves/standard-1.csv").read_bytes()
    command = "dvc repro --force --single-item train@standard-1"
    for whole in (1, 2):
        process = start(command, finished)
        while len(list(finished.glob("models/checkpoints/standard-*/checkpoint-*"))) < whole:
            assert process.poll() is None, "it has to be killed before it is done"
            time.sleep(0.05)
        kill(process)
    out = run(command, finished)
    assert re.search(r"train standard-1: \d+ steps, resumed from step [1-9]", out), out[-2000:]
    assert (
        hashes(finished)["models/adapters/standard-1"],
        (finished / "reports/curves/standard-1.csv").read_bytes(),
    ) == before
    assert not list(finished.glob("models/checkpoints/*")), "checkpoints are gone once the adapter is there"
    statuses = [tags["status"] for tags in runs(finished) if tags.get("dvc.stage") == "train@standard-1"]
    assert "RUNNING" not in statuses
    assert "KILLED" in statuses


def test_a_training_seed_more_trains_and_asks_just_that_one_side_by_side(finished: Path) -> None:
    params = finished / "params.yaml"
    original, before = params.read_text(), hashes(finished)
    two_seeds = re.sub(r"replicates:\s+- 1$", "replicates: [1, 5]", original, flags=re.MULTILINE)
    assert two_seeds != original
    params.write_text(two_seeds)
    try:
        out = run("abo-vqa repro --jobs 2", finished)
        # A line begins with the stage that ended; the last is the summary of all.
        ran = [line.split()[0] for line in out.splitlines() if re.match(r"[\w@-]+ +\d+:\d\d", line)]
        assert "FutureWarning" not in out and len(out.splitlines()) <= 60
        assert f"{len(ran)} stages in " in out and "Did showing the options in training help?" in out
        new = {f"{stage}@{arm}-5" for stage in ("train", "evaluate") for arm in MODELS[1:]}
        assert set(ran) == new | {"parameters", "score", "compare", "register", "report"} and len(ran) == len(set(ran))
        comparison = json.loads((finished / "reports/comparison.json").read_text())
        assert comparison["runs"]["options"] == ["options-1", "options-5"]
        known = {tags["run_id"]: tags for tags in runs(finished)}
        trained = [tags for tags in known.values() if tags.get("dvc.stage") in ("train@standard-5", "train@options-5")]
        arms = [known[tags["mlflow.parentRunId"]] for tags in trained]
        assert sorted(arm["runs_of_arm"] for arm in arms) == ["options", "standard"]
        assert len({arm["mlflow.parentRunId"] for arm in arms}) == 1, "both DVC processes share one execution"
        after = hashes(finished)
        assert {path: after[path] for path in before if "-1" in path} == {p: h for p, h in before.items() if "-1" in p}
        # One at a time gives the same bytes as two at once.
        run("dvc repro --force --single-item train@options-5", finished)
        assert hashes(finished)["models/adapters/options-5"] == after["models/adapters/options-5"]
        assert after["models/adapters/options-5"] != after["models/adapters/options-1"]
    finally:
        params.write_text(original)
        run("dvc checkout", finished)
        run("git checkout -q .", finished)


def test_a_failing_stage_ends_the_others_with_its_status(finished: Path) -> None:
    params = finished / "params.yaml"
    original = params.read_text()
    params.write_text(original.replace("optimizer: auto", "optimizer: galore_adamw"))
    try:
        out = run("abo-vqa repro --jobs 2", finished, ok=False)
        assert "galore" in out and "compare " not in out
        assert re.search(r"stage train@\w+-1 failed; its whole output:\nRunning stage 'train@", out)
    finally:
        params.write_text(original)
        run("dvc checkout", finished)
        run("git checkout -q .", finished)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("-S +sample.sise=3", "sample.sise: unknown parameter"),
        ("-S model.base=models/elsewhere", "models/elsewhere"),  # a missing dependency: DVC's own words
    ],
)
def test_a_bad_parameter_gets_a_plain_answer(finished: Path, change: str, says: str) -> None:
    out = run(f"dvc exp run --temp {change}", finished, ok=False)
    assert says in out
    assert "Traceback" not in out


def test_a_refused_value_costs_no_output(finished: Path) -> None:
    before = {
        path: path.stat().st_mtime_ns
        for folder in ("models/adapters", "tables", "reports")
        for path in (finished / folder).rglob("*")
    }
    try:
        out = run(
            "dvc exp run -S train.lora.r=0 -S train.optimizer=adam_torch -S +train.lora.target=[q_proj]",
            finished,
            ok=False,
        )
    finally:
        run("git checkout -q params.yaml", finished)
    assert stages_run(out) == ["parameters"]
    for said in (
        "train.lora.r: Input should be greater than or equal to 1 (given: 0)",
        "train.optimizer: no such optimizer; did you mean adamw_torch",
        "train.lora.target: unknown parameter; did you mean targets?",
        "nothing was deleted; `git checkout params.yaml` goes back to the committed values",
    ):
        assert said in out
    assert "Traceback" not in out
    lost = finished / "tables/parameters.txt"
    after = {path: path.stat().st_mtime_ns for path in before if path not in (lost, lost.parent)}
    assert after == {path: at for path, at in before.items() if path in after} and len(after) >= len(before) - 2
    assert stages_run(run("dvc repro", finished)) == [], "DVC has the check of the committed values"


def test_a_truncated_archive_is_named_and_nothing_made_is_lost(finished: Path) -> None:
    archive = finished / "data/abo-listings.tar"
    whole, before = archive.read_bytes(), (finished / "reports/comparison.md").read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    try:
        out = run("dvc repro", finished, ok=False)
    finally:
        archive.write_bytes(whole)
    assert "data/abo-listings.tar" in out
    assert "Traceback" not in out
    assert (finished / "reports/comparison.md").read_bytes() == before
    # The good archive back in place, everything comes from the cache.
    assert stages_run(run("dvc repro", finished)) == []
    assert (finished / "tables/sample.parquet").is_file()


def test_a_temporary_experiment_runs_the_code_of_its_own_checkout(finished: Path) -> None:
    stage = finished / "src/abo_vqa/splits/stage.py"
    original = stage.read_text()
    marked = original.replace("def main() -> None:", 'def main() -> None:\n    print("CHANGED IN", __file__)', 1)
    assert marked != original
    stage.write_text(marked)
    commit(finished, "change a stage")
    stage.write_text(original)
    commit(finished, "change it back")
    run("git checkout -q HEAD~1", finished)
    try:
        out = run("dvc exp run --temp split", finished)
    finally:
        run("git checkout -q -", finished)
    lines = [line for line in out.splitlines() if line.startswith("CHANGED IN")]
    assert len(lines) == 1
    ran_from = (finished / lines[0].removeprefix("CHANGED IN ")).resolve()
    assert ran_from != stage
    assert finished / ".dvc/tmp/exps" in ran_from.parents
