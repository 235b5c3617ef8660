"""A preset for GPUs is applied where there is one, or where the user asks for the CPU."""

import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from abo_vqa.commands.app import app
from pretended_gpus import gpus


@pytest.fixture
def project(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(root / "presets", tmp_path / "presets")
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(root / name, tmp_path)
    return tmp_path


def preset(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["preset", *arguments])


def test_without_a_gpu_the_papers_preset_asks_for_device_cpu(project: Path) -> None:
    before = (project / "params.yaml").read_bytes()
    with gpus(0):
        refused = preset("paper")
        assert refused.exit_code == 1
        assert "presets/paper.yaml: needs a GPU, and this machine has none; " in refused.stderr
        assert "add --device cpu" in refused.stderr
        assert (project / "params.yaml").read_bytes() == before
        assert preset("real-sample").exit_code == 0, "made for a CPU"
        assert "sample.products: " in preset("paper", "--device", "cpu").stdout
    assert (project / "params.yaml").read_bytes() != before


@pytest.mark.parametrize("usable", [True, False])
def test_a_gpu_counts_if_pytorch_can_use_it(project: Path, usable: bool) -> None:
    with gpus(1) as patch:
        patch.setattr(torch.cuda, "is_available", lambda: usable)
        done = preset("paper")
    assert done.exit_code == (0 if usable else 1)
    if not usable:
        assert "Tesla T4 has driver 535.104.05" in done.stderr
        assert "PyTorch cannot use this machine's; to apply it" in done.stderr
