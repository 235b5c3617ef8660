"""What a run could not say to its server, kept in the project and sent when the server can be reached again."""

import json
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from abo_vqa.common.journal import open_journal
from abo_vqa.common.tracking.process import Process, this_process

if TYPE_CHECKING:
    from mlflow import MlflowClient

# What is said at once: {"metrics": [[name, value, milliseconds, step]]}, {"params": [[name, value]]},
# {"tags": {name: value}}, {"dataset": {...}, "context": what for}, {"artifact": path}, or
# {"ended": status, "at": milliseconds}.
Entry = dict[str, Any]
# The journal of the entries that wait, in the folder of their run.
ENTRIES = "entries.db"
# A server that was not there is not asked again before this many seconds: every try costs some.
_PATIENCE = 60.0
_OUTAGES = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")


def is_outage(error: Exception) -> bool:
    """Say whether the store could not be reached or did not work, rather than refused what was said."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    return isinstance(error, RequestException) or (isinstance(error, MlflowException) and error.error_code in _OUTAGES)


def post(client: "MlflowClient", run_id: str, entry: Entry) -> None:
    """Say one entry to the store."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

    match entry:
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
            raise ValueError(f"no entry: {entry}")


class Outbox:
    """Sends the entries of one run in their order, and keeps them in a folder while that fails."""

    def __init__(self, client: "MlflowClient", run_id: str, folder: Path) -> None:
        self._client, self._run_id, self._folder = client, run_id, folder / run_id
        self._next_try = 0.0

    def send(self, entry: Entry, last: bool = False) -> None:
        """Send an entry, behind those that wait; if the server cannot be reached keep it and say so once.

        last: try again even if the server has just been found missing, and tell what is still not sent.
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
            owner.write_text(json.dumps({"uri": self._client.tracking_uri, **vars(this_process())}), encoding="utf-8")
        if "artifact" in entry:
            # As it is now: a temporary experiment's folder is gone when the server is back.
            entry = {"artifact": str(_copy(Path(entry["artifact"]), self._folder / "artifacts"))}
        with open_journal(self._folder / ENTRIES) as journal:
            journal.append(uuid4().hex, entry)

    def _warn(self, error: Exception) -> None:
        print(
            f"warning: the MLflow server {self._client.tracking_uri} cannot be reached; what run {self._run_id} logs "
            f"is kept in {self._folder} and sent by the next run that reaches it, or by "
            f"`abo-vqa send-runs`: {str(error)[:200]}",
            file=sys.stderr,
        )


def send_kept(client: "MlflowClient", folder: Path) -> list[str]:
    """Send what ended runs of the client's server have left in the folder; return their ids.

    Raises what MLflow raises if the server does not take it; what was sent by then is gone from the folder.
    """
    sent = []
    for kept in sorted(folder.glob("*/owner.json")):
        if not (kept.parent / ENTRIES).is_file():
            continue  # left by an older version in another form, or just being made
        owner = json.loads(kept.read_text(encoding="utf-8"))
        if owner.pop("uri") == client.tracking_uri and not Process(**owner).is_alive():
            send_folder(client, kept.parent)
            sent.append(kept.parent.name)
    return sent


def send_folder(client: "MlflowClient", folder: Path) -> None:
    """Send the entries that a run has left in its folder, in their order, and remove it."""
    with open_journal(folder / ENTRIES) as journal:
        for key, entry in zip(journal.keys(), journal.read(), strict=True):
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
