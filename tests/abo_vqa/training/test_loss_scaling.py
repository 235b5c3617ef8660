"""float16 under accelerate's own path with a real loss scaler, on the CPU: one unscale, skipped steps, resumption."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs
from safetensors.torch import load_file
from torch.amp import GradScaler

from abo_vqa.common.errors import InputError
from abo_vqa.common.layout import POST_CLIP, PRE_CLIP, SKIPPED
from abo_vqa.common.params import Params
from abo_vqa.training import trainer
from abo_vqa.training.history import last_checkpoint
from abo_vqa.training.soundness import MAX_SKIPPED
from abo_vqa.training.trainer import ArmTrainer
from arm_run import run_arm

SCALE = 2.0**10


class Watched(ArmTrainer):
    """ArmTrainer under float16 on a CPU, whose gradients overflow in the steps `overflows`; notes what it sees."""

    overflows: Callable[[int], bool]
    seen: list[dict[str, Any]]
    scale: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What Accelerator(mixed_precision="fp16") does on a GPU.
        self.accelerator.state._mixed_precision = "fp16"
        self.accelerator.native_amp = True
        self.accelerator.scaler = GradScaler("cpu", init_scale=SCALE)
        # Float16 arithmetic is slow on CPUs, and what is tested here does not depend on it.
        self.accelerator.autocast_handler = AutocastKwargs(enabled=False)
        first = next(p for name, p in self.model.named_parameters() if ".lora_B." in name)
        first.register_hook(lambda gradient: gradient * math.inf if type(self).overflows(self.step) else gradient)

    @property
    def step(self) -> int:
        return int(self.state.global_step) + 1

    def weights(self) -> list[torch.Tensor]:
        return [p.detach().clone() for p in self.model.parameters() if p.requires_grad]

    def by_hand(self, scale: float) -> float:
        grads = [p.grad.double() / scale for p in self.model.parameters() if p.grad is not None]
        return float(torch.cat([gradient.flatten() for gradient in grads]).norm())

    def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
        before = self.by_hand(self.accelerator.scaler.get_scale())
        note = {"step": self.step, "weights": self.weights(), "before": before}
        returned = super()._clip_grad_norm(model)
        self.seen.append(note | {"after": self.by_hand(1)})
        type(self).scale = self.accelerator.scaler.get_scale()
        return returned


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Watched]]:
    class Fresh(Watched):
        seen: list[dict[str, Any]] = []  # noqa: RUF012

    monkeypatch.setattr(trainer, "ArmTrainer", Fresh)
    yield Fresh
    # The next Accelerator refuses another precision than the shared state's.
    AcceleratorState._reset_state(reset_partial_state=True)


def short(params: Params, **changes: Any) -> Params:
    # 40 questions, two passes of one each a step.
    smallest = {"epochs": 2.5, "batch_size": 1, "accumulation": 2, "save_steps": 10, "validation_questions": 0}
    changes = smallest | changes
    return params.model_copy(update={"train": params.train.model_copy(update=changes)})


def curve(folder: Path) -> list[dict[str, float]]:
    return json.loads((folder / "curve.json").read_text())


@pytest.mark.slow
def test_an_overflow_skips_the_step_and_a_resumed_run_ends_with_the_same_bytes(
    tiny_params: Params, tmp_path: Path, watched: type[Watched]
) -> None:
    overflowing = {3, 9, 15}
    watched.overflows = overflowing.__contains__
    params = short(tiny_params)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    run_arm(tmp_path / "whole", params)
    rows, seen, scale = curve(tmp_path / "whole"), list(watched.seen), watched.scale

    assert [row["step"] for row in rows] == [note["step"] for note in seen] == list(range(1, 21))
    assert {int(row["step"]) for row in rows if row[SKIPPED]} == overflowing
    assert scale == SCALE / 2**3, "each overflow halves it"
    limit = params.train.max_grad_norm
    for row, note, following in zip(rows, seen, seen[1:], strict=False):
        unchanged = all(map(torch.equal, note["weights"], following["weights"]))
        if row[SKIPPED]:
            assert unchanged
            assert math.isnan(row[PRE_CLIP]) and math.isnan(row[POST_CLIP])
            assert rows[int(row["step"])]["learning_rate"] == row["learning_rate"], "the schedule waits"
        else:
            assert not unchanged or row["learning_rate"] == 0
            assert row[PRE_CLIP] == pytest.approx(note["before"], rel=1e-5)
            assert row[POST_CLIP] == pytest.approx(note["after"], rel=1e-5)
            assert row[POST_CLIP] == pytest.approx(min(limit, row[PRE_CLIP]), rel=1e-3)
            assert math.hypot(row[f"{PRE_CLIP}/lora_A"], row[f"{PRE_CLIP}/lora_B"]) == pytest.approx(row[PRE_CLIP])
    assert any(row[PRE_CLIP] > limit for row in rows), "the test needs a step that clips"

    with pytest.raises(KeyboardInterrupt):
        run_arm(tmp_path / "killed", params, stop_in_step=13)
    checkpoint = last_checkpoint(tmp_path / "killed/checkpoints")
    assert checkpoint is not None and checkpoint.name == "checkpoint-10"
    assert torch.load(checkpoint / "scaler.pt")["scale"] == SCALE / 2**2
    run_arm(tmp_path / "killed", params)
    assert watched.scale == scale
    assert (tmp_path / "killed/curve.json").read_bytes() == (tmp_path / "whole/curve.json").read_bytes()
    whole, killed = (load_file(tmp_path / name / "adapter/adapter_model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(weight, killed[name]) for name, weight in whole.items())


@pytest.mark.parametrize(
    ("epochs", "says"),
    [(1.5, f"step {MAX_SKIPPED}: the gradients overflowed in {MAX_SKIPPED} steps in a row"), (0.4, "in all 6 steps")],
)
def test_a_run_of_overflows_alone_stops(
    tiny_params: Params, tmp_path: Path, watched: type[Watched], epochs: float, says: str
) -> None:
    watched.overflows = lambda step: True
    with pytest.raises(InputError, match=says):
        run_arm(tmp_path, short(tiny_params, epochs=epochs, accumulation=1))


def test_without_a_scaler_the_first_overflow_stops_the_run(
    tiny_params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Overflowing(ArmTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            first = next(p for p in self.model.parameters() if p.requires_grad)
            first.register_hook(lambda gradient: gradient + math.inf)

    monkeypatch.setattr(trainer, "ArmTrainer", Overflowing)
    assert Accelerator(cpu=True).scaler is None
    with pytest.raises(InputError, match=r"step 1: .* is not finite; lower train\.learning_rate"):
        run_arm(tmp_path, short(tiny_params, epochs=0.5))


@pytest.mark.gpu
def test_a_card_trains_in_float16_with_its_own_scaler(tiny_params: Params, tmp_path: Path) -> None:
    quantization = tiny_params.model.quantization.model_copy(update={"compute_dtype": "float16"})
    params = short(
        tiny_params.model_copy(update={"model": tiny_params.model.model_copy(update={"quantization": quantization})})
    )
    run_arm(tmp_path, params)
    rows = curve(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, 21))
    applied = [row for row in rows if not row[SKIPPED]]
    assert len(applied) > 10 and all(row[POST_CLIP] <= params.train.max_grad_norm * 1.001 for row in applied)
