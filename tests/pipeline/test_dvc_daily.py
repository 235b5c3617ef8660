"""DVC as it is used from day to day: real commands, between the last commit and an experiment."""

import csv
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc_render import VegaRenderer
from playwright.sync_api import sync_playwright
from ruamel.yaml import YAML

from project import commit, copy_project, experiment, run, stages_run

pytestmark = pytest.mark.slow

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
MODELS = ["base", "standard", "options"]
CONDITIONS = ["open", "options", "circular", "matched", "no_question", "reworded", "validation"]
ACCURACIES = {f"{model}.{condition}/accuracy" for model in MODELS for condition in CONDITIONS}


@pytest.fixture(scope="module")
def clone(queued_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished clone with the experiment `fading`, at its commit."""
    return copy_project(queued_once, tmp_path_factory.mktemp("daily") / "abo-vqa")


def back(folder: Path) -> None:
    run("git checkout -q . && dvc checkout -q", folder)


@pytest.fixture(autouse=True)
def unchanged(clone: Path) -> Iterator[None]:
    yield
    back(clone)


@pytest.mark.parametrize(
    ("change", "ran"),
    [
        ("-S report.gallery_images=5", {"parameters", "report"}),
        (
            "-S 'compare.max_blind.open=0.01' -S report.gallery_images=6",
            {"parameters", "compare", "register", "report"},
        ),
    ],
)
def test_an_experiment_runs_what_depends_on_its_parameters(clone: Path, change: str, ran: set[str]) -> None:
    assert set(stages_run(run(f"dvc exp run {change}", clone))) == ran


def test_experiments_are_shown_in_columns_one_can_read(clone: Path) -> None:
    metrics = json.loads(run("dvc metrics show --json", clone))
    assert set(metrics[""]["data"]) == {"reports/metrics.json"}
    page = (clone / "docs/tasks/change-a-parameter.md").read_text()
    [command] = re.findall(r"^dvc exp show .*$", page, re.MULTILINE)
    head, *lines = csv.reader(run(f"{command} --csv", clone).splitlines())
    rows = [dict(zip(head, line, strict=True)) for line in lines]
    differing = set(head) & ACCURACIES
    assert not re.search(r"deviation|circular|matched|no_question|reworded", " ".join(head)), "too wide for a terminal"
    assert all(name.startswith("options.") for name in differing), "only this arm was trained anew"
    groups = YAML(typ="safe", pure=True).load(clone / "params.yaml")
    others = set(head) - ACCURACIES - {"Experiment", "rev", "typ", "Created", "parent"}
    assert {"arms.options.options_last", "validate.max_quarantined"} <= others
    assert {name.partition(".")[0] for name in others} <= set(groups), "parameters only"
    fading = next(row for row in rows if row["Experiment"] == "fading")
    assert float(fading["arms.options.options_last"]) == 1e-5
    stored = json.loads(run(f"git show {fading['rev']}:reports/metrics.json", clone))
    assert all(float(fading[name]) == stored["options"][name.partition(".")[2]] for name in differing)


def test_metrics_and_parameters_of_two_experiments_differ_as_their_files_do(clone: Path) -> None:
    (changed,) = json.loads(run("dvc params diff --json HEAD fading", clone)).values()
    assert {name: (row["old"], row["new"]) for name, row in changed.items()} == {
        "arms.options.options_last": (1.0, 1e-5),
        "validate.max_quarantined": (0.9, 0.8),
    }
    (found,) = json.loads(run("dvc metrics diff --json HEAD fading", clone)).values()
    old, new = (
        json.loads(run(f"git show {revision}:reports/metrics.json", clone))
        for revision in ("HEAD", experiment(clone, "fading"))
    )
    assert found, "an arm that loses its options answers otherwise"
    for name, row in found.items():
        model, key = name.split(".", 1)
        assert (row["old"], row["new"]) == (old[model][key], new[model][key])
        assert model == "options", "only this arm was trained anew"
    training = run("dvc metrics diff --targets reports/training/options-1.json -- HEAD fading", clone)
    assert "final_loss" in training


def test_plots_of_two_experiments_are_drawn_without_the_network(clone: Path) -> None:
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine; install Debian's package chromium")
    run("dvc plots diff HEAD fading", clone)
    shown = clone / "dvc_plots/index.html"
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(shown.as_uri())
        # The accuracies, a loss curve of each arm, the gradient norms.
        page.wait_for_function("document.querySelectorAll('.vega-embed canvas, .vega-embed svg.marks').length >= 4")
        broken = page.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.src)")
        specs = [json.loads(text) for text in re.findall(r"var spec = (\{.*?\});\n", shown.read_text(), re.DOTALL)]
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert broken == []
    both = [spec for spec in specs if {"HEAD", "fading"} <= {row.get("rev") for row in spec["data"]["values"]}]
    assert len(both) >= 4
    assert not run("git status --porcelain --untracked-files=all dvc_plots", clone), "git has no use for them"


def test_the_page_holds_the_scripts_that_the_installed_dvc_would_load(root: Path) -> None:
    page = (root / ".dvc/plots/page.html").read_text()
    wanted = re.findall(r"npm/([\w-]+)@([\d.]+)", VegaRenderer.SCRIPTS)
    assert len(wanted) == 3
    for name, version in wanted:
        assert f"<!-- {name} {version}\n" in page, "run `make plots-page`"
    assert not re.findall(r"<script[^>]+src=|<link", page)
    assert page.count("BSD 3-Clause") + page.count("Redistribution and use in source") >= 3, "licences go with them"


def test_a_second_clone_pulls_what_was_pushed_and_runs_nothing(clone: Path, tmp_path: Path) -> None:
    run(f"dvc remote add -d storage {tmp_path / 'storage'}", clone)
    commit(clone, "a remote")
    run("dvc push -q", clone)
    second = tmp_path / "second"
    run(f"git clone -q {clone} {second}", tmp_path)
    assert not (second / "models/adapters/options-1").exists()
    run("dvc pull -q", second)
    for path in ("models/adapters/options-1/adapter_model.safetensors", "reports/report.html", "tables/raw.jsonl"):
        assert (second / path).read_bytes() == (clone / path).read_bytes()
    said = run("dvc repro", second)
    assert stages_run(said) == []
    assert "up to date" in said


def test_adapters_are_had_by_name(clone: Path, tmp_path: Path) -> None:
    pipeline = YAML(typ="safe", pure=True).load(clone / "dvc.yaml")
    arms = YAML(typ="safe", pure=True).load(clone / "params.yaml")["arms"]
    assert pipeline["artifacts"].keys() == arms.keys()
    for name, artifact in pipeline["artifacts"].items():
        assert artifact["path"] == f"models/adapters/{name}-1", "the first training seed's"
        assert artifact["type"] == "model"
        run(f"git tag -a {name}@v1.0.0 -m {name}", clone)
        run(f"dvc artifacts get {clone} {name} --rev v1.0.0 -o {tmp_path / name}", tmp_path)
        made = clone / artifact["path"] / "adapter_model.safetensors"
        assert (tmp_path / name / made.name).read_bytes() == made.read_bytes()


def test_two_experiments_in_two_workers_leave_every_run_in_a_fresh_store(clone: Path) -> None:
    (clone / "mlflow.db").unlink()
    sweep = "-S train.lora.r=4,8 -S train.learning_rate=2e-3 -S train.max_questions=36"
    run(f"dvc exp run --queue {sweep} train@options-1", clone)
    names = set(re.findall(r"^\w{7}\s+([\w-]+)\s", run("dvc queue status", clone), re.MULTILINE))
    assert len(names) == 2
    run("dvc queue start -j 2", clone)
    run("while dvc queue status | grep -qE 'Running|Queued|[1-9] active'; do sleep 2; done", clone)
    assert run("dvc queue status", clone).count("Success") == 2
    assert names <= set(run("dvc exp list --name-only", clone).split())
    with sqlite3.connect(clone / "mlflow.db") as store:
        assert {status for (status,) in store.execute("select distinct status from runs")} == {"FINISHED"}
        found = store.execute(
            "select experiment.value, rank.value, rate.value from tags experiment "
            "join tags stage on stage.run_uuid = experiment.run_uuid and stage.key = 'dvc.stage' "
            "join params rank on rank.run_uuid = experiment.run_uuid and rank.key = 'train.lora.r' "
            "join params rate on rate.run_uuid = experiment.run_uuid and rate.key = 'train.learning_rate' "
            "where experiment.key = 'dvc.experiment' and stage.value = 'train@options-1'"
        ).fetchall()
    assert sorted(name for name, *_ in found) == sorted(names)
    assert {(rank, float(rate)) for _, rank, rate in found} == {("4", 2e-3), ("8", 2e-3)}
