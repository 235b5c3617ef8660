"""Asking on a Ray cluster: the answers of one machine, whatever workers do."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from ruamel.yaml import YAML

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import answers_table
from abo_vqa.common.params import read_params
from abo_vqa.inference import stage
from paths import ROOT
from serving import free_port

COPIES = 12  # of eight images, so that there is time to kill what answers


@pytest.fixture
def project(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    empty_store: bytes,
    images: dict[str, bytes],
    rows: list[dict[str, Any]],
) -> Path:
    """A project after its stage split, with one condition."""
    values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
    values["model"]["base"] = str(ROOT / "models/demo")
    values["evaluate"] |= {"conditions": {"options": {"options": "given"}}, "counterparts": []}
    values["compare"]["planned"], values["registry"]["champion_under"] = [], ["options"]
    values["model"]["quantization"] |= {"load_in_4bit": False, "compute_dtype": "float32"}
    YAML().dump(values, tmp_path / "params.yaml")
    (tmp_path / "mlflow.db").write_bytes(empty_store)
    (tmp_path / "tables/splits").mkdir(parents=True)
    copies = [
        row | {"qa_id": f"{row['qa_id']}-{copy}", "image_id": f"{row['image_id']}-{copy}"}
        for copy in range(COPIES)
        for row in rows
    ]
    questions = pd.DataFrame([row | {"question_type": "color", "matched_options": row["options"]} for row in copies])
    for name in ("train", "test"):
        questions.to_parquet(tmp_path / f"tables/splits/{name}.parquet")
    sample = [
        {"image_id": f"{name}-{copy}", "image": {"bytes": data, "path": None}}
        for copy in range(COPIES)
        for name, data in images.items()
    ]
    pd.DataFrame(sample).to_parquet(tmp_path / "tables/sample.parquet")
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def here(project: Path) -> bytes:
    """The answers of one machine; they are deleted, since a cluster is to make them again."""
    pytest.importorskip("ray", reason='needs the package ray: pip install "abo-vqa[ray]"')
    stage.evaluate("base", read_params())
    answers = answers_table("base").read_bytes()
    answers_table("base").unlink()
    return answers


def set_engine(project: Path, engine: str, **ray: Any) -> None:
    values = YAML(typ="safe", pure=True).load(project / "params.yaml")
    YAML().dump(values | {"engine": engine, "ray": {"address": "", "workers": 2} | ray}, project / "params.yaml")


def start(*command: str) -> "subprocess.Popen[str]":
    # Ray waits a minute for a lost cluster to come back, here five seconds.
    waits = {"RAY_AUTH_MODE": "disabled", "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
    environment = os.environ | waits | {"PYTHONPATH": f"{ROOT / 'src'}:{os.environ['PYTHONPATH']}"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def ask() -> "subprocess.Popen[str]":
    return start(sys.executable, "-m", "abo_vqa.inference.stage", "--model", "base")


def kill(process: "subprocess.Popen[str]") -> None:
    for each in [*psutil.Process(process.pid).children(recursive=True), process]:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            each.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_two_workers_one_of_them_killed_answer_with_the_bytes_of_one_machine(project: Path, here: bytes) -> None:
    set_engine(project, "ray")
    running = ask()
    killed = False
    while running.poll() is None and not killed:
        workers = [each for each in psutil.Process(running.pid).children(recursive=True) if is_worker(each)]
        if len(workers) > 1:
            time.sleep(1)
            workers[-1].send_signal(signal.SIGKILL)
            killed = True
        time.sleep(0.05)
    said, _ = running.communicate()
    assert running.returncode == 0, said
    assert killed, said
    assert answers_table("base").read_bytes() == here


@pytest.mark.slow
def test_a_cluster_that_is_gone_stops_the_stage_which_goes_on_without_it(project: Path, here: bytes) -> None:
    ray, address = str(Path(sys.executable).with_name("ray")), f"127.0.0.1:{free_port()}"
    port = address.rpartition(":")[2]
    # Two machines of one processor each, as far as Ray knows.
    own = ("--num-cpus=1", "--object-store-memory=200000000", "--block", "--disable-usage-stats")
    cluster = [start(ray, "start", "--head", f"--port={port}", "--include-dashboard=false", *own)]
    try:
        wait_for_port(cluster[0], int(port))
        cluster.append(start(ray, "start", f"--address={address}", *own))
        set_engine(project, "ray", address=address, workers="auto")
        running = ask()
        while running.poll() is None and not kept(project):
            time.sleep(0.02)
    finally:
        for machine in cluster:
            kill(machine)
    said, _ = running.communicate()
    # Ray ends the process itself where the cluster's head is what is gone.
    assert running.returncode == 1 and ("is gone" in said or "GCS may have been killed" in said), said
    assert not answers_table("base").exists()
    before = kept(project)
    assert 0 < before < COPIES * 8, said
    set_engine(project, "local")
    again = ask()
    said, _ = again.communicate()
    assert again.returncode == 0, said
    assert f"about {COPIES * 8} images, {before} of them before it was interrupted" in said
    assert answers_table("base").read_bytes() == here


def test_without_ray_the_stage_says_what_to_install(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_engine(project, "ray", workers=3)
    with monkeypatch.context() as patch, pytest.raises(InputError, match=r'needs the package ray; pip install "abo'):
        patch.setitem(sys.modules, "ray", None)
        stage.evaluate("base", read_params())


def kept(project: Path) -> int:
    """Return how many images' answers the journal has."""
    count = 0
    for path in project.glob("tables/asking/*.db"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal, suppress(sqlite3.OperationalError):
            count += journal.execute("SELECT count(*) FROM entries").fetchone()[0]
    return count


def wait_for_port(process: "subprocess.Popen[str]", port: int) -> None:
    while process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise AssertionError(process.communicate()[0])


def is_worker(process: psutil.Process) -> bool:
    try:
        return "MapWorker" in " ".join(process.cmdline())
    except psutil.Error:
        return False
