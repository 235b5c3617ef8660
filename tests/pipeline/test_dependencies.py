"""Guards that no stage runs code which `dvc.yaml` does not list: a change of it would not rerun the stage."""

import ast
from pathlib import Path

from dvc.repo import Repo

from module_graph import closure, file_of

# How a stage starts, finds its files, fails and reports itself, and the names that are spoken everywhere: changes there
# are so rare, and what they change so seldom a result, that rerunning everything after each would cost more.
PLUMBING = {
    "abo_vqa",
    "abo_vqa.common.storage",
    "abo_vqa.common.errors",
    "abo_vqa.common.params",
    "abo_vqa.common.params.data",
    "abo_vqa.common.params.group",
    "abo_vqa.common.params.measure",
    "abo_vqa.common.params.model",
    "abo_vqa.common",
    "abo_vqa.common.schema",
    "abo_vqa.questions.schema",
    "abo_vqa.common.draws",
    "abo_vqa.common.runner",
    "abo_vqa.common.layout",
    "abo_vqa.common.project",
    "abo_vqa.common.tracking",
    "abo_vqa.common.tracking.outbox",
    "abo_vqa.common.tracking.process",
    "abo_vqa.common.tracking.run",
    "abo_vqa.common.tracking.store",
}


def stages(root: Path) -> dict[str, tuple[str, list[str]]]:
    """Every stage's module and the paths in src/ that it depends on."""
    with Repo(str(root)) as repo:
        return {
            stage.addressing: (
                str(stage.cmd).partition("-m ")[2].split()[0],
                [str(dep) for dep in stage.deps if str(dep).startswith("src/")],
            )
            for stage in repo.index.stages
            if stage.cmd
        }


def test_every_module_of_a_stage_is_a_dependency(root: Path) -> None:
    src = root / "src"
    missing = {}
    for name, (module, deps) in stages(root).items():
        files = [file_of(src, needed) for needed in closure(src, module) - PLUMBING]
        unlisted = [
            str(file.relative_to(root))
            for file in files
            if file and not any(file.relative_to(root).is_relative_to(dep) for dep in deps)
            if len(ast.parse(file.read_text()).body) > 1  # more than a docstring
        ]
        if unlisted:
            missing[name] = sorted(unlisted)
    assert not missing


def test_no_stage_depends_on_code_it_does_not_run(root: Path) -> None:
    src = root / "src"
    idle = {}
    for name, (module, deps) in stages(root).items():
        files = [
            str(file.relative_to(root)) for needed in closure(src, module) - PLUMBING if (file := file_of(src, needed))
        ]
        unused = [dep for dep in deps if dep.endswith(".py") and dep not in files]
        if unused:
            idle[name] = unused
    assert not idle
