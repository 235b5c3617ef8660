"""A fresh MLflow store's database, made once: creating its tables takes seconds."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the bytes of an mlflow.db without experiments of ours."""
    root = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_LOGGING_LEVEL", "WARNING")
        from mlflow import MlflowClient

        MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db").search_experiments()
    return (Path(root) / "mlflow.db").read_bytes()
