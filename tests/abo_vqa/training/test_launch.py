"""The GPUs of a training, chosen before torch is there; the GPUs are pretended."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.model.base.devices import VISIBLE
from abo_vqa.training import stage
from abo_vqa.training.launch import use_gpus
from pretended_gpus import gpus


def with_train(params: Params, **changes: object) -> Params:
    return params.model_copy(update={"train": params.train.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("count", "own", "shown"),
    [(2, None, "0"), (4, "3,1", "3"), (2, "1", "1"), (1, None, None), (0, None, None)],
)
def test_a_single_process_sees_the_first_gpu_alone(
    tiny_params: Params, capsys: pytest.CaptureFixture[str], count: int, own: str | None, shown: str | None
) -> None:
    with gpus(count, own):
        assert use_gpus(tiny_params.train).processes == 1
        assert os.environ.get(VISIBLE) == shown
    said = capsys.readouterr().err
    several = count > 1 and own != "1"
    assert ("GPUs are visible, the first of them used; train.processes: auto uses all" in said) == several


@pytest.mark.parametrize(
    ("count", "own", "processes"), [(0, None, 1), (1, None, 1), (2, None, 2), (4, "0,2", 2), (3, None, 2), (5, None, 4)]
)
def test_auto_takes_as_many_as_divide_a_step(tiny_params: Params, count: int, own: str | None, processes: int) -> None:
    params = with_train(tiny_params, processes="auto")
    assert (params.train.batch_size, params.train.accumulation) == (4, 2)
    with gpus(count, own):
        assert use_gpus(params.train).processes == processes
        assert os.environ.get(VISIBLE) == own, "every process takes the one of its rank"


def test_more_processes_than_gpus_are_refused(tiny_params: Params) -> None:
    params = with_train(tiny_params, processes=4)
    with gpus(2), pytest.raises(InputError, match=r"train\.processes: 4 processes need a GPU each, and 2 are visible"):
        use_gpus(params.train)
    with gpus(0):
        assert use_gpus(params.train).processes == 4, "on a CPU they share it"


def test_auto_starts_a_process_on_every_gpu(tiny_params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    trained: list[Params] = []
    monkeypatch.setattr(stage, "read_params", lambda: with_train(tiny_params, processes="auto"))
    monkeypatch.setattr(stage, "train", lambda name, params: trained.append(params))
    monkeypatch.setattr(stage.os, "execv", lambda program, arguments: started.append(arguments))
    monkeypatch.setattr(sys, "argv", ["stage", "--model", "options-1"])
    with gpus(2):
        stage.main()
    assert "--nproc-per-node=2" in started[0]
    # What each of them then does.
    started.clear(), trained.clear()
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    stage.main()
    assert not started and [params.train.processes for params in trained] == [2]


def test_gpus_are_chosen_before_torch_is_imported(root: Path) -> None:
    check = "import sys, abo_vqa.training.stage; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], env=os.environ | {"PYTHONPATH": str(root / "src")}, check=True)
