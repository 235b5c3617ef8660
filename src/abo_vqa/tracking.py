"""All that is said to MLflow: one store for every stage, experiment and worker, and runs that always end.

The store is `mlflow.db` and `mlruns/` at the root of the project, where a bare `mlflow ui` looks for it;
MLFLOW_TRACKING_URI moves it to a server.
"""

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from abo_vqa.errors import InputError
from abo_vqa.params import PARAMS_FILE, Params

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

EXPERIMENT = "abo-vqa"
HOST_TAG, PID_TAG = "process.host", "process.pid"
# DVC sets the first for every stage and the others under `dvc exp run`.
_DVC_TAGS = {
    "dvc.stage": "DVC_STAGE",
    "dvc.experiment": "DVC_EXP_NAME",
    "dvc.baseline": "DVC_EXP_BASELINE_REV",
}
# Of one batch, as MLflow limits it; and how long a metric waits for company, since each write costs 27 ms.
_METRICS_AT_ONCE, _PARAMS_AT_ONCE = 1000, 100
_FLUSH_SECONDS = 5.0


class Run:
    """One MLflow run being written; made by `tracked_run`."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self.id = run_id
        self._client = client
        self._waiting: list[Metric] = []
        self._flushed = time.monotonic()

    def log_metrics(self, values: Mapping[str, float | None], step: int | None = None) -> None:
        """Log metrics, at a step where there is one; a value of None is left out."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [
            Metric(name, float(value), now, step or 0) for name, value in values.items() if value is not None
        ]
        if len(self._waiting) >= _METRICS_AT_ONCE or time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def log_history(self, rows: Iterable[Mapping[str, float | None]]) -> None:
        """Log rows of a curve, each with its `step` and any number of metrics."""
        for row in rows:
            values = {name: value for name, value in row.items() if name != "step"}
            self.log_metrics(values, int(row["step"] or 0))

    def log_artifact(self, path: Path) -> None:
        """Attach a file, or a folder under its own name."""
        if path.is_dir():
            self._client.log_artifacts(self.id, str(path), artifact_path=path.name)
        else:
            self._client.log_artifact(self.id, str(path))

    def flush(self) -> None:
        """Write the metrics that wait."""
        waiting, self._waiting, self._flushed = self._waiting, [], time.monotonic()
        for start in range(0, len(waiting), _METRICS_AT_ONCE):
            self._client.log_batch(self.id, metrics=waiting[start : start + _METRICS_AT_ONCE])


@contextmanager
def tracked_run(name: str, params: Params, tags: Mapping[str, str]) -> Iterator[Run]:
    """Open a run with all parameters and the given tags; it ends as FINISHED, or as FAILED if the block raises.

    SIGTERM counts as raising, since run_stage turns it into an exit; a run whose process was killed outright is
    ended by the next one. Raises InputError if the store cannot be opened.
    """
    client, experiment = open_store()
    run = Run(client, client.create_run(experiment, tags={**tags, **_own_tags()}, run_name=name).info.run_id)
    try:
        _log_params(client, run.id, flatten_params(params))
        yield run
        run.flush()
    except BaseException:
        try:
            run.flush()
        finally:
            client.set_terminated(run.id, "FAILED")
        raise
    client.set_terminated(run.id, "FINISHED")


def open_store() -> tuple["MlflowClient", str]:
    """Return a client and the id of the experiment, both made if they are not there yet.

    A lock is held meanwhile, because workers that open a fresh store at the same time break each other's
    migration of its tables. Runs of this host whose process is gone are ended as KILLED.
    """
    # Before the import, which reads them: no telemetry, and no report of every table that is created.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # Imported here: it takes seconds, and a wrong parameter should be reported before them.
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    root = store_root()
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    with FileLock(root / "mlflow.db.lock"):
        try:
            client = MlflowClient(tracking_uri=uri or f"sqlite:///{root / 'mlflow.db'}")
            # On a server, the server knows where its artifacts go.
            experiment = _experiment(client, None if uri else (root / "mlruns").as_uri())
            _sweep(client, experiment)
        except MlflowException as error:
            raise InputError(
                f"the MLflow store {uri or root / 'mlflow.db'} cannot be opened: {error.message.strip()}; "
                "correct MLFLOW_TRACKING_URI, or move the store away"
            ) from error
    return client, experiment


def store_root() -> Path:
    """Return the folder that holds the store: $DVC_ROOT, else the project that the working directory is in.

    DVC points DVC_ROOT at the parent repository while a queued or temporary experiment runs elsewhere; a store
    there would be deleted with the experiment's folder.
    """
    if anchor := os.environ.get("DVC_ROOT"):
        return Path(anchor).resolve()
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / PARAMS_FILE).is_file()), here)


def flatten_params(params: Params) -> dict[str, str]:
    """Return every parameter under its full name (`train.lora.r`), its value spelled as in params.yaml."""
    flat: dict[str, str] = {}

    def visit(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                visit(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value if isinstance(value, str) else json.dumps(value)

    visit("", params.model_dump(by_alias=True))
    return flat


def _log_params(client: "MlflowClient", run_id: str, params: dict[str, str]) -> None:
    from mlflow.entities import Param

    entries = [Param(name, value) for name, value in params.items()]
    for start in range(0, len(entries), _PARAMS_AT_ONCE):
        client.log_batch(run_id, params=entries[start : start + _PARAMS_AT_ONCE])


def _own_tags() -> dict[str, str]:
    tags = {tag: os.environ[name] for tag, name in _DVC_TAGS.items() if os.environ.get(name)}
    return tags | {HOST_TAG: socket.gethostname(), PID_TAG: str(os.getpid())}


def _experiment(client: "MlflowClient", artifacts: str | None) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        return client.create_experiment(EXPERIMENT, artifact_location=artifacts)
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def _sweep(client: "MlflowClient", experiment: str) -> None:
    # Another host's processes cannot be looked up from here; its own next run sweeps them.
    running = f"attributes.status = 'RUNNING' and tags.`{HOST_TAG}` = '{socket.gethostname()}'"
    for run in client.search_runs([experiment], running):
        if not _is_alive(int(run.data.tags[PID_TAG])):
            client.set_terminated(run.info.run_id, "KILLED")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, so it is there
        return True
    return True
