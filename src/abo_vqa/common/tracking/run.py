"""MLflow runs: one per training and evaluation, under a run of the arm, under one run per pipeline execution."""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from abo_vqa.common.digests import md5_of
from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.common.params.model import BASE
from abo_vqa.common.project import head, project_root
from abo_vqa.common.tracking.outbox import Entry, Outbox, is_outage
from abo_vqa.common.tracking.process import pipeline, this_process
from abo_vqa.common.tracking.store import open_store, outbox_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

# Tags that MLflow's UI shows and filters by.
PARENT_TAG, COMMIT_TAG = "mlflow.parentRunId", "mlflow.source.git.commit"
STAGE_TAG, EXECUTION_TAG, FAILED_TAG = "dvc.stage", "dvc.execution", "dvc.failed"
# GROUP_TAG: on the run that has an arm's trainings and evaluations as children.
ARM_TAG, GROUP_TAG = "arm", "runs_of_arm"
LOCK = "mlflow.db.runs.lock"  # stages side by side must not create the same parent run twice
# DVC sets the first for every stage and the others under `dvc exp run`.
DVC_TAGS = {
    STAGE_TAG: "DVC_STAGE",
    "dvc.experiment": "DVC_EXP_NAME",
    "dvc.baseline": "DVC_EXP_BASELINE_REV",
}
# MLflow's limits per call; and the time for which metrics are buffered, since each write costs 27 ms.
_METRICS_AT_ONCE, _PARAMS_AT_ONCE = 1000, 100
_FLUSH_SECONDS = 5.0
_SYSTEM_SECONDS = 5


class Run:
    """One MLflow run being written; made by `tracked_run` and `pipeline_run`."""

    def __init__(self, client: "MlflowClient", run_id: str, failed: bool = False) -> None:
        self.id = run_id
        self._client = client
        # The run of a pipeline has failed if any of its stages has.
        self._failed = failed
        self._outbox = Outbox(client, run_id, outbox_folder())
        self._waiting: list[list[Any]] = []
        self._flushed = time.monotonic()

    def log_metrics(self, values: Mapping[str, float | None], step: int | None = None) -> None:
        """Log metrics, optionally at a step; None values are skipped."""
        now = _now()
        self._waiting += [[name, float(value), now, step or 0] for name, value in values.items() if value is not None]
        if len(self._waiting) >= _METRICS_AT_ONCE or time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def log_history(self, rows: Iterable[Mapping[str, float | None]]) -> None:
        """Log rows of a curve, each with a `step` and any number of metrics."""
        for row in rows:
            values = {name: value for name, value in row.items() if name != "step"}
            self.log_metrics(values, int(row["step"] or 0))

    def log_params(self, values: Mapping[str, str]) -> None:
        """Log parameters, each under its full name."""
        self._send_in_parts("params", [list(pair) for pair in values.items()], _PARAMS_AT_ONCE)

    def log_dataset(self, path: Path, context: str, rows: int) -> None:
        """Log a table as an input of the run, and tag the run `data.NAME` with its MD5, as in dvc.lock.

        context: the purpose, such as training or evaluation.
        """
        digest = md5_of(path)
        dataset = {
            "name": path.stem,
            "digest": digest,
            "source_type": "local",
            "source": json.dumps({"uri": path.as_posix()}),
            "profile": json.dumps({"num_rows": rows}),
        }
        self._outbox.send({"dataset": dataset, "context": context})
        self.set_tags({f"data.{path.stem}": digest})

    def log_artifact(self, path: Path) -> None:
        """Log a file, or a folder under its name, as an artifact."""
        self._outbox.send({"artifact": str(path)})

    def log_model(self, name: str, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Log a model that this run evaluated, with its metrics: the experiment's tab "Models" lists it."""
        now = _now()
        rows = [[name, float(value), now, 0] for name, value in metrics.items()]
        self._outbox.send({"model": name, "tags": dict(tags), "metrics": rows})

    def tag_output(self, path: Path) -> None:
        """Tag the run with an output's MD5, as in dvc.lock, by which `find_run` finds the run.

        The tag still leads to the run if DVC restores the output from its cache without running the stage.
        """
        self.set_tags({_output_tag(path): md5_of(path)})

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        self._outbox.send({"tags": dict(tags)})

    def flush(self) -> None:
        """Write the buffered metrics."""
        waiting, self._waiting, self._flushed = self._waiting, [], time.monotonic()
        self._send_in_parts("metrics", waiting, _METRICS_AT_ONCE)

    def end(self, status: str) -> None:
        """Write the buffered metrics and end the run; a later run sends entries that the server did not receive."""
        try:
            self.flush()
        finally:
            self._outbox.send({"ended": "FAILED" if self._failed else status, "at": _now()}, last=True)

    def _send_in_parts(self, kind: str, rows: list[list[Any]], size: int) -> None:
        for start in range(0, len(rows), size):
            entry: Entry = {kind: rows[start : start + size]}
            self._outbox.send(entry)


def find_run(path: Path) -> Run | None:
    """Return the newest run in this store whose output equals the file or folder at `path`, byte for byte, or None.

    None also if the server is unreachable. A clone that only pulled the output has no such run.
    """
    from mlflow.exceptions import MlflowException

    client, experiment = open_store()
    try:
        found = client.search_runs(
            [experiment], f"tags.`{_output_tag(path)}` = '{md5_of(path)}'", max_results=1, order_by=["start_time DESC"]
        )
    except MlflowException as error:
        if is_outage(error):
            return None
        raise
    return Run(client, found[0].info.run_id) if found else None


def _output_tag(path: Path) -> str:
    return f"output.{path.as_posix()}"


@contextmanager
def tracked_run(name: str, params: Params, tags: Mapping[str, str]) -> Iterator[Run]:
    """Open a run with all parameters and the given tags; it ends as FINISHED, or as FAILED if the block raises.

    Under DVC it is a child of the arm's run if the tags name an arm, else of the pipeline execution's run; the first
    stage that needs these creates them. SIGTERM raises too, see run_stage; the next run ends runs whose process was
    killed. InputError if the store cannot be opened.
    """
    client, experiment = open_store()
    parent = _open_pipeline(client, experiment, params)
    above = arm_run(params, tags[ARM_TAG]) if parent and ARM_TAG in tags else parent
    own = {**tags, **_own_tags()} | ({PARENT_TAG: above.id} if above else {})
    run = _create(client, experiment, name, params, own)
    with _ending(run, *([parent] if parent else [])), _system_metrics(client, run.id):
        yield run


@contextmanager
def pipeline_run(name: str, params: Params) -> Iterator[Run]:
    """Open the pipeline execution's run, for logs of the whole pipeline; without DVC, a run of that name."""
    client, experiment = open_store()
    run = _open_pipeline(client, experiment, params) or _create(client, experiment, name, params, _own_tags())
    with _ending(run):
        yield run


def arm_run(params: Params, arm: str) -> Run | None:
    """Return the arm's run under the pipeline execution's, created if missing; None without DVC."""
    client, experiment = open_store()
    with FileLock(project_root() / LOCK):
        parent = _find_pipeline(client, experiment)
        if parent is None:
            return None
        own = f"tags.`{PARENT_TAG}` = '{parent.info.run_id}' and tags.`{GROUP_TAG}` = '{arm}'"
        if found := client.search_runs([experiment], own, max_results=1):
            return Run(client, found[0].info.run_id)
        tags = {name: value for name, value in _own_tags().items() if name != STAGE_TAG}
        tags |= {PARENT_TAG: parent.info.run_id, GROUP_TAG: arm}
        run = _create(client, experiment, f"{arm} arm", params, tags)
        run.end("FINISHED")
        return run


def model_tags(model: str, params: Params) -> dict[str, str]:
    """Return the tags of a model's run: model, and for a trained one arm and training seed."""
    if model == BASE:
        return {"model": model}
    arm, seed = params.training_of(model)
    return {"model": model, ARM_TAG: arm, "replicate": str(seed)}


def fail_pipeline() -> None:
    """Mark the pipeline execution's run as failed, if an earlier stage has created one."""
    from mlflow.exceptions import MlflowException

    with suppress(InputError, MlflowException):
        client, experiment = open_store()
        if found := _find_pipeline(client, experiment):
            run = Run(client, found.info.run_id)
            run.set_tags({FAILED_TAG: os.environ.get("DVC_STAGE", "")})
            run.end("FAILED")


@contextmanager
def _ending(*runs: Run) -> Iterator[None]:
    """End the runs after the block, as FAILED if it raises."""
    try:
        yield
    except BaseException:
        for run in runs:
            run.set_tags({FAILED_TAG: os.environ.get("DVC_STAGE", "")})
            run.end("FAILED")
        raise
    for run in runs:
        run.end("FINISHED")


def _create(client: "MlflowClient", experiment: str, name: str, params: Params, tags: Mapping[str, str]) -> Run:
    run = Run(client, client.create_run(experiment, tags=dict(tags), run_name=name).info.run_id)
    run.log_params(flatten_params(params))
    return run


def _open_pipeline(client: "MlflowClient", experiment: str, params: Params) -> Run | None:
    """Return the run of the DVC process that runs this stage, created if missing; None without DVC.

    It is RUNNING only while a stage is, so that no run is left RUNNING when DVC ends.
    """
    if pipeline() is None:
        return None
    with FileLock(project_root() / LOCK):
        found = _find_pipeline(client, experiment)
        if found is None:
            title = os.environ.get("DVC_EXP_NAME") or f"dvc repro {(head() or 'without git')[:7]}"
            tags = {name: value for name, value in _own_tags().items() if name != STAGE_TAG}
            return _create(client, experiment, title, params, {**tags, EXECUTION_TAG: str(pipeline())})
    run = Run(client, found.info.run_id, failed=FAILED_TAG in found.data.tags)
    run.set_tags(this_process().tags())
    client.update_run(run.id, status="RUNNING")
    return run


def _find_pipeline(client: "MlflowClient", experiment: str) -> "MlflowRun | None":
    found = client.search_runs([experiment], f"tags.`{EXECUTION_TAG}` = '{pipeline()}'", max_results=1)
    return found[0] if found else None


@contextmanager
def _system_metrics(client: "MlflowClient", run_id: str) -> Iterator[None]:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, sampling_interval=_SYSTEM_SECONDS, tracking_uri=client.tracking_uri)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _own_tags() -> dict[str, str]:
    tags = {tag: os.environ[name] for tag, name in DVC_TAGS.items() if os.environ.get(name)}
    if commit := head():
        tags = {"dvc.baseline": commit, COMMIT_TAG: commit} | tags
    return tags | this_process().tags()


def _now() -> int:
    return int(time.time() * 1000)


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
