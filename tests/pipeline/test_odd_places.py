"""Where projects lie: no Git, a folder that may not be written, a full disk, a path with spaces and umlauts."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from paths import ROOT
from project import clone_project, environment, run, stages_run

pytestmark = pytest.mark.slow

# Root may write everything, unless it gives that right away.
AS_ANYBODY = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone_project(ROOT, tmp_path_factory.mktemp("odd") / "ein Kätzchen")


@pytest.fixture
def closed(clone: Path) -> Iterator[Path]:
    """The clone without any right to write."""
    if AS_ANYBODY and shutil.which("setpriv") is None:
        pytest.skip("root cannot give its rights away without setpriv")
    # What a killed DVC leaves, which both commands would mend.
    run("mkdir -p .dvc/tmp && touch .dvc/tmp/rwlock && chmod -R a-w .", clone)
    yield clone
    run("chmod -R u+w . && rm .dvc/tmp/rwlock", clone)


@pytest.fixture
def full(clone: Path) -> Iterator[Path]:
    """The clone with tables/ on a disk of 64 kB."""
    (clone / "tables").mkdir(exist_ok=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "tables"], cwd=clone, capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"a small disk cannot be mounted: {mount.stderr.strip()}")
    yield clone
    subprocess.run(["umount", "tables"], cwd=clone, check=False)


@pytest.mark.parametrize("command", ["repro", "doctor"])
def test_a_project_that_may_not_be_written_is_named_with_what_to_do(closed: Path, command: str) -> None:
    done = subprocess.run(
        [*AS_ANYBODY, "abo-vqa", command], cwd=closed, capture_output=True, text=True, env=environment()
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert "ermission denied" in said and "chmod -R u+" in said
    assert "Traceback" not in said


def test_a_full_disk_is_named_and_the_stage_goes_on_when_there_is_room(full: Path) -> None:
    said = run("dvc repro sample", full, ok=False)
    assert "no space left on device; make room and run it again" in said, said
    assert "Traceback" not in said
    subprocess.run(["umount", "tables"], cwd=full, check=True)
    # Neither halves of files nor what DVC cannot read was left.
    assert stages_run(run("dvc repro sample", full))[-1] == "sample"


def test_a_project_without_git_says_what_dvc_needs(clone: Path) -> None:
    (clone / ".git").rename(clone.parent / "git")
    try:
        said = run("abo-vqa repro", clone, ok=False)
        assert "no Git repository here, and DVC needs one; git init, or dvc config core.no_scm true" in said
        run("dvc config core.no_scm true", clone)
        assert stages_run(run("dvc repro -f sample", clone))[-1] == "sample"
    finally:
        (clone.parent / "git").rename(clone / ".git")
        run("git checkout -q .dvc/config", clone)
