"""A training killed at any moment goes on where it was and ends with the same bytes; two processes train as one."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import PRE_CLIP
from abo_vqa.common.params import Params
from abo_vqa.training.history import FILES, STATE, history, last_checkpoint, list_files
from arm_run import run_arm
from paths import SUPPORT


def with_train(params: Params, **changes: Any) -> Params:
    return params.model_copy(update={"train": params.train.model_copy(update=changes)})


def made(folder: Path) -> dict[str, bytes]:
    files = [folder / "curve.json", *(folder / "adapter").iterdir()]
    return {file.name: file.read_bytes() for file in files}


@pytest.mark.slow
def test_twenty_kills_change_no_byte(tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = with_train(tiny_params, epochs=30, save_steps=2, log_steps=1000)
    # Children fork from a process that has imported everything, so that kills hit the training, not the imports.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), *sys.path]))
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["arm_run"])

    def start(folder: Path) -> Any:
        folder.mkdir(exist_ok=True)
        child = processes.Process(target=run_arm, args=(folder, params))
        child.start()
        return child

    def steps_done(folder: Path) -> int:
        rows = folder / "rows.txt"
        return len(rows.read_text().splitlines()) if rows.exists() else 0

    undisturbed = start(tmp_path / "undisturbed")
    undisturbed.join()
    assert undisturbed.exitcode == 0
    # A life ends by the steps it has made, not by the clock, so that a fast machine kills as often as a slow one; the
    # moment within the step is the clock's.
    rng, kills, saved = random.Random(5), 0, [0]
    while True:
        (tmp_path / "killed/rows.txt").unlink(missing_ok=True)
        child = start(tmp_path / "killed")
        if kills == 20:
            child.join()
            break
        last = saved[-1] + rng.randrange(1, 5)
        while child.is_alive() and steps_done(tmp_path / "killed") < last:
            time.sleep(0.002)
        step_ends = time.monotonic() + rng.uniform(0, 0.3)
        while child.is_alive() and time.monotonic() < step_ends and steps_done(tmp_path / "killed") <= last:
            time.sleep(0.002)
        assert child.is_alive(), f"finished after {kills} kills: train for longer"
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        kills += 1
        checkpoint = last_checkpoint(tmp_path / "killed/checkpoints")
        saved.append(len([row for row in history(checkpoint) if PRE_CLIP in row]) if checkpoint else 0)
    assert child.exitcode == 0
    assert len(set(saved)) > 3, f"the kills have to fall between checkpoints, not before the first: {saved}"
    assert made(tmp_path / "killed") == made(tmp_path / "undisturbed")
    assert len(list((tmp_path / "killed/checkpoints").iterdir())) <= 3, "disk use is bounded"


def write_checkpoint(folder: Path, state: str | None = '{"log_history": []}') -> None:
    folder.mkdir()
    for name in ("adapter_model.safetensors", "optimizer.pt"):
        (folder / name).write_text(f"{name} of {folder.name}")
    list_files(folder)
    if state is not None:
        (folder / STATE).write_text(state)


def test_a_checkpoint_cut_off_in_writing_is_not_used(tmp_path: Path) -> None:
    for step, state in ((2, '{"log_history": []}'), (4, '{"log_hist'), (6, None)):
        write_checkpoint(tmp_path / f"checkpoint-{step}", state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    assert last_checkpoint(tmp_path / "elsewhere") is None


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.pt", FILES])
@pytest.mark.parametrize("how", ["gone", "empty", "another's"])
def test_a_checkpoint_counts_only_with_all_its_files(tmp_path: Path, name: str, how: str) -> None:
    for step in (2, 4):
        write_checkpoint(tmp_path / f"checkpoint-{step}")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"
    if how == "gone":
        (tmp_path / "checkpoint-4" / name).unlink()
    else:
        (tmp_path / "checkpoint-4" / name).write_text(
            "" if how == "empty" else (tmp_path / "checkpoint-2" / name).read_text()
        )
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-2"
    # What the same step saves again replaces it, the Trainer's old state included.
    for path in ("adapter_model.safetensors", "optimizer.pt"):
        (tmp_path / "checkpoint-4" / path).write_text(path)
    list_files(tmp_path / "checkpoint-4")
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-4"


def test_a_broken_checkpoint_of_a_training_is_passed_over_or_refused(
    tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = with_train(tiny_params, epochs=2, save_steps=2, validation_questions=0)
    (tmp_path / "whole").mkdir()
    run_arm(tmp_path / "whole", params)
    interrupt(tmp_path / "halved", params, step=3)
    checkpoint = last_checkpoint(tmp_path / "halved/checkpoints")
    assert checkpoint is not None
    kept = (checkpoint / "optimizer.pt").read_bytes()
    (checkpoint / "optimizer.pt").write_bytes(kept[:-1])
    run_arm(tmp_path / "halved", params)
    assert (tmp_path / "halved/rows.txt").read_text().splitlines()[0] == "1", "from the beginning"
    assert made(tmp_path / "halved") == made(tmp_path / "whole")
    # Weights that PEFT leaves out of a whole checkpoint.
    interrupt(tmp_path / "other", params, step=3)
    monkeypatch.setattr("peft.PeftModel.load_adapter", lambda *_, **__: None)
    with pytest.raises(InputError, match=r"its adapter was not loaded as it was saved; delete .*checkpoints to train"):
        run_arm(tmp_path / "other", params)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(tiny_params: Params, tmp_path: Path) -> None:
    lora = tiny_params.train.lora.model_copy(update={"dropout": 0.0})
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    params = with_train(tiny_params, lora=lora, epochs=2)
    run_arm(one, params)
    (two / "params.json").write_text(with_train(params, processes=2).model_dump_json(by_alias=True))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(SUPPORT / "arm_run.py")]
    command = [sys.executable, *launch, str(two), str(two / "params.json")]
    paths = os.pathsep.join([*sys.path, str(SUPPORT)])
    environ = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    curves = {1: json.loads((one / "curve.json").read_text()), 2: json.loads((two / "curve.json").read_text())}
    assert len(curves[1]) == len(curves[2]) == 4
    for one, two in zip(curves[1], curves[2], strict=True):
        for name in ("loss", PRE_CLIP, "learning_rate"):
            assert two[name] == pytest.approx(one[name], rel=1e-5), name
    assert any("validation/accuracy" in row for row in curves[2])


def test_patience_stops_early(tiny_params: Params, tmp_path: Path) -> None:
    # With a rate of nearly nothing no validation is better than the first.
    params = with_train(tiny_params, learning_rate=1e-12, epochs=12, save_steps=2, patience=2)
    started = time.monotonic()
    run_arm(tmp_path, params)
    curve = json.loads((tmp_path / "curve.json").read_text())
    assert len(curve) == 6, f"three validations, the first being the best ({time.monotonic() - started:.0f} s)"


def adapter_after(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter/adapter_model.safetensors")


def interrupt(folder: Path, params: Params, step: int) -> None:
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        run_arm(folder, params, stop_in_step=step)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 2, "accumulation": 4},
        {"batch_size": 1, "accumulation": 8, "gradient_checkpointing": True},
        {"batch_size": 2, "accumulation": 4, "gradient_checkpointing": 2},
        {"batch_size": 8, "accumulation": 1, "save_steps": 4, "log_steps": 3},
    ],
)
def test_another_division_of_a_step_goes_on_to_the_same_adapter(
    tiny_params: Params, tmp_path: Path, changes: dict[str, Any]
) -> None:
    # Without dropout, whose masks depend on the batch's shape. 92 questions: the last step is half full.
    lora = tiny_params.train.lora.model_copy(update={"dropout": 0.0})
    params = with_train(tiny_params, lora=lora, epochs=5.75, save_steps=3, validation_questions=0)
    (tmp_path / "whole").mkdir()
    run_arm(tmp_path / "whole", params)
    interrupt(tmp_path / "halved", params, step=8)
    assert last_checkpoint(tmp_path / "halved/checkpoints").name == "checkpoint-6"
    run_arm(tmp_path / "halved", with_train(params, **changes))
    curves = {name: json.loads((tmp_path / name / "curve.json").read_text()) for name in ("whole", "halved")}
    assert [row["step"] for row in curves["halved"]] == list(range(1, 13))
    assert curves["halved"][:6] == curves["whole"][:6], "restored, not made again"
    for whole, halved in zip(curves["whole"], curves["halved"], strict=True):
        for name in ("loss", PRE_CLIP, "learning_rate"):
            assert halved[name] == pytest.approx(whole[name], rel=1e-4), name
    whole, halved = adapter_after(tmp_path / "whole"), adapter_after(tmp_path / "halved")
    assert whole.keys() == halved.keys()
    for name, weight in whole.items():
        torch.testing.assert_close(halved[name], weight, rtol=1e-3, atol=1e-5)


def test_the_average_goes_on_from_a_checkpoint_among_its_steps(tiny_params: Params, tmp_path: Path) -> None:
    params = with_train(tiny_params, epochs=6, average=0.75, save_steps=3, validation_questions=0)
    (tmp_path / "whole").mkdir()
    run_arm(tmp_path / "whole", params)
    interrupt(tmp_path / "halved", params, step=8)
    run_arm(tmp_path / "halved", params)
    assert made(tmp_path / "halved") == made(tmp_path / "whole")


@pytest.mark.gpu
def test_a_training_killed_on_a_gpu_goes_on_to_the_losses_of_one_that_was_not(
    tiny_params: Params, tmp_path: Path
) -> None:
    # Not to the same bytes: the order in which a GPU adds is its own.
    params = with_train(tiny_params, epochs=6, save_steps=3, validation_questions=0)
    (tmp_path / "whole").mkdir()
    run_arm(tmp_path / "whole", params)
    interrupt(tmp_path / "halved", params, step=8)
    run_arm(tmp_path / "halved", params)
    whole, halved = (json.loads((tmp_path / name / "curve.json").read_text()) for name in ("whole", "halved"))
    assert [row["step"] for row in halved] == [row["step"] for row in whole] == list(range(1, 13))
    assert [row["loss"] for row in halved] == pytest.approx([row["loss"] for row in whole], rel=1e-2)


def test_a_new_interval_holds_from_the_checkpoint_on(tiny_params: Params, tmp_path: Path) -> None:
    params = with_train(tiny_params, epochs=6, save_steps=3, log_steps=100)
    interrupt(tmp_path / "run", params, step=8)
    run_arm(tmp_path / "run", with_train(params, save_steps=4, log_steps=1, batch_size=2, accumulation=4))
    curve = json.loads((tmp_path / "run/curve.json").read_text())
    assert [row["step"] for row in curve] == list(range(1, 13))
    assert [row["step"] for row in curve if "validation/accuracy" in row] == [3, 6, 8, 12]
