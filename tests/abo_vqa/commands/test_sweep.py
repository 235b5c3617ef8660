"""Runs of several seeds are pooled from what git holds; runs that differ in more are not."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import stdev

import pytest
from scipy.stats import ttest_1samp

from abo_vqa.commands.sweep import pool, read_experiments, read_revisions, render
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


def save(folder: Path, seed: int, rank: int = 16, **changed: object) -> str:
    """Commit the outcome of a run and return the commit."""
    (folder / "reports").mkdir(exist_ok=True)
    (folder / "params.yaml").write_text(f"seed: {seed}\ntrain:\n  lora: {{r: {rank}}}\n")
    found = comparison(seed, *ACCURACIES[seed]) | changed
    (folder / "reports/comparison.json").write_text(json.dumps(found))
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", f"seed {seed}")
    return git(folder, "rev-parse", "HEAD").strip()


def experiment(folder: Path, name: str, seed: int, rank: int = 16) -> None:
    """Save a run as DVC saves an experiment: a commit on top of HEAD under refs/exps, and no branch."""
    head = git(folder, "rev-parse", "HEAD").strip()
    commit = save(folder, seed, rank)
    git(folder, "update-ref", f"refs/exps/{head[:2]}/{head[2:]}/{name}", commit)
    git(folder, "reset", "-q", "--hard", head)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's history: seed 1 at HEAD, seeds 2 and 3 and another rank as experiments."""
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q", "-b", "main")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=tmp_path, check=True)
    save(tmp_path, 1)
    experiment(tmp_path, "puffy-seed", 2)
    experiment(tmp_path, "runny-seed", 3)
    experiment(tmp_path, "other-rank", 2, rank=8)
    return tmp_path


def test_mean_and_spread_are_students(repository):
    pooled = pool(read_experiments())
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
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "|" in line]
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


def test_runs_that_differ_in_more_than_the_seed_are_not_pooled(repository):
    with pytest.raises(InputError, match=r"main and other-rank differ in train\.lora\.r, not only in the seed"):
        read_revisions(["main", "other-rank"])


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
