"""The stage generate, MLflow included, over a stock server: `transformers serve` with the demo's model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from abo_vqa.generators.stage import main
from paths import ROOT
from serving import transformers_serve


@pytest.mark.slow
def test_a_stock_server_writes_the_outputs(
    project: Callable[..., Any],
    tmp_path: Path,
    empty_store: bytes,
    images: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, model = project(0), str(ROOT / "models/demo")
    made.images = list(images.values())[:3]
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with transformers_serve(ROOT / "models/demo", tmp_path / "log") as address:
        made.settings |= {"base_url": f"{address}/v1", "model": model, "structured": "off", "max_tokens": 6}
        made.settings |= {"timeout_s": 120.0, "temperature": 0.0}
        folder = made.written(tmp_path / "project")
        (folder / "mlflow.db").write_bytes(empty_store)
        monkeypatch.chdir(folder)
        main()
    raw = [json.loads(line) for line in Path("tables/raw.jsonl").open()]
    report = json.loads(Path("reports/generate.json").read_text())
    assert [row["product_id"] for row in raw] == ["P0", "P1", "P2"]
    assert {(row["generator"], row["model"]) for row in raw} == {("endpoint", model)}
    assert all(row["output"].strip() for row in raw), "a word of the demo's model, which writes no questions"
    assert (report["outputs"], report["outputs_valid"], report["schema_sent"]) == (3, 0, 0)
    assert sum(report["failures"].values()) == 3 and report["unanswered"] == {}
    assert report["tokens"]["input"] > 3 * 50 and 3 <= report["tokens"]["output"] <= 18
    [run] = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}").search_runs(["1"])
    assert (run.info.run_name, run.info.status) == ("generate endpoint", "FINISHED")
    assert run.data.params["generate.endpoint.model"] == model
    logged = {name: value for name, value in run.data.metrics.items() if name.startswith("generate/")}
    assert logged["generate/images"] == logged["generate/requests"] == 3
    assert logged["generate/tokens/input"] == report["tokens"]["input"]
    kinds = {name.removeprefix("generate/failures/"): n for name, n in logged.items() if "/failures/" in name}
    assert kinds == report["failures"]
