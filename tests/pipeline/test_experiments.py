"""DVC as its users know it: what reruns when, and whose code a temporary experiment runs. Real DVC commands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dvc")]


def run(command: str, folder: Path, ok: bool = True) -> str:
    """Run a command in a folder with the test's own interpreter first on the path; return what it printed."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    outcome = subprocess.run(
        command, shell=True, cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"},
    )  # fmt: skip
    assert (outcome.returncode == 0) == ok, outcome.stdout + outcome.stderr
    return outcome.stdout + outcome.stderr


@pytest.fixture(scope="module")
def clone(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the committed and uncommitted project, with the cheap stages run and committed."""
    folder = tmp_path_factory.mktemp("clone") / "abo-vqa"
    run(f"git clone -q {root} {folder}", root)
    for name in run("git ls-files -m -o --exclude-standard", root).split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if (root / name).exists():
            shutil.copy(root / name, folder / name)
    run("git config user.email test@example.invalid && git config user.name test", folder)
    run("dvc repro -q audit", folder)
    run("git add -A && git commit -qm 'cheap stages' --allow-empty", folder)
    return folder


def test_nothing_runs_twice(clone: Path) -> None:
    assert "Running stage" not in run("dvc repro audit", clone)


def test_a_parameter_reruns_what_depends_on_it(clone: Path) -> None:
    planned = run("dvc repro --dry -S train.lora.r=8 2>&1 || true", clone)
    if "unrecognized" in planned:
        run("sed -i 's/^    r: 16/    r: 8/' params.yaml", clone)
        planned = run("dvc status", clone)
        run("git checkout params.yaml", clone)
    assert "train@standard" in planned and "train@options" in planned
    for untouched in ("sample", "generate", "validate", "split", "audit"):
        assert f"\n{untouched}:" not in f"\n{planned}"


def test_a_float_given_on_the_command_line_arrives_as_one(clone: Path) -> None:
    out = run("dvc exp run --temp audit -S train.learning_rate=1e-5 -S split.test=0.3", clone)
    assert "Running stage 'split'" in out
    name = out.split("Ran experiment(s): ")[1].split()[0]
    params = run(f"git show $(git for-each-ref --format='%(objectname)' 'refs/exps/*/*/{name}'):params.yaml", clone)
    assert "learning_rate: 1e-05" in params
    checked = "from abo_vqa.params import read_params; print(repr(read_params().train.learning_rate))"
    (clone / "params.yaml").write_text(params)
    assert run(f'PYTHONPATH=src python -c "{checked}"', clone).strip() == "1e-05"
    run("git checkout params.yaml", clone)


def test_an_unknown_parameter_is_refused_by_name(clone: Path) -> None:
    out = run("dvc exp run --temp audit -S +sample.sise=3", clone, ok=False)
    assert "sample.sise: unknown parameter" in out
    assert "Traceback" not in out


def test_a_temporary_experiment_runs_the_code_of_its_own_checkout(clone: Path) -> None:
    stage = clone / "src/abo_vqa/stages/split.py"
    original = stage.read_text()
    marked = original.replace("def main() -> None:", 'def main() -> None:\n    print("CHANGED IN", __file__)', 1)
    assert marked != original
    stage.write_text(marked)
    run("git commit -qam 'change a stage'", clone)
    try:
        out = run("dvc exp run --temp split", clone)
    finally:
        run("git revert --no-edit -q HEAD || git revert --no-edit HEAD", clone)
    lines = [line for line in out.splitlines() if line.startswith("CHANGED IN")]
    assert len(lines) == 1
    ran_from = Path(lines[0].removeprefix("CHANGED IN ")).resolve()
    assert clone / ".dvc/tmp/exps" in ran_from.parents
    assert not ran_from.is_relative_to(clone / "src")
