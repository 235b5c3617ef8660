"""Locate the MLflow store and open it from concurrent processes."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from abo_vqa.common.errors import InputError
from abo_vqa.common.project import project_root
from abo_vqa.common.tracking.describe import EXPERIMENT_TAGS
from abo_vqa.common.tracking.outbox import is_outage, send_kept
from abo_vqa.common.tracking.process import HOST_TAG, Process, this_host

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "abo-vqa"
DATABASE, ARTIFACTS, UNSENT = "mlflow.db", "mlruns", "mlruns/unsent"
# Set before MLflow is imported: no telemetry, no log line for every created table, and a timeout of seconds for a
# server that does not answer, where MLflow's defaults block a training for minutes.
_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def open_store(fallback: bool = True) -> tuple["MlflowClient", str]:
    """Return a client and the experiment's id, created if missing.

    A lock protects the call, because workers that open a new store at once break each other's migration of its tables.
    Runs of this host whose process is gone are ended as KILLED, and buffered entries of earlier runs are sent. With
    `fallback`, the local store replaces a server that is unreachable, with a warning. Raises InputError if the store
    cannot be opened.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    # Imported here: it takes seconds, and errors about parameters should not wait for it.
    from mlflow.exceptions import MlflowException

    root = project_root()
    local = f"sqlite:///{root / DATABASE}"
    uri = os.environ.get("MLFLOW_TRACKING_URI") or local
    with FileLock(root / f"{DATABASE}.lock"):
        try:
            return _open(uri, root)
        except MlflowException as error:
            if not (fallback and uri.startswith(("http://", "https://")) and is_outage(error)):
                raise InputError(
                    f"the MLflow store {uri.removeprefix('sqlite:///')} cannot be opened: {error.message.strip()}; "
                    "correct MLFLOW_TRACKING_URI, or move the store away"
                ) from error
            print(
                f"warning: the MLflow server {uri} cannot be reached, so this run is kept in {root / DATABASE} and is "
                f"missing there: {error.message.strip()[:200]}",
                file=sys.stderr,
            )
        return _open(local, root)


def outbox_folder() -> Path:
    """Return the folder of buffered entries."""
    return project_root() / UNSENT


def _open(uri: str, root: Path) -> tuple["MlflowClient", str]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    # A server sets its artifact location itself.
    local = uri == f"sqlite:///{root / DATABASE}"
    experiment = _experiment(client, (root / ARTIFACTS).as_uri() if local else None)
    send_kept(client, root / UNSENT)
    _sweep(client, experiment)
    return client, experiment


def _experiment(client: "MlflowClient", artifacts: str | None) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        return client.create_experiment(EXPERIMENT, artifact_location=artifacts, tags=dict(EXPERIMENT_TAGS))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    for tag in EXPERIMENT_TAGS.keys() - found.tags.keys():  # what a person has written stays
        client.set_experiment_tag(found.experiment_id, tag, EXPERIMENT_TAGS[tag])
    return found.experiment_id


def _sweep(client: "MlflowClient", experiment: str) -> None:
    # Processes of another host cannot be checked from here; a later run on that host ends them.
    running = f"attributes.status = 'RUNNING' and tags.`{HOST_TAG}` = '{this_host()}'"
    for run in client.search_runs([experiment], running):
        with suppress(KeyError):
            if not Process.of_tags(run.data.tags).is_alive():
                client.set_terminated(run.info.run_id, "KILLED")
