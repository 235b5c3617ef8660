"""docs/extending.md: each diff applies alone, touches at most two files, and its command shows the effect."""

import json
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

from paths import ROOT
from project import commit, copy_project, run

PAGE = ROOT / "docs/extending.md"
SECTION = re.compile(r"^## ([^\n]+)\n([^\n]+)\n```diff\n(.*?)^```\nRun `([^\n]+)`\.$", re.MULTILINE | re.DOTALL)


class Change(NamedTuple):
    """A section of the page."""

    title: str
    sentence: str
    diff: str
    command: str


CHANGES = [Change(*found) for found in SECTION.findall(PAGE.read_text(encoding="utf-8"))]
each = pytest.mark.parametrize("change", [pytest.param(one, id=one.title) for one in CHANGES])
EVALUATE = {"evaluate_base", "evaluate@standard-1", "evaluate@options-1"}
BEFORE_TRAINING = {"sample", "generate", "validate", "split", "audit"}
READ_ARMS = {"score", "compare", "register", "report"}
READ_CONDITIONS = EVALUATE | {"score", "compare", "register", "report"}
PARAMETERS = {"parameters"}  # whatever changes params.yaml
# What the change alone makes out of date; what follows from it reruns only if its inputs change.
AFFECTED = {
    "Arm": PARAMETERS | {"train@fading-1", "evaluate@fading-1"} | READ_ARMS,
    "Condition from existing keys": PARAMETERS | READ_CONDITIONS,
    "Kind of condition": PARAMETERS | READ_CONDITIONS,
    "Generator": {"generate"},
    "Metric": {"score"},
    "Answer prompt": PARAMETERS | {"train@standard-1", "evaluate@standard-1"} | READ_ARMS,
    "Question type": BEFORE_TRAINING | {"train@standard-1", "train@options-1"} | EVALUATE | READ_ARMS,
    "Repair": PARAMETERS | {"validate", "report"},  # the report prints all parameters
    "Expectation": {"validate"},
    "Plot": {"report"},
}
# A full run of all ten in about a minute.
REDUCED = """
sample: {products: 80}
train: {max_questions: 36, validation_questions: 9}
"""


def apply(change: Change, folder: Path, *options: str) -> None:
    done = subprocess.run(
        ["git", "apply", *options, "-"], cwd=folder, input=change.diff, text=True, capture_output=True
    )  # fmt: skip
    assert done.returncode == 0, f"{change.title}: the page's diff does not apply\n{done.stderr}"


def test_the_page_shows_ten_changes_and_is_short() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [one.title for one in CHANGES] == list(AFFECTED)
    assert len(CHANGES) == 10
    assert len(text.splitlines()) < 200
    assert "(docs/extending.md)" in (ROOT / "README.md").read_text(encoding="utf-8")


@each
def test_a_change_is_at_most_two_files_of_one_room(change: Change) -> None:
    apply(change, ROOT, "--check")
    files = re.findall(r"^\+\+\+ b/(.+)$", change.diff, re.MULTILINE)
    assert len(files) in (1, 2)
    assert len({Path(file).parts[2] for file in files if file.startswith("src/abo_vqa/")}) <= 1


@pytest.fixture(scope="module")
def finished(repro_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(repro_once, tmp_path_factory.mktemp("alone") / "abo-vqa")


@pytest.mark.slow
@each
def test_a_change_affects_its_own_stages_alone(finished: Path, change: Change) -> None:
    apply(change, finished)
    try:
        assert set(json.loads(run("dvc status --json", finished))) == AFFECTED[change.title]
    finally:
        apply(change, finished, "--reverse")


@pytest.fixture(scope="module")
def extended(repro_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small clone with all ten changes, on which `dvc repro` has not run yet."""
    folder = copy_project(repro_once, tmp_path_factory.mktemp("extended") / "abo-vqa")
    reduced = folder.parent / "reduced.yaml"
    reduced.write_text(REDUCED)
    run(f"abo-vqa preset {reduced}", folder)
    for change in CHANGES:
        apply(change, folder)
    commit(folder, "all ten")
    return folder


@pytest.mark.slow
@each
def test_the_command_of_a_change_shows_its_effect(extended: Path, change: Change) -> None:
    said = run(change.command, extended)
    if "exp run" not in change.command:
        commit(extended, change.title)
        return
    if change.title == "Generator":
        assert json.loads((extended / "reports/generate.json").read_text())["source"] == "first"
        outputs = [json.loads(line) for line in (extended / "tables/raw.jsonl").read_text().splitlines()]
        assert {(one["generator"], len(json.loads(one["output"]))) for one in outputs} == {("first", 1)}
    else:
        assert len(re.findall(r"Queued experiment", said)) == 2
    run("git checkout -q . && dvc checkout -q", extended)


@pytest.mark.slow
def test_all_ten_show_up_in_the_results(extended: Path) -> None:
    run("dvc repro", extended)
    comparison = json.loads((extended / "reports/comparison.json").read_text())
    assert comparison["models"] == ["base", "standard", "options", "fading"]
    planned = {(row["first"], row["second"], row["condition"]) for row in comparison["differences"]}
    assert ("fading", "standard", "open") in planned
    assert {"six", "backwards"} <= set(comparison["conditions"])
    answers = pd.read_parquet(extended / "tables/answers/fading-1.parquet").set_index("qa_id")
    shown = {name: part["options"].map(list) for name, part in answers.groupby("condition")}
    assert set(shown["six"].map(len)) == {6}
    assert shown["backwards"].map(lambda options: options[::-1]).equals(shown["options"])
    for by_condition in comparison["results"].values():
        row = by_condition["open"]["by_type"]["size"]
        assert row["accuracy"] <= row["contains_answer"] <= 1
    validation = json.loads((extended / "reports/validation.json").read_text())
    assert validation["repairs"]["turquoise_is_blue"] > 0
    assert validation["failures_by_expectation"]["answer_is_short"] > 0
    questions = pd.read_parquet(extended / "tables/questions.parquet")
    assert "turquoise" not in set(questions["answer"])
    assert questions["answer"].map(len).max() <= 10
    report = (extended / "reports/report.html").read_text()
    assert (extended / "reports/plots/by_type.svg").is_file()
    assert report.index("<h3>Confusion</h3>") < report.index("<h3>By type</h3>")
