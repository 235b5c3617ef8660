"""A team's MLflow server: a real one on loopback, there from the start, gone in the middle, or never there."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from abo_vqa.common.params import read_params
from abo_vqa.common.tracking import outbox
from abo_vqa.common.tracking.run import tracked_run
from abo_vqa.common.tracking.store import open_store
from paths import ROOT
from serving import free_port, wait_for

pytestmark = pytest.mark.slow


WHOLE = [(step, 1 / (step + 1)) for step in range(20)]


class Server:
    """`mlflow server` on SQLite, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.uri = f"http://127.0.0.1:{free_port()}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is not None:
            return
        host, port = self.uri.removeprefix("http://").split(":")
        command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", port, "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/team.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        environ = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environ, start_new_session=True)
        wait_for(self._process, f"{self.uri}/health")

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("team"))
    yield server
    server.stop()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Path:
    """A project whose MLFLOW_TRACKING_URI names the server."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    for name in ("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def curve(server: Server, run_id: str) -> list[tuple[int, float]]:
    found = MlflowClient(server.uri).get_metric_history(run_id, "loss")
    return sorted((metric.step, metric.value) for metric in found)


def trained(root: Path, meanwhile: Any) -> str:
    """Log a training of twenty steps, an adapter behind them; do something in its middle; return the run's id."""
    adapter = root / "options"
    adapter.mkdir(exist_ok=True)
    (adapter / "adapter.bin").write_bytes(b"weights")
    with tracked_run("train options", read_params(), {"arm": "options"}) as run:
        for step in range(20):
            if step == 10:
                run.flush()
                meanwhile()
            run.log_metrics({"loss": 1 / (step + 1)}, step)
        run.flush()
        run.log_artifact(adapter)
        (adapter / "adapter.bin").write_bytes(b"of a later run")
    return run.id


def test_the_uri_is_all_it_takes(root: Path, server: Server) -> None:
    server.start()
    run_id = trained(root, lambda: None)
    client = MlflowClient(server.uri)
    assert curve(server, run_id) == WHOLE
    assert client.get_run(run_id).info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run_id, "options")] == ["options/adapter.bin"]
    assert not (root / "mlflow.db").exists(), "nothing is written beside the server"


def test_a_server_that_goes_away_gets_everything_later(
    root: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.start()
    run_id = trained(root, server.stop)
    said = capsys.readouterr().err
    kept = root / "mlruns/unsent" / run_id
    assert f"server {server.uri} cannot be reached" in said
    assert str(kept) in said
    assert (kept / "artifacts/options/adapter.bin").read_bytes() == b"weights"
    server.start()
    # A living process may still be sending; this one stands for the next, so the first has to be another's.
    owner = json.loads((kept / "owner.json").read_text())
    (kept / "owner.json").write_text(json.dumps(owner | {"started": "0"}))
    command = [sys.executable, "-m", "abo_vqa.commands.app", "send-runs"]
    sent = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": f"{ROOT}/src"})
    assert f"1 runs sent to {server.uri}; 0 wait" in sent.stdout, sent.stderr
    client = MlflowClient(server.uri)
    assert curve(server, run_id) == WHOLE
    assert client.get_run(run_id).info.status == "FINISHED"
    assert Path(client.download_artifacts(run_id, "options/adapter.bin")).read_bytes() == b"weights"
    assert not kept.exists()


def test_a_server_that_comes_back_gets_everything_at_once(
    root: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_PATIENCE", 0.0)
    server.start()
    with tracked_run("train options", read_params(), {"arm": "options"}) as run:
        for step, value in WHOLE:
            if step == 5:
                run.flush()
                server.stop()
            if step == 15:
                run.flush()
                assert (root / "mlruns/unsent" / run.id).is_dir()
                server.start()
            run.log_metrics({"loss": value}, step)
    assert curve(server, run.id) == WHOLE
    assert not (root / "mlruns/unsent" / run.id).exists()


def test_a_server_that_is_not_there_is_replaced_by_the_local_store(
    root: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.stop()
    run_id = trained(root, lambda: None)
    said = capsys.readouterr().err
    assert f"the MLflow server {server.uri} cannot be reached, so this run is kept in {root}/mlflow.db" in said
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    assert client.get_run(run_id).info.status == "FINISHED"
    assert len(client.get_metric_history(run_id, "loss")) == 20
    assert (root / "mlruns" / run_id / "artifacts/options/adapter.bin").read_bytes() == b"weights"


def test_a_killed_run_is_ended_on_the_server_too(root: Path, server: Server) -> None:
    server.start()
    client, experiment = open_store()
    tags = {"process.host": os.uname().nodename, "process.pid": "999999999", "process.started": "0"}
    run_id = client.create_run(experiment, tags=tags).info.run_id
    open_store()
    assert client.get_run(run_id).info.status == "KILLED"
