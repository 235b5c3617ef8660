"""Asking on a Ray cluster: the answers of one machine, whatever workers do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
from ruamel.yaml import YAML

from abo_vqa.common.layout import answers_table
from abo_vqa.common.params import read_params
from abo_vqa.inference import stage
from paths import ROOT


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
    questions = pd.DataFrame([row | {"question_type": "color", "matched_options": row["options"]} for row in rows])
    for name in ("train", "test"):
        questions.to_parquet(tmp_path / f"tables/splits/{name}.parquet")
    sample = [{"image_id": name, "image": {"bytes": data, "path": None}} for name, data in images.items()]
    pd.DataFrame(sample).to_parquet(tmp_path / "tables/sample.parquet")
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "DVC_STAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.slow
def test_two_workers_one_of_them_killed_answer_with_the_bytes_of_one_machine(project: Path) -> None:
    pytest.importorskip("ray", reason='needs the package ray: pip install "abo-vqa[ray]"')
    stage.evaluate("base", read_params())
    here = answers_table("base").read_bytes()
    answers_table("base").unlink()
    values = YAML(typ="safe", pure=True).load(project / "params.yaml")
    YAML().dump(values | {"engine": "ray", "ray": {"address": "", "workers": 2}}, project / "params.yaml")
    running = subprocess.Popen(
        [sys.executable, "-m", "abo_vqa.inference.stage", "--model", "base"],
        env=os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": f"{ROOT / 'src'}:{os.environ['PYTHONPATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
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


def is_worker(process: psutil.Process) -> bool:
    try:
        return "MapWorker" in " ".join(process.cmdline())
    except psutil.Error:
        return False
