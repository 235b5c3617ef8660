"""Passes bounded by tokens: nothing lost, the same step; memory that runs out is survived with the same bytes."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.model.shared_image import ImageCollator, Segment, SharedSequence, shared_image_batch
from abo_vqa.training import trainer
from abo_vqa.training.passes import kept_bytes, passes, tokens_that_fit
from abo_vqa.training.trainer import ArmTrainer
from arm_run import run_arm

PAD = 99
FULL = torch.OutOfMemoryError


def batch_of(lengths: list[list[int]]) -> dict[str, Any]:
    """One sequence per list: an image of 3 tokens and questions of these lengths, with features to tell them apart."""
    sequences = [SharedSequence([7] * 3, [Segment([number] * length, [1]) for length in of_image])
                 for number, of_image in enumerate(lengths)]  # fmt: skip
    return shared_image_batch(sequences, PAD) | {"images": [torch.full((3, 2), float(n)) for n in range(len(lengths))]}


def real_tokens(part: dict[str, Any], row: int) -> dict[str, Any]:
    mask = part["attention_mask"][row, 0]
    length = int(mask[:, 0].sum())
    ids = {name: part[name][row, :length].tolist() for name in ("input_ids", "position_ids", "labels")}
    return ids | {"mask": mask[:length, :length].tolist(), "features": part["images"][row].tolist()}


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=8), st.integers(1, 120))
def test_passes_have_every_sequence_once_and_few_tokens(lengths: list[list[int]], tokens: int) -> None:
    whole = batch_of(lengths)
    parts = passes(whole, tokens)
    found = [real_tokens(part, row) for part in parts for row in range(len(part["labels"]))]
    assert found == [real_tokens(whole, row) for row in range(len(lengths))]
    for part in parts:
        assert part["input_ids"].numel() <= tokens or len(part["input_ids"]) == 1
        assert (part["input_ids"] != PAD).any(0).all(), "no column of padding alone"
        assert part["attention_mask"].any(-1).all(), "a token that attends to nothing gives NaN"
    assert passes(whole, None) == [whole]


def test_one_sequence_a_question_is_divided_too() -> None:
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    batch = {"input_ids": mask * 5, "labels": mask * 3, "attention_mask": mask, "pixel_values": torch.arange(3)}
    first, second = passes(batch, 6)
    assert first["input_ids"].tolist() == [[5, 5, 5, 5]]
    assert second["input_ids"].tolist() == [[5, 5, 0], [5, 5, 5]]
    assert second["pixel_values"].tolist() == [1, 2]


def test_what_a_pass_keeps_is_counted_without_the_weights() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(10, 20, bias=False), torch.nn.Sigmoid(), torch.nn.Linear(20, 1))
    inputs = torch.ones(7, 10, requires_grad=True)
    # The input, and the sigmoid's result, which the layer after it keeps too.
    assert kept_bytes(lambda: model(inputs).sum(), model) == 4 * (7 * 10 + 7 * 20)


def test_tokens_fit_beside_what_is_there() -> None:
    gib = 2**30
    # A T4 with LLaVA-Gemma-2B, whose four images of 820 tokens take 15.0 GiB.
    fit = tokens_that_fit(round(14.7 * gib), round(2.5 * gib), 19_611_648, 3.84e6)
    assert 3 * 820 <= fit < 4 * 820
    assert tokens_that_fit(gib, 2 * gib, 0, 1e6) == 1


def params_of(params: Params, dropout: float = 0.075, **changes: Any) -> Params:
    settings = params.train
    lora = settings.lora.model_copy(update={"dropout": dropout})
    smallest = {"epochs": 2.5, "batch_size": 4, "accumulation": 1, "validation_questions": 0, "lora": lora}
    return params.model_copy(update={"train": settings.model_copy(update=smallest | changes)})


def bytes_of(folder: Path) -> list[bytes]:
    files = sorted(file for file in folder.glob("adapter/*") if file.is_file())
    return [*(file.read_bytes() for file in files), (folder / "curve.json").read_bytes()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter/adapter_model.safetensors")


@pytest.fixture
def trained(tiny_params: Params, tmp_path: Path) -> Callable[..., Path]:
    def train(name: str, **changes: Any) -> Path:
        (tmp_path / name).mkdir()
        run_arm(tmp_path / name, params_of(tiny_params, **changes))
        return tmp_path / name

    return train


def test_questions_prepared_by_other_processes_train_the_same(
    trained: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = ImageCollator.__call__

    def noted(self: ImageCollator, features: Any) -> Any:
        (tmp_path / f"process-{os.getpid()}").touch()
        return batch(self, features)

    alone = trained("alone", workers=0)
    monkeypatch.setattr(ImageCollator, "__call__", noted)
    helped = trained("helped", workers=2)
    others = {file.name for file in tmp_path.glob("process-*")} - {f"process-{os.getpid()}"}
    assert len(others) == 2
    assert bytes_of(helped) == bytes_of(alone)


def test_a_bound_changes_a_training_by_rounding_alone(trained: Callable[..., Path]) -> None:
    whole, divided = trained("whole", dropout=0.0), trained("divided", dropout=0.0, tokens_per_pass=1)
    losses, others = (
        [row["loss"] for row in json.loads((folder / "curve.json").read_text())] for folder in (whole, divided)
    )
    assert others == pytest.approx(losses, rel=1e-4)
    ours = weights(divided)
    for name, weight in weights(whole).items():
        assert torch.allclose(ours[name], weight, atol=1e-4), name


class Full(ArmTrainer):
    """ArmTrainer whose memory runs out as `fails` says, before the forward pass or after the backward pass."""

    fails: Callable[[int, int], bool]
    calls = 0

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        type(self).calls += 1
        number, tokens = type(self).calls, inputs["input_ids"].numel()
        if number // 2 % 2 and type(self).fails(number, tokens):
            raise FULL("planted")
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if not number // 2 % 2 and type(self).fails(number, tokens):
            last = next(p for name, p in model.named_parameters() if p.requires_grad)  # its gradient comes last
            handle = last.register_hook(lambda _: (handle.remove(), self.run_out())[1])
        return loss

    def run_out(self) -> torch.Tensor:
        raise FULL("planted")


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> type[Full]:
    class Fresh(Full):
        pass

    monkeypatch.setattr(trainer, "ArmTrainer", Fresh)
    return Fresh


@pytest.mark.parametrize("tokens", ["auto", 60])
def test_memory_that_runs_out_now_and_then_leaves_the_same_bytes(
    trained: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tokens: int | str
) -> None:
    undisturbed = trained("undisturbed", tokens_per_pass=tokens, accumulation=2)

    class Fresh(Full):
        pass

    monkeypatch.setattr(trainer, "ArmTrainer", Fresh)
    draw, failed = random.Random(6), list[int]()

    def fails(number: int, _: int) -> bool:
        # Not twice in a row: that would halve the passes.
        if draw.random() < 0.5 and not (failed and number - failed[-1] < 5):
            failed.append(number)
            return True
        return False

    Fresh.fails = staticmethod(fails)
    disturbed = trained("disturbed", tokens_per_pass=tokens, accumulation=2)
    assert {number // 2 % 2 for number in failed} == {0, 1}, "in forward and in backward passes"
    for name in ("curve.json", "adapter/adapter_model.safetensors"):
        assert (disturbed / name).read_bytes() == (undisturbed / name).read_bytes()


def test_memory_that_stays_too_small_halves_the_passes(
    trained: Callable[..., Path], full: type[Full], capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[int] = []
    full.fails = staticmethod(lambda _, tokens: bool(seen.append(tokens)) or tokens > 200)
    trained("small")
    assert max(seen) > 200
    said = capsys.readouterr().err
    assert "out of memory in a pass of" in said and "set train.tokens_per_pass: " in said
    bound = int(said.rpartition("tokens_per_pass: ")[2].split()[0])
    assert all(tokens <= max(bound, 200) for tokens in seen[-8:])


def test_an_image_too_large_for_the_memory_is_an_error_that_says_what_to_do(
    trained: Callable[..., Path], full: type[Full]
) -> None:
    full.fails = staticmethod(lambda *_: True)
    with pytest.raises(InputError, match=r"out of memory in a pass of one sequence, \d+ tokens; set train\.gradient"):
        trained("hopeless")


def test_several_processes_say_what_to_set(trained: Callable[..., Path], full: type[Full], monkeypatch: Any) -> None:
    full.fails = staticmethod(lambda *_: True)
    monkeypatch.setattr("accelerate.Accelerator.num_processes", property(lambda self: 2))
    with pytest.raises(InputError, match=r"set train\.tokens_per_pass: \d+ and run the stage again"):
        trained("several")
