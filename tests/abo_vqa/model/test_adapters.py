"""Saved adapters have the weights that were validated; one that does not fit its base whole is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file, save_file

from abo_vqa.common.errors import InputError
from abo_vqa.common.params import Params
from abo_vqa.model.adapters import adapter_digest, attach_adapters, save_adapter
from abo_vqa.model.base.loading import load_base
from adapted import adapted

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def saved(root: Path, tmp_path_factory: pytest.TempPathFactory, tiny_base: Path) -> Path:
    from abo_vqa.common.params import read_params

    params = read_params(root / "params.yaml")
    params = params.model_copy(update={"model": params.model.model_copy(update={"base": str(tiny_base)})})
    folder = tmp_path_factory.mktemp("saved") / "adapter"
    adapted(params, 0, spread=0.2).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "adapter"))


def changed(folder: Path, change: Any) -> Path:
    weights = load_file(folder / WEIGHTS)
    save_file(change(dict(sorted(weights.items()))), folder / WEIGHTS)
    return folder


def without_one(weights: dict[str, Any]) -> dict[str, Any]:
    return dict(list(weights.items())[1:])


def one_renamed(weights: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("layers.0.mlp.up_proj", "layers.0.mlp.other"): value for key, value in weights.items()}


def one_more(weights: dict[str, Any]) -> dict[str, Any]:
    return weights | {key.replace("layers.0", "layers.99"): value for key, value in weights.items() if ".0." in key}


def one_narrow(weights: dict[str, Any]) -> dict[str, Any]:
    first = next(iter(weights))
    return weights | {first: weights[first][:, :-1].copy()}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without_one, "0 of its weights have no place, and 1 places get none"),
        (one_renamed, "2 of its weights have no place, and 2 places get none"),
        (one_more, r"of its weights have no place, and 0 places get none, such as .*layers\.99"),
        (one_narrow, r"does not fit the base: .*size mismatch"),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(tiny_params: Params, folder: Path, change: Any, says: str) -> None:
    base = load_base(tiny_params.model)
    with pytest.raises(InputError, match=says):
        attach_adapters(base, {"mine": changed(folder, change)})


def test_a_second_adapter_is_checked_as_the_first(tiny_params: Params, saved: Path, folder: Path) -> None:
    """Its name is part of the first one's names."""
    base = load_base(tiny_params.model)
    assert attach_adapters(base, {"first": saved, "irs": saved})
    with pytest.raises(InputError, match="0 of its weights have no place, and 1 places get none"):
        attach_adapters(load_base(tiny_params.model), {"first": saved, "irs": changed(folder, without_one)})


def test_damaged_folders_are_refused_without_asking_the_hub(tiny_params: Params, folder: Path) -> None:
    base = load_base(tiny_params.model)
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"target_modules": ["nowhere"]}))
    with pytest.raises(InputError, match=r"does not fit the base: No modules were targeted"):
        attach_adapters(base, {"mine": folder})
    (folder / WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(InputError, match="does not fit the base"):
        attach_adapters(load_base(tiny_params.model), {"mine": folder})
    (folder / WEIGHTS).unlink()
    with pytest.raises(InputError, match=rf"no adapter found, {WEIGHTS} is missing"):
        attach_adapters(load_base(tiny_params.model), {"mine": folder})


def test_only_the_weights_that_were_validated_are_saved(tiny_params: Params, tmp_path: Path) -> None:
    model = adapted(tiny_params, 0, spread=0.2)
    validated = adapter_digest(model)
    save_adapter(model, tmp_path / "adapter", "base", "card", validated)
    before = {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()}
    weight = next(weight for weight in model.parameters() if weight.requires_grad)
    with torch.no_grad():
        weight.view(-1)[0] += 1
    assert adapter_digest(model) != validated
    with pytest.raises(RuntimeError, match="the saved weights are not those that were validated"):
        save_adapter(model, tmp_path / "adapter", "base", "card", validated)
    assert {path.name: path.read_bytes() for path in (tmp_path / "adapter").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"], "nothing else is left"
