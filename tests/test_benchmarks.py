"""Benchmarks are run by hand, on machines that others have: what they import is there, and the one for GPUs works."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from paths import ROOT

FILES = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_a_benchmark_imports_of_us_is_there(file: Path) -> None:
    missing = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in ("abo_vqa", "abo_demo"):
            module = importlib.import_module(str(node.module))
            missing += [f"{node.module}.{name.name}" for name in node.names if not hasattr(module, name.name)]
    assert missing == []


def test_damaged_outputs_and_tables_raise_nothing_and_are_accounted_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.chdir(ROOT)
    fuzz = importlib.import_module("fuzz")
    outputs = fuzz.check_outputs(3, 600, fuzz.OUTPUTS)
    parts = ("questions kept as they were", "questions repaired", "questions quarantined")
    assert outputs["questions"] == sum(outputs[part] for part in parts) and min(outputs[part] for part in parts) > 5
    tables = fuzz.check_tables(3, 150)
    assert tables["tables read"] + tables["tables refused"] == 150
    assert tables["rows read"] > 20 and tables["rows refused by number"] > 20


@pytest.mark.slow
def test_everything_for_a_gpu_works_on_tiny_models(tmp_path: Path) -> None:
    out = tmp_path / "gpu.md"
    command = [sys.executable, str(ROOT / "benchmarks/gpu.py"), "--small", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = out.read_text()
    assert done.returncode == 0, said
    titles = [line for line in said.splitlines() if line.startswith("## ")]
    assert [title.split(",")[0] for title in titles] == [
        "## Evaluation against the stock stack", "## Training against TRL", "## Writing questions"
    ]  # fmt: skip
    assert "answers the same token by token" in said
    trained = [line.split("|") for line in said.splitlines() if "SFTTrainer" in line or "ours, a sequence" in line]
    assert len(trained) == 2 and trained[0][-3:] == trained[1][-3:], "the same losses"
