"""Adapters as they are saved: the weights that were validated, or none."""

from pathlib import Path

import pytest
import torch

from abo_vqa.common.params import Params
from abo_vqa.model.adapters import adapter_digest, save_adapter
from adapted import adapted


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
