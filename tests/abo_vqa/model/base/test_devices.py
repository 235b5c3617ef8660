"""Which GPUs a process would see, and what is said where PyTorch cannot use them; the GPUs are pretended."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from abo_vqa.model.base import devices
from abo_vqa.model.base.devices import Gpu, installed_gpus, visible_gpus, warn_of_unusable_gpus
from pretended_gpus import gpus


@pytest.mark.parametrize(
    ("count", "own", "seen"),
    [
        (2, None, ["0", "1"]),
        (4, "2,3", ["2", "3"]),
        (2, "GPU-8932f937, 1", ["GPU-8932f937", "1"]),
        (2, "", []),
        (2, "-1", []),
        (2, "1,-1,0", ["1"]),
        (0, None, []),
        (0, "0", []),
    ],
)
def test_the_users_own_choice_decides(count: int, own: str | None, seen: list[str]) -> None:
    with gpus(count, own):
        assert visible_gpus() == seen


def test_without_nvidia_smi_torch_counts_in_another_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(command: list[str], **settings: Any) -> Any:
        if command[0] == "nvidia-smi":
            raise FileNotFoundError(command[0])
        assert devices.VISIBLE not in settings["env"]
        return subprocess.CompletedProcess(command, 0, stdout="2\n")

    monkeypatch.setattr(devices.subprocess, "run", run)
    monkeypatch.setattr(devices, "_DRIVER", tmp_path)
    assert installed_gpus.__wrapped__() == (Gpu("an NVIDIA GPU", "of unknown version"),) * 2
    monkeypatch.setattr(devices, "_DRIVER", tmp_path / "nowhere")
    assert installed_gpus.__wrapped__() == ()


def test_a_driver_that_does_not_answer_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver, or the like.\n"
    monkeypatch.setattr(devices.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 9, stdout=said))
    assert installed_gpus.__wrapped__() == ()


@pytest.mark.parametrize(("built", "says"), [("13.0", "built for CUDA 13.0"), (None, "built without CUDA")])
def test_a_card_that_torch_cannot_use_is_named_with_its_driver(
    capsys: pytest.CaptureFixture[str], built: str | None, says: str
) -> None:
    with gpus(1, driver="470.57.02") as patch:
        patch.setattr(torch.version, "cuda", built)
        warn_of_unusable_gpus()
        warn_of_unusable_gpus()
    [line] = capsys.readouterr().err.splitlines()
    for part in ("warning", "computing on the CPU", "Tesla T4", "driver 470.57.02", torch.__version__, says):
        assert part in line


@pytest.mark.parametrize(("count", "visible", "usable"), [(1, None, True), (1, "", False), (0, None, False)])
def test_nothing_is_said_where_nothing_is_wrong(
    capsys: pytest.CaptureFixture[str], count: int, visible: str | None, usable: bool
) -> None:
    with gpus(count, visible) as patch:
        patch.setattr(torch.cuda, "is_available", lambda: usable)
        warn_of_unusable_gpus()
    assert capsys.readouterr().err == ""


def test_tests_compute_on_the_cpu() -> None:
    assert os.environ[devices.VISIBLE] == ""
    assert not torch.cuda.is_available()
