"""What is slow to make and made once: a clone in which the experiment has run, and an empty MLflow store."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from project import clone_project, commit, run, scale

SMALL = Path(__file__).with_name("small.yaml")


@pytest.fixture(scope="session")
def repro_once(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which `dvc repro` has run once on small.yaml, its results committed; what it printed is in repro.log.

    Copy it (project.copy_project) rather than change it.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers
    folder, printed = shared / "finished/abo-vqa", shared / "finished/repro.log"
    with FileLock(shared / "finished.lock"):
        if not printed.is_file():
            shutil.rmtree(folder.parent, ignore_errors=True)
            folder.parent.mkdir()
            clone_project(root, folder)
            scale(folder, SMALL)
            said = run("dvc repro", folder)
            commit(folder, "results")
            printed.write_text(said)
    return folder


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of an mlflow.db without experiments of ours."""
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow import MlflowClient

        MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db").search_experiments()
    return (Path(root) / "mlflow.db").read_bytes()
