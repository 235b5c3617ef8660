"""Runs of several seeds are pooled from what git holds; runs that differ in more are ranked on validation."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import stdev

import pytest
from scipy.stats import ttest_1samp

from abo_vqa.commands.sweep import pool, read_experiments, read_revisions, render
from abo_vqa.commands.sweep_ranking import grouped, validation
from abo_vqa.common.errors import InputError

ACCURACIES = {1: (0.50, 0.60), 2: (0.54, 0.66), 3: (0.46, 0.54)}


def comparison(seed: int, base: float, arm: float) -> dict:
    results = {name: {"open": {"total": {"n": 100, "accuracy": x}}} for name, x in (("base", base), ("options", arm))}
    significant = "better" if arm - base > 0.09 else ""
    row = {"first": "options", "second": "base", "condition": "open", "estimate": arm - base}
    return {
        "seed": seed,
        "confidence": 0.95,
        "results": results,
        "differences": [row | {"significant": significant}],
        "verdict": {},
    }


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


PARAMS = "seed: {}\ntrain:\n  lora: {{r: {}}}\nregistry:\n  champion_under: [open]\n"


def save(folder: Path, seed: int, rank: int = 16, validation: float | None = 0.7, **changed: object) -> str:
    """Commit the outcome of a run and return the commit."""
    (folder / "reports").mkdir(exist_ok=True)
    (folder / "params.yaml").write_text(PARAMS.format(seed, rank))
    metrics = {"base": {"open/accuracy": 0.5}, "options": {"validation/accuracy": validation}}
    (folder / "reports/metrics.json").write_text(json.dumps(metrics))
    found = comparison(seed, *ACCURACIES[seed]) | changed
    (folder / "reports/comparison.json").write_text(json.dumps(found))
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", f"seed {seed}")
    return git(folder, "rev-parse", "HEAD").strip()


def experiment(folder: Path, name: str, seed: int, rank: int = 16, validation: float | None = 0.7) -> None:
    """Save a run as DVC saves an experiment: a commit on top of HEAD under refs/exps, and no branch."""
    head = git(folder, "rev-parse", "HEAD").strip()
    commit = save(folder, seed, rank, validation)
    git(folder, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", commit)
    git(folder, "reset", "-q", "--hard", head)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's history: seed 1 at HEAD, seeds 2 and 3 as experiments."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q", "-b", "main")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=tmp_path, check=True)
    save(tmp_path, 1)
    experiment(tmp_path, "puffy-seed", 2)
    experiment(tmp_path, "runny-seed", 3)
    return tmp_path


@pytest.fixture
def ranks(repository: Path) -> Path:
    """With two more ranks: one that is better on validation, and one that is better on the test questions."""
    experiment(repository, "validated", 3, rank=8, validation=0.8)
    experiment(repository, "lucky", 2, rank=32, validation=0.6)
    return repository


def cells(markdown: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in markdown.splitlines() if "|" in line]


def test_mean_and_spread_are_students(repository):
    pooled = pool({name: outcome.comparison for name, outcome in read_experiments().items()})
    assert pooled["seeds"] == [1, 2, 3]
    row = next(row for row in pooled["accuracies"] if row["model"] == "options")
    values = [arm for _, arm in ACCURACIES.values()]
    interval = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (row["seeds"], row["mean"], row["deviation"]) == (3, pytest.approx(0.6), pytest.approx(stdev(values)))
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    (row,) = pooled["differences"]
    gains = [arm - base for base, arm in ACCURACIES.values()]
    assert (row["mean"], row["deviation"]) == (pytest.approx(0.1), pytest.approx(stdev(gains)))
    assert (row["better"], row["seeds"]) == (2, 3)


def test_the_command_prints_the_table(repository, root):
    def sweep(*revisions: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "abo_vqa.commands.app", "sweep", *revisions]
        return subprocess.run(
            command, cwd=repository, capture_output=True, text=True, env={"PYTHONPATH": f"{root}/src"}
        )

    done = sweep()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == render(read_experiments())
    lines = cells(done.stdout)
    assert ["options", "open", "3", "60.0 %", "6.0", "45.1 to 74.9"] in lines
    assert ["options", "base", "open", "3", "+10.0", "2.0", "+5.0 to +15.0", "2 of 3"] in lines
    named = sweep("main", "runny-seed")
    assert "Seeds 1, 3." in named.stdout
    alone = sweep("main")
    assert alone.returncode == 1
    assert alone.stderr.startswith("abo-vqa sweep: error: one seed only (1, in main)")


def test_a_branch_a_commit_and_an_experiment_are_revisions(repository):
    git(repository, "checkout", "-q", "-b", "second")
    commit = save(repository, 2)
    assert list(read_revisions(["main", commit, "runny-seed"])) == ["main", commit, "runny-seed"]
    with pytest.raises(InputError, match="nowhere: neither a revision nor an experiment"):
        read_revisions(["main", "nowhere"])


def test_runs_that_differ_in_more_than_the_seed_are_ranked_by_validation(ranks):
    said = render(read_experiments())
    assert said.startswith("# Experiments by validation accuracy") and "Choose by it." in said
    heads, _, *rows = cells(said.partition("# 3 seeds")[0])
    assert heads == ["experiment", "parameters", "validation", "arm", "its validation", "test, open"]
    names, chosen = [row[0] for row in rows], rows[0]
    assert chosen == ["validated", "train.lora.r=8", "80.0 %", "options", "80.0 %", "54.0 %"]
    # The mean test accuracy of three seeds; and the best on the test is last.
    assert rows[1][1:] == ["train.lora.r=16", "70.0 %", "options", "70.0 %", "60.0 %"]
    assert set(names[1].split(", ")) == {"HEAD", "puffy-seed", "runny-seed"}
    assert rows[2] == ["lucky", "train.lora.r=32", "60.0 %", "options", "60.0 %", "66.0 %"]


def test_only_runs_that_differ_in_the_seed_alone_are_pooled(ranks):
    said = render(read_experiments())
    assert said.count(" seeds, train.lora.r=") == said.count("# 3 seeds, train.lora.r=16") == 1
    assert said.endswith(render(read_revisions(["main", "puffy-seed", "runny-seed"])).partition("\n")[2])
    alone = render(read_revisions(["main", "lucky"]))
    assert "seeds," not in alone and len(cells(alone)) == 4


def test_an_experiment_without_validation_is_ranked_last_however_good_its_test(repository):
    experiment(repository, "unknown", 2, rank=8, validation=None)
    outcomes = read_revisions(["unknown", "main"])
    assert [list(group) for group in grouped(outcomes)] == [["main"], ["unknown"]]
    assert cells(render(outcomes))[-1] == ["unknown", "train.lora.r=8", "none", "options", "none", "66.0 %"]


def test_a_revision_without_metrics_has_no_validation(repository):
    git(repository, "rm", "-q", "reports/metrics.json")
    git(repository, "commit", "-q", "-m", "no metrics")
    assert validation(read_revisions(["HEAD"])) is None


def test_a_seed_that_is_there_twice_counts_once_and_must_agree():
    one, two = comparison(1, 0.5, 0.6), comparison(2, 0.5, 0.7)
    assert pool({"a": one, "b": two, "c": one})["accuracies"][0]["seeds"] == 2
    with pytest.raises(InputError, match="a and c have the seed 1, but different results"):
        pool({"a": one, "b": two, "c": comparison(1, 0.5, 0.61)})


def test_a_revision_without_a_comparison_is_named(repository):
    git(repository, "rm", "-q", "reports/comparison.json")
    git(repository, "commit", "-q", "-m", "none")
    with pytest.raises(InputError, match=r"HEAD: its reports/comparison\.json is neither in git"):
        read_experiments()


def test_a_comparison_of_an_older_form_is_named(repository):
    found = comparison(1, 0.5, 0.6)
    del found["verdict"]
    (repository / "reports/comparison.json").write_text(json.dumps(found))
    git(repository, "commit", "-q", "-am", "old")
    with pytest.raises(InputError, match=r"main: its reports/comparison\.json has an older format"):
        read_revisions(["main"])
