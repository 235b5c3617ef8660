"""A checkpoint is resumed after changes that do not decide the result, and discarded after those that do."""

from pathlib import Path
from typing import Any

import pytest

from abo_vqa.common.params import Params
from abo_vqa.training import stage
from abo_vqa.training.stage import checkpoint_folder

# Another valid value of every parameter of train.
KEPT = {
    "replicates": [1, 5], "gradient_checkpointing": True, "attention": "sdpa", "feature_cache": False, "save_steps": 7,
    "log_steps": 7, "tokens_per_pass": 500, "workers": 3,
}  # fmt: skip
DISCARDED = {
    "options_from": "matched", "epochs": 3.0, "packing": "question", "learning_rate": 0.5, "schedule": "linear",
    "warmup": 0.5, "weight_decay": 0.5, "max_grad_norm": 0.5, "average": 0.25, "optimizer": "sgd",
    "mixed_precision": "no", "max_questions": 10, "validation_questions": 10, "patience": 10,
}  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def with_train(params: Params, **changes: Any) -> Params:
    return params.model_copy(update={"train": params.train.model_copy(update=changes)})


def test_every_parameter_of_the_training_is_one_or_the_other(tiny_params: Params) -> None:
    divided = {"batch_size", "accumulation", "processes", "lora"}
    assert KEPT.keys() | DISCARDED.keys() | divided == set(type(tiny_params.train).model_fields)
    assert KEPT.keys() <= stage.NOT_DECISIVE and not DISCARDED.keys() & stage.NOT_DECISIVE
    folder = checkpoint_folder("standard-1", tiny_params, "data")
    for name, value in (KEPT | DISCARDED).items():
        assert getattr(tiny_params.train, name) != value, name
        changed = checkpoint_folder("standard-1", with_train(tiny_params, **{name: value}), "data")
        assert (changed == folder) == (name in KEPT), name


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"batch_size": 2, "accumulation": 4}, True),
        ({"batch_size": 1, "accumulation": 8, "processes": 2}, True),
        ({"batch_size": 2}, False),
        ({"accumulation": 4}, False),
    ],
)
def test_a_step_counts_by_its_questions(tiny_params: Params, changes: dict[str, int], kept: bool) -> None:
    folder = checkpoint_folder("standard-1", tiny_params, "data")
    assert (checkpoint_folder("standard-1", with_train(tiny_params, **changes), "data") == folder) == kept


def test_other_inputs_discard_it(tiny_params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    train, model = tiny_params.train, tiny_params.model
    lora = train.lora.model_copy(update={"r": 3})
    quantization = model.quantization.model_copy(update={"quant_type": "fp4"})
    changed = [
        checkpoint_folder("standard-1", params, data)
        for params, data in [
            (tiny_params, "data"),
            (tiny_params, "other data"),
            (tiny_params.model_copy(update={"seed": 5}), "data"),
            (with_train(tiny_params, lora=lora), "data"),
            (tiny_params.model_copy(update={"model": model.model_copy(update={"quantization": quantization})}), "data"),
        ]
    ]
    changed += [checkpoint_folder(model, tiny_params, "data") for model in ("options-1", "standard-2")]
    prompt = tiny_params.prompt.model_copy(update={"open": "{question}"})
    changed.append(checkpoint_folder("standard-1", tiny_params.model_copy(update={"prompt": prompt}), "data"))
    monkeypatch.setattr(stage, "code_digest", lambda module: f"other code of {module}")
    changed.append(checkpoint_folder("standard-1", tiny_params, "data"))
    assert len(set(changed)) == len(changed)


def test_only_the_arms_own_stale_checkpoints_are_deleted(tiny_params: Params) -> None:
    mine = checkpoint_folder("standard-1", tiny_params, "data")
    stale = checkpoint_folder("standard-1", tiny_params, "old data")
    others = [checkpoint_folder("options-1", tiny_params, "data"), mine.with_name("standard-1-notes")]
    for folder in (mine, stale, *others):
        folder.mkdir(parents=True)
    assert checkpoint_folder("standard-1", tiny_params, "data") == mine
    assert mine.is_dir() and not stale.exists() and all(folder.is_dir() for folder in others)
