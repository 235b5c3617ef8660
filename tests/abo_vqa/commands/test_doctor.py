"""The doctor: what it finds, how it says to mend it, and what it mends itself."""

import os
import shutil
import sqlite3
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from abo_vqa.commands import checkup
from abo_vqa.commands.app import app
from abo_vqa.common.lifetime import LOCKS


@pytest.fixture
def project(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project under Git without results."""
    for name in ("params.yaml", "requirements.lock"):
        shutil.copy(root / name, tmp_path)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def doctor() -> tuple[int, str]:
    done = CliRunner().invoke(app, ["doctor"], prog_name="abo-vqa")
    return done.exit_code, done.stdout


def test_a_sound_project_has_a_line_of_every_check(project: Path) -> None:
    status, said = doctor()
    assert status == 0, said
    assert [line.split()[0] for line in said.splitlines() if not line.startswith(" ")] == list(checkup.CHECKS)


def test_what_a_killed_dvc_left_is_mended(project: Path) -> None:
    (project / ".dvc/tmp/rwlock").touch()
    status, said = doctor()
    assert (status, "locks     mended  .dvc/tmp/rwlock: removed" in said) == (0, True)
    assert "mended" not in doctor()[1]


def test_a_wrong_parameter_and_a_missing_repository_are_named(project: Path) -> None:
    shutil.rmtree(project / ".git")
    with (project / "params.yaml").open("a") as file:
        file.write("\nsead: 1\n")
    status, said = doctor()
    assert status == 1
    assert "params    wrong   params.yaml: sead: unknown parameter; did you mean seed?" in said
    assert "git       wrong   no Git repository here, and DVC needs one\n" in said
    assert "mend: git init, or dvc config core.no_scm true" in said


def test_a_repository_of_another_user_is_named_and_one_that_dvc_does_without(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        [found] = checkup.repository(project)
    assert found.verdict == "note" and f"safe.directory '{project}'" in found.mend
    assert [found.verdict for found in checkup.repository(project)] == ["ok"]
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(project))
        [found] = checkup.repository(project)
    assert (found.verdict, found.mend) == ("note", "install git")
    shutil.rmtree(project / ".git")
    (project / ".dvc/config").write_text("[core]\n    no_scm = true\n")
    assert [found.verdict for found in checkup.repository(project)] == ["note"]


def test_a_damaged_and_a_sound_store(project: Path) -> None:
    (project / "mlflow.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    [found] = checkup.store(project)
    assert found.verdict == "wrong" and "mlflow.db is damaged" in found.text
    (project / "mlflow.db").unlink()
    with sqlite3.connect(project / "mlflow.db") as store:
        store.execute("CREATE TABLE runs (status TEXT)")
        store.execute("INSERT INTO runs VALUES ('RUNNING')")
    assert checkup.store(project) == [checkup.Finding("ok", "mlflow.db, 1 runs not ended")]


def test_a_server_that_does_not_answer_is_named_without_its_password(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9/path")
    [found] = checkup.store(project)
    assert found.verdict == "wrong" and "http://127.0.0.1:9/path does not answer" in found.text
    assert "secret" not in str(found)


def test_little_disk_and_memory_are_found(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage, machine = namedtuple("usage", "free")(2**20), namedtuple("machine", "available")(2**20)
    monkeypatch.setattr(checkup.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(checkup.psutil, "virtual_memory", lambda: machine)
    assert [checkup.disk(project)[0].verdict, checkup.memory(project)[0].verdict] == ["wrong", "wrong"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everything")
def test_a_folder_that_cannot_be_written_is_found(project: Path) -> None:
    (project / "tables").mkdir(mode=0o500)
    assert "tables: cannot be written" in str(checkup.disk(project))


def test_a_stage_at_work_is_named(project: Path) -> None:
    (project / LOCKS).mkdir()
    path = project / LOCKS / "train-model-options-1.lock"
    with FileLock(path):
        path.write_text("4711\n")
        assert "train-model-options-1 runs: process 4711" in str(checkup.locks(project))
    assert [found.verdict for found in checkup.locks(project)] == ["ok"]


def test_outputs_that_the_cache_lacks_or_has_cut_off_are_found(project: Path) -> None:
    outs = [{"path": name, "md5": f"{number:032x}", "size": 5} for number, name in enumerate(("a", "b"))]
    lines = "".join(f"    - {{path: {out['path']}, md5: '{out['md5']}', size: 5}}\n" for out in outs)
    (project / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  one:\n    cmd: x\n    outs:\n{lines}")
    [found] = checkup.cache(project)
    assert (found.verdict, found.text) == ("note", "2 of 2 outputs are not in the cache, such as a")
    for number, content in enumerate(("12345", "123")):
        stored = project / f".dvc/cache/files/md5/00/{number:030x}"
        stored.parent.mkdir(parents=True, exist_ok=True)
        stored.write_text(content)
    [found] = checkup.cache(project)
    assert found.verdict == "wrong" and "1 files of the cache are cut off" in found.text
    stored.write_text("12345")
    assert checkup.cache(project) == [checkup.Finding("ok", "all 2 outputs of dvc.lock are in the cache")]


def test_other_packages_than_the_locked_ones_are_named(project: Path) -> None:
    (project / "requirements.lock").write_text("pytest==0.1\nno-such-package==1\n")
    [found] = checkup.python(project)
    assert found.verdict == "note" and "(not 0.1), no-such-package missing (not 1)" in found.text
