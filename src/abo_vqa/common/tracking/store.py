"""Locate the MLflow store and open it from concurrent processes."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from abo_vqa.common.errors import InputError
from abo_vqa.common.project import project_root
from abo_vqa.common.storage import replacing
from abo_vqa.common.tracking.address import (
    VARIABLE,
    follow_moved_project,
    is_database,
    masked,
    tracking_address,
)
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
    uri = tracking_address(root, root / DATABASE)
    with FileLock(root / f"{DATABASE}.lock"):
        try:
            return _open(uri, root)
        except ImportError as error:
            raise InputError(
                f"{VARIABLE}: {masked(uri)} needs a package that is not installed ({error}): "
                "`pip install 'psycopg[binary]'` for PostgreSQL, or give the address of an MLflow server"
            ) from None
        except MlflowException as error:
            if not (fallback and uri.startswith(("http://", "https://")) and is_outage(error)):
                raise InputError(
                    f"the MLflow store {masked(uri).removeprefix('sqlite:///')} cannot be opened: "
                    f"{masked(error.message.strip())}; correct {VARIABLE}, or move the store away"
                ) from None
            print(
                f"warning: the MLflow server {masked(uri)} cannot be reached, so this run is kept in {root / DATABASE} "
                f"and is missing there: {masked(error.message.strip())[:200]}",
                file=sys.stderr,
            )
        return _open(f"sqlite:///{root / DATABASE}", root)


def _create_whole(database: Path) -> None:
    """Create a database under another name first: one whose creation was killed could not be opened any more."""
    from mlflow import MlflowClient

    if database.exists():
        return
    for left in database.parent.glob(f".{database.name}.*.tmp*"):  # by a process that was killed; we have the lock
        left.unlink()
    with replacing(database) as temporary:
        MlflowClient(tracking_uri=f"sqlite:///{temporary}").search_experiments()


def outbox_folder() -> Path:
    """Return the folder of buffered entries."""
    return project_root() / UNSENT


def _open(uri: str, root: Path) -> tuple["MlflowClient", str]:
    from mlflow import MlflowClient

    if uri.startswith("sqlite:///"):
        _create_whole(Path(uri.removeprefix("sqlite:///")))
    client = MlflowClient(tracking_uri=uri)
    experiment = _experiment(client, uri, root / ARTIFACTS)
    send_kept(client, root / UNSENT)
    _sweep(client, experiment)
    return client, experiment


def _experiment(client: "MlflowClient", uri: str, artifacts: Path) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        # A server sets the location itself; for a database, MLflow's default is the working folder.
        location = artifacts.as_uri() if is_database(uri) else None
        return client.create_experiment(EXPERIMENT, artifact_location=location, tags=dict(EXPERIMENT_TAGS))
    follow_moved_project(uri, found.artifact_location, artifacts)
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
