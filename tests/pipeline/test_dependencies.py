"""Guards what dvc.yaml says about code: a stage depends on the code that it runs, all of it and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from abo_vqa.common.digests import code_files, code_of
from project import copy_project, run

# Its output is the same whatever its code finds, so that no other stage misses a change; and a value that newer code
# refuses is refused by the stage that reads it.
WITHOUT_CODE = {"parameters"}
EVALUATE = {"evaluate_base", "evaluate@standard-1", "evaluate@options-1"}


def stages(text: str) -> dict[str, dict[str, Any]]:
    """Return the stages of dvc.yaml by name, those of a matrix once."""
    return {name: stage.get("do", stage) for name, stage in YAML(typ="safe", pure=True).load(text)["stages"].items()}


def problems(text: str, root: Path) -> list[str]:
    """Return what is wrong with the code dependencies of a dvc.yaml, a line each."""
    found = []
    for name, stage in stages(text).items():
        if name in WITHOUT_CODE:
            continue
        module = "abo_vqa" + stage["cmd"].removeprefix("${run}").split()[0]
        listed = [root / dep for dep in stage["deps"] if dep.startswith("src/")]
        runs = [path for path in code_files(module, root / "src") if has_code(path)]
        found += [f"{name} runs {path.relative_to(root)}" for path in runs if not covered(path, listed)]
        there = [file for dep in listed for file in ([dep] if dep.is_file() else dep.rglob("*"))]
        idle = [file for file in there if file.is_file() and "__pycache__" not in file.parts and file not in runs]
        # The question prompt is named by a parameter, and so by a dependency of its own.
        own = {"generate": {root / "src/abo_vqa/generators/question_prompt.txt"}}.get(name, set())
        idle = [file for file in idle if has_code(file) and file not in own]
        found += [f"{name} does not run {file.relative_to(root)}" for file in idle]
        found += [f"{name}: {dep.relative_to(root)} is not there" for dep in listed if not dep.exists()]
    return found


def covered(path: Path, listed: list[Path]) -> bool:
    return any(path.is_relative_to(dep) for dep in listed)


def has_code(path: Path) -> bool:
    """Whether a file has more than a docstring."""
    return path.suffix != ".py" or bool(code_of(path).body)


def test_stages_depend_on_the_code_that_they_run(root: Path) -> None:
    assert problems((root / "dvc.yaml").read_text(), root) == []


@pytest.mark.parametrize(
    ("line", "instead", "problem"),
    [
        ("      - src/abo_vqa/metrics\n", "", "score runs src/abo_vqa/metrics/answers.py"),
        ("      - src/abo_vqa/common\n", "", "sample runs src/abo_vqa/common/draws.py"),
        ("abo_vqa/inference/conditions\n", "abo_vqa/inference\n", "score does not run src/abo_vqa/inference/ask.py"),
        ("- src/abo_vqa/model/base\n", "- src/abo_vqa/model\n", "generate does not run src/abo_vqa/model/collators.py"),
        ("- src/abo_vqa/catalog\n", "- src/abo_vqa/drawings\n", "sample: src/abo_vqa/drawings is not there"),
    ],
)
def test_a_wrong_dependency_is_found(root: Path, line: str, instead: str, problem: str) -> None:
    text = (root / "dvc.yaml").read_text()
    assert line in text
    assert problem in problems(text.replace(line, instead), root)


def test_a_new_module_in_a_room_is_found_until_its_stage_runs_it(root: Path, tmp_path: Path) -> None:
    run(f"cp -r {root}/src {tmp_path}/src", root)
    (tmp_path / "src/abo_vqa/metrics/bleu.py").write_text("BLEU = 4\n")
    assert problems((root / "dvc.yaml").read_text(), tmp_path) == ["score does not run src/abo_vqa/metrics/bleu.py"]


def test_code_dependencies_fit_on_a_page_and_stages_say_what_they_do(root: Path) -> None:
    text = (root / "dvc.yaml").read_text()
    assert sum(line.strip().startswith("- src/") for line in text.splitlines()) <= 40
    assert all(stage["desc"] for stage in stages(text).values())


@pytest.fixture(scope="module")
def finished(repro_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(repro_once, tmp_path_factory.mktemp("touched") / "abo-vqa")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("touched", "comment", "reruns"),
    [
        ("src/abo_vqa/metrics/answers.py", "# x\n", {"score"}),
        ("src/abo_vqa/report/report.html.jinja", "{# x #}\n", {"report"}),
        ("src/abo_vqa/inference/conditions/__init__.py", "# x\n", EVALUATE | {"score"}),
        ("src/abo_vqa/serving/checks.py", "# x\n", {"register"}),
        ("src/abo_vqa/questions/parse.py", "# x\n", {"validate"}),
        ("models/demo/README.md", "x\n", set()),
    ],
)
def test_a_comment_reruns_its_own_stage_alone(finished: Path, touched: str, comment: str, reruns: set[str]) -> None:
    """What follows from a stage reruns only if its outputs change, which a comment does not make them do."""
    file = finished / touched
    before = file.read_text()
    file.write_text(before + comment)
    try:
        assert set(json.loads(run("dvc status --json", finished))) == reruns
    finally:
        file.write_text(before)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "reruns"),
    [
        ("models/demo/generation_config.json", {*EVALUATE, "train@standard-1", "train@options-1", "register"}),
        ("models/hub/llava-v1.6-mistral-7b-hf.json", {"generate"}),
    ],
)
def test_a_changed_model_is_seen(finished: Path, file: str, reruns: set[str]) -> None:
    model = finished / file
    before = model.read_text()
    model.write_text(before + "\n")
    try:
        assert set(json.loads(run("dvc status --json", finished))) == reruns
    finally:
        model.write_text(before)
