"""Buffer MLflow calls on disk while the server is unreachable and replay them later."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from abo_vqa.common.journal import open_journal
from abo_vqa.common.tracking.address import masked
from abo_vqa.common.tracking.process import Process, this_process

if TYPE_CHECKING:
    from mlflow import MlflowClient

# One MLflow call: {"metrics": [[name, value, milliseconds, step]]}, {"params": [[name, value]]},
# {"tags": {name: value}}, {"dataset": {...}, "context": what for}, {"artifact": path},
# {"model": name, "tags": {...}, "metrics": [...]}, or {"ended": status, "at": milliseconds}.
Entry = dict[str, Any]
# Journal of buffered entries, in their run's folder.
ENTRIES = "entries.db"
COPIES = "artifacts"  # of attached files, beside it
# Seconds between attempts to reach a server: each attempt blocks the run for seconds.
_PATIENCE = 60.0
_OUTAGES = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")


def is_outage(error: Exception) -> bool:
    """Return whether the server was unreachable or failed, rather than rejected the call."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    return isinstance(error, RequestException) or (isinstance(error, MlflowException) and error.error_code in _OUTAGES)


def post(client: "MlflowClient", run_id: str, entry: Entry) -> None:
    """Send one entry to the tracking server."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    match entry:
        case {"model": name, "tags": tags, "metrics": metrics}:
            _post_model(client, run_id, name, tags, metrics)
        case {"metrics": rows}:
            client.log_batch(run_id, metrics=[Metric(*row) for row in rows])
        case {"params": rows}:
            client.log_batch(run_id, params=[Param(*row) for row in rows])
        case {"tags": tags}:
            for name, value in tags.items():
                client.set_tag(run_id, name, value)
        case {"dataset": dataset, "context": context}:
            tag = InputTag("mlflow.data.context", context)
            client.log_inputs(run_id, datasets=[DatasetInput(Dataset(**dataset), [tag])])
        case {"artifact": path} if Path(path).is_dir():
            client.log_artifacts(run_id, path, artifact_path=Path(path).name)
        case {"artifact": path}:
            client.log_artifact(run_id, path)
        case {"ended": status, "at": milliseconds}:
            client.set_terminated(run_id, status, milliseconds)
        case _:
            raise ValueError(f"unknown entry: {entry}")


def _post_model(client: "MlflowClient", run_id: str, name: str, tags: dict[str, str], metrics: list[Any]) -> None:
    from mlflow.entities import LoggedModelStatus, Metric

    experiment = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment, name=name, source_run_id=run_id, tags=tags, model_type="vqa")
    named = [Metric(key, value, at, step, model_id=model.model_id, run_id=run_id) for key, value, at, step in metrics]
    client.log_batch(run_id, metrics=named)
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


class Outbox:
    """Sends one run's entries in order and buffers them in a folder while the server is unreachable."""

    def __init__(self, client: "MlflowClient", run_id: str, folder: Path) -> None:
        self._client, self._run_id, self._folder = client, run_id, folder / run_id
        self._next_try = 0.0

    def send(self, entry: Entry, last: bool = False) -> None:
        """Send an entry after the buffered ones; if the server is unreachable, buffer it and warn once.

        last: retry even right after a failure, and warn again if that fails.
        """
        waiting = self._folder.is_dir()
        if not waiting or last or time.monotonic() >= self._next_try:
            try:
                if waiting:
                    send_folder(self._client, self._folder)
                post(self._client, self._run_id, entry)
            except Exception as error:
                if not is_outage(error):
                    raise
                self._next_try = time.monotonic() + _PATIENCE
                if not waiting or last:
                    self._warn(error)
            else:
                return
        self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        owner = self._folder / "owner.json"
        if not owner.exists():
            named = {"uri": masked(self._client.tracking_uri), **vars(this_process())}
            owner.write_text(json.dumps(named), encoding="utf-8")
        if "artifact" in entry:
            # Copied now: a temporary experiment's folder is gone when the server is back.
            entry = {"artifact": _copy(Path(entry["artifact"]), self._folder / COPIES).name}
        with open_journal(self._folder / ENTRIES) as journal:
            journal.append(uuid4().hex, entry)

    def _warn(self, error: Exception) -> None:
        print(
            f"warning: the MLflow server {masked(self._client.tracking_uri)} cannot be reached; what run "
            f"{self._run_id} logs is kept in {self._folder} and sent by the next run that reaches it, or by "
            f"`abo-vqa send-runs`: {masked(str(error))[:200]}",
            file=sys.stderr,
        )


def send_kept(client: "MlflowClient", folder: Path) -> list[str]:
    """Send the buffered entries of ended runs of the client's server; return the runs' ids.

    Exceptions of MLflow pass through; entries sent before are removed from the folder.
    """
    sent = []
    for kept in sorted(folder.glob("*/owner.json")):
        if not (kept.parent / ENTRIES).is_file():
            continue  # left by an older version in another form, or just being made
        owner = json.loads(kept.read_text(encoding="utf-8"))
        if masked(owner.pop("uri")) == masked(client.tracking_uri) and not Process(**owner).is_alive():
            send_folder(client, kept.parent)
            sent.append(kept.parent.name)
    return sent


def send_folder(client: "MlflowClient", folder: Path) -> None:
    """Send a run's buffered entries in order and remove its folder."""
    with open_journal(folder / ENTRIES) as journal:
        for key, entry in zip(journal.keys(), journal.read(), strict=True):
            if "artifact" in entry:  # by name, because the project may have been moved
                entry = {"artifact": str(folder / COPIES / Path(entry["artifact"]).name)}
            post(client, folder.name, entry)
            journal.remove(key)
    shutil.rmtree(folder)


def _copy(path: Path, folder: Path) -> Path:
    copy = folder / path.name
    if path.is_dir():
        shutil.copytree(path, copy, dirs_exist_ok=True)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return copy
